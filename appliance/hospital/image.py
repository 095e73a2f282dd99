"""A snapshot as DICOM instances: VL Endoscopic Image (PS3.3 A.32.1), and its full depth as a Secondary Capture Image beside it. Pure.

Invariant: patient and study are the theatre's own (or, where the theatre says nothing, the chosen case's), never a mixture of two patients;
what identifies the picture (RTP timestamp, how near it is to the press) is in it.
"""
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from uuid import NAMESPACE_OID, uuid4, uuid5

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from appliance import clock
from appliance.frame import SECOND_FIELD
from appliance.hospital.identity import Case
from appliance.hospital.picture import to_rgb
from appliance.hospital.theatre import RawFrame
from appliance.protocol import icc
from appliance.version import VERSION

VL_ENDOSCOPIC, SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.77.1.1", "1.2.840.10008.5.1.4.1.1.7"
MANUFACTURER, MODEL = "DICOM-RTV edge appliance", "DICOM-RTV edge appliance"
NOTE_CHARACTERS_MAX = 1000
# One UID for all instances of this implementation (PS3.7 D.3.3.2), of our own UUID root.
IMPLEMENTATION_UID = f"2.25.{uuid5(NAMESPACE_OID, 'dicom-rtv-appliance').int}"
_SERIES_NUMBERS = {VL_ENDOSCOPIC: 9001, SECONDARY_CAPTURE: 9002}
_TICKS_A_MS = 90
_LINE_END = "\r\n"
# Copied as they are from the static part (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2, C.7.5.1, C.7.6.1): whose, what, by which device, of what.
_PATIENT = ("SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "PatientBirthDate", "PatientBirthTime",
            "PatientSex", "OtherPatientIDsSequence", "EthnicGroup", "PatientComments", "PatientIdentityRemoved", "DeidentificationMethod",
            "DeidentificationMethodCodeSequence")
_STUDY = ("StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber", "IssuerOfAccessionNumberSequence",
          "StudyDescription", "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy", "ReferencedStudySequence", "ProcedureCodeSequence", "PatientAge",
          "PatientSize", "PatientWeight", "AdmissionID", "TimezoneOffsetFromUTC")
_SERIES = ("PerformingPhysicianName", "OperatorsName", "ProtocolName", "BodyPartExamined", "PatientPosition", "RequestAttributesSequence",
           "PerformedProcedureStepID", "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime", "PerformedProcedureStepDescription")
_EQUIPMENT = ("Manufacturer", "InstitutionName", "InstitutionAddress", "StationName", "InstitutionalDepartmentName", "ManufacturerModelName",
              "DeviceSerialNumber", "SoftwareVersions", "DateOfLastCalibration", "TimeOfLastCalibration")
_IMAGE = ("DeviceSequence", "AnatomicRegionSequence", "BurnedInAnnotation", "PrimaryAnatomicStructureSequence", "PatientOrientation",
          "ChannelDescriptionCodeSequence")
_REQUIRED = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber",
             "Manufacturer")


@dataclass(frozen=True)
class Press:
    """What a person asked for, and what of it could be had."""

    frame: RawFrame
    stream_title: str
    static: Dataset | None  # the theatre's own
    case: Case | None       # of the worklist, if it was chosen and speaks not against the static part
    subject: str            # who pressed
    bookmark: bool
    number: int             # of the picture in its series, from 1
    utc: datetime           # when the frame was captured


def instances(press: Press, full_depth: bool) -> Iterator[Dataset]:
    """The instances to store, each ready to be written with its file meta: the endoscopic image first."""
    yield _image(press, VL_ENDOSCOPIC, 8)
    if full_depth and press.frame.format.depth > 8:
        # Source: PS3.3 C.8.12.1.1.2: a VL image has 8 bits. A secondary capture may have as many as the camera gave.
        yield _image(press, SECONDARY_CAPTURE, press.frame.format.depth)


def captured_utc(capture_tai_ns: int) -> datetime:
    """The instant as UTC."""
    tai_ahead_ns = clock.tai_ns() - time.time_ns()
    return datetime.fromtimestamp((capture_tai_ns - tai_ahead_ns) / 1e9, timezone.utc)


def comment(press: Press) -> str:
    """Image Comments: who pressed, and whatever a reader must know of the picture, a line each."""
    lines = [f"{'Bookmark' if press.bookmark else 'Snapshot'} by {press.subject}"]
    if press.frame.offset_ticks:
        lines.append(f"The frame {abs(press.frame.offset_ticks) / _TICKS_A_MS:.0f} ms {'after' if press.frame.offset_ticks > 0 else 'before'} the one asked for")
    if press.frame.rows_missing:
        lines.append(f"{press.frame.rows_missing} rows were damaged on the way from the camera")
    return _LINE_END.join([*lines, f"RTP timestamp {press.frame.rtp_timestamp}"])


def write_note(image: Dataset, note: str) -> None:
    """Puts a bookmark's note into its first line."""
    first, end, rest = str(image.ImageComments).partition(_LINE_END)
    image.ImageComments = f"{first}: {clean_note(note)}{end}{rest}"


def clean_note(note: str) -> str:
    """What a person wrote, as one line of Image Comments."""
    return "".join(letter if letter.isprintable() else " " for letter in note).strip()[:NOTE_CHARACTERS_MAX]


def _image(press: Press, class_uid: str, bits: int) -> Dataset:
    image = Dataset()
    image.SpecificCharacterSet = "ISO_IR 192"
    _attribute(image, press)
    _series(image, press, class_uid)
    image.SOPClassUID, image.SOPInstanceUID = class_uid, f"2.25.{uuid4().int}"
    day, moment = press.utc.strftime("%Y%m%d"), press.utc.strftime("%H%M%S.%f")
    image.ContentDate, image.ContentTime = image.AcquisitionDate, image.AcquisitionTime = day, moment
    image.AcquisitionDateTime = f"{day}{moment}+0000"
    image.TimezoneOffsetFromUTC = "+0000"
    image.InstanceNumber, image.ImageType = press.number, ["ORIGINAL", "PRIMARY"]
    image.ImageComments = comment(press)
    if class_uid == VL_ENDOSCOPIC:
        image.AcquisitionContextSequence = []
    image.ContributingEquipmentSequence = [_ourselves(press)]
    _pixels(image, press, bits)
    image.file_meta = _meta(image)
    return image


def _attribute(image: Dataset, press: Press) -> None:
    """Patient, study, equipment, of the static part, else of the case."""
    static, case = press.static, press.case
    if static is not None:
        for keyword in _PATIENT + _STUDY + _SERIES + _EQUIPMENT + _IMAGE:
            if keyword != "SpecificCharacterSet" and keyword in static:
                value = static[keyword].value
                setattr(image, keyword, value)  # decoded: written anew in UTF-8
    elif case is not None:
        image.AccessionNumber, image.StudyDescription = case.accession_number, case.description
        image.StudyID = (case.procedure_id or case.accession_number)[:16]
        image.StudyDate, image.StudyTime = press.utc.strftime("%Y%m%d"), press.utc.strftime("%H%M%S")
    if case is not None and not image.get("PatientID") and not image.get("PatientName"):
        image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = case.patient_name, case.patient_id, case.birth_date, case.sex
        if case.issuer:
            image.IssuerOfPatientID = case.issuer
    if not image.get("StudyInstanceUID"):
        image.StudyInstanceUID = case.study_uid if case and case.study_uid else _derived("study", str(image.get("PatientID")), press.utc.strftime("%Y%m%d"))
    if case is not None and "RequestAttributesSequence" not in image and (case.procedure_id or case.step_id):
        request = Dataset()
        request.RequestedProcedureID, request.ScheduledProcedureStepID = case.procedure_id or case.step_id, case.step_id or case.procedure_id
        request.RequestedProcedureDescription, request.ScheduledProcedureStepDescription = case.description, case.step_description
        image.RequestAttributesSequence = [request]
    for keyword in _REQUIRED:
        if keyword not in image:
            setattr(image, keyword, MANUFACTURER if keyword == "Manufacturer" else "")
    for keyword in ("PatientAge", "BodyPartExamined", "AnatomicRegionSequence", "DeviceSequence"):
        if keyword in image and not image[keyword].value:
            del image[keyword]
    # Type 2C: an endoscope's picture has no orientation to the patient, and a side only where the theatre says one.
    image.PatientOrientation = image.get("PatientOrientation") or ""
    if "AnatomicRegionSequence" not in image and "BodyPartExamined" not in image:
        image.Laterality = ""


def _series(image: Dataset, press: Press, class_uid: str) -> None:
    """One series a study, stream, camera and kind: a press a month later in the same study joins it."""
    kind = "full depth" if class_uid == SECONDARY_CAPTURE else "pictures"
    image.Modality = "ES"
    image.SeriesInstanceUID = _derived("series", str(image.StudyInstanceUID), press.stream_title, str(image.get("DeviceSerialNumber", "")), kind)
    image.SeriesNumber = _SERIES_NUMBERS[class_uid]
    image.SeriesDescription = f"{press.stream_title}: {kind}"[:64]
    if class_uid == SECONDARY_CAPTURE:
        image.ConversionType = "DV"


def _pixels(image: Dataset, press: Press, bits: int) -> None:
    frame = press.frame
    rgb = to_rgb(frame.octets, frame.format, bits, bool(frame.flags & SECOND_FIELD))
    # Source: PS3.3 C.8.12.1.1.1: uncompressed VL images of three samples are RGB; YBR_FULL_422 is for JPEG, and 8 bits of full range.
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PlanarConfiguration = 3, "RGB", 0
    image.Rows, image.Columns = rgb.shape[:2]
    if frame.format.pixel_aspect != 1:
        # Source: PS3.3 C.7.6.3.1.7: height and width of a pixel; the samples stay as the camera gave them.
        image.PixelAspectRatio = [frame.format.pixel_aspect.denominator, frame.format.pixel_aspect.numerator]
    image.BitsAllocated, image.BitsStored, image.HighBit = rgb.dtype.itemsize * 8, bits, bits - 1
    image.PixelRepresentation, image.LossyImageCompression = 0, "00"
    theirs = bytes(press.static.get("ICCProfile", b"") or b"") if press.static is not None else b""
    image.ICCProfile = theirs if icc.is_rgb(theirs) else icc.profile(frame.format.colorimetry)
    image.PixelData = rgb.astype(rgb.dtype.newbyteorder("<"), copy=False).tobytes() if rgb.size % 2 == 0 else rgb.tobytes() + b"\0"
    image["PixelData"].VR = "OB" if rgb.dtype == np.uint8 else "OW"


def _ourselves(press: Press) -> Dataset:
    item, purpose = Dataset(), Dataset()
    # Source: PS3.16 CID 7005.
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = "109105", "DCM", "Frame Extracting Equipment"
    item.PurposeOfReferenceCodeSequence = [purpose]
    item.Manufacturer, item.ManufacturerModelName, item.SoftwareVersions = MANUFACTURER, MODEL, VERSION
    item.ContributionDateTime = press.utc.strftime("%Y%m%d%H%M%S.%f+0000")
    item.ContributionDescription = "Frame of a DICOM Real-Time Video flow, from its uncompressed samples"
    return item


def _meta(image: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = IMPLEMENTATION_UID, "DICOM_RTV_APPL"
    return meta


def _derived(*words: str) -> str:
    """A UID that the same words always give (PS3.5 B.2)."""
    digest = hashlib.sha256("\0".join(("dicom-rtv-appliance", *words)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"
