"""Who a patient is and which case it is, from a dataset: the theatre's static part, a worklist item. Pure; compared here, shown nowhere.

Invariant: two identities that cannot both be true are never called the same.
"""
from dataclasses import dataclass

from pydicom.dataset import Dataset

TEXT_CHARACTERS_MAX = 256
SHOWN = ("patient_name", "patient_id", "birth_date", "sex", "accession_number", "description", "study_uid", "procedure_id", "step_id", "station",
         "date", "time", "modality", "physician")


@dataclass(frozen=True)
class Case:
    """A patient and what is done with them. Values as DICOM writes them, "" where nothing is known; dates are DA."""

    patient_name: str = ""
    patient_id: str = ""
    issuer: str = ""
    birth_date: str = ""
    sex: str = ""
    accession_number: str = ""
    study_uid: str = ""
    description: str = ""
    procedure_id: str = ""
    step_id: str = ""
    step_description: str = ""
    station: str = ""
    station_name: str = ""
    date: str = ""
    time: str = ""
    modality: str = ""
    physician: str = ""
    instance_uid: str = ""  # of the theatre's metadata session

    @property
    def key(self) -> str:
        """Names the case among those of a worklist: of the procedure step, which the worklist keeps unique with its request."""
        return "|".join((self.patient_id, self.accession_number, self.procedure_id, self.step_id))

    def shown(self) -> dict[str, str]:
        """For the expert's page."""
        return {name: getattr(self, name) for name in SHOWN} | {"key": self.key}


def case_of(dataset: Dataset) -> Case:
    """The case that a static part or a worklist item tells of; a value that cannot be read counts as unknown."""
    step = _first(dataset, "ScheduledProcedureStepSequence")
    return Case(
        patient_name=_text(dataset, "PatientName"), patient_id=_text(dataset, "PatientID"), issuer=_text(dataset, "IssuerOfPatientID"),
        birth_date=_text(dataset, "PatientBirthDate"), sex=_text(dataset, "PatientSex"), accession_number=_text(dataset, "AccessionNumber"),
        study_uid=_text(dataset, "StudyInstanceUID"),
        description=_text(dataset, "RequestedProcedureDescription") or _text(step, "ScheduledProcedureStepDescription") or _text(dataset, "StudyDescription"),
        procedure_id=_text(dataset, "RequestedProcedureID"), step_id=_text(step, "ScheduledProcedureStepID"),
        step_description=_text(step, "ScheduledProcedureStepDescription"), station=_text(step, "ScheduledStationAETitle"),
        station_name=_text(step, "ScheduledStationName"), date=_text(step, "ScheduledProcedureStepStartDate"),
        time=_text(step, "ScheduledProcedureStepStartTime"), modality=_text(step, "Modality") or _text(dataset, "Modality"),
        physician=_text(step, "ScheduledPerformingPhysicianName"), instance_uid=_text(dataset, "SOPInstanceUID"))


def differences(case: Case, theatre: Case) -> list[dict[str, str]]:
    """What speaks against both being of one patient and case: [{field, worklist, theatre}]. Unknown values speak against nothing."""
    pairs = [("Patient ID", case.patient_id, theatre.patient_id), ("Date of birth", case.birth_date, theatre.birth_date),
             ("Sex", _decided(case.sex), _decided(theatre.sex)), ("Accession number", case.accession_number, theatre.accession_number)]
    if case.issuer and theatre.issuer and case.issuer != theatre.issuer:
        # Numbers of two issuers cannot be compared: the names must do.
        pairs[0] = ("Patient name", folded_name(case.patient_name), folded_name(theatre.patient_name))
    if not (case.patient_id and theatre.patient_id):
        pairs.append(("Patient name", folded_name(case.patient_name), folded_name(theatre.patient_name)))
    return [{"field": field, "worklist": ours, "theatre": theirs} for field, ours, theirs in pairs if ours and theirs and ours != theirs]


def _decided(sex: str) -> str:
    """"O" stands for "other" in one system and for "not entered" in the next."""
    return sex if sex in ("M", "F") else ""


def folded_name(name: str) -> str:
    """A person's name as far as two systems agree on it: family and given name of the alphabetic group, without case."""
    return "^".join(part.strip().casefold() for part in name.split("=")[0].split("^")[:2]).rstrip("^")


def _first(dataset: Dataset, keyword: str) -> Dataset:
    try:
        sequence = dataset.get(keyword)
        return sequence[0] if sequence else Dataset()
    except (ValueError, TypeError, IndexError, KeyError):
        return Dataset()


def _text(dataset: Dataset, keyword: str) -> str:
    """One value as text; pydicom reads lazily, so a broken one shows only here."""
    try:
        value = dataset.get(keyword)
    except Exception:  # whatever a converter makes of another's octets: the value is not known
        return ""
    if value is None or isinstance(value, list):
        return ""
    text = str(value).strip("\0 ")[:TEXT_CHARACTERS_MAX]
    return text if text.isprintable() else ""
