"""Prior studies of the patient on the table, out of the PACS, on demand. Called by the stage for an expert's requests.

Invariant: only studies of the patient whom the theatre (or, where it says nothing, the chosen case) names now can be listed or opened:
a study that was not found for that patient is unknown here, whatever UID is asked for. Nothing is kept beyond that patient.
"""
from dataclasses import asdict, dataclass, field

from appliance.hospital.archive import PICTURE_SIDE, THUMBNAIL_SIDE, Archive, Instance, Series, Study
from appliance.hospital.cases import Cases
from appliance.hospital.peer import Peer
from appliance.hospital.theatre import Theatre

SIDES = {"thumbnail": THUMBNAIL_SIDE, "full": PICTURE_SIDE}


@dataclass
class _Shelf:
    """What was found for one patient."""

    patient: tuple[str, str] = ("", "")
    studies: dict[str, Study] = field(default_factory=dict)
    series: dict[str, list[Series]] = field(default_factory=dict)
    instances: dict[tuple[str, str], dict[str, Instance]] = field(default_factory=dict)


class Priors:
    """Of all streams. Each method raises PeerFailed if the PACS gives no answer, KeyError for what is not this patient's."""

    def __init__(self, theatres: dict[str, Theatre], cases: Cases, archive: Archive, peer: Peer) -> None:
        self._theatres, self._cases, self._archive, self._peer = theatres, cases, archive, peer
        self._shelves: dict[str, _Shelf] = {}

    def patient(self, stream: str) -> str:
        """Whose studies may be seen now, "" for nobody's: nobody is named, or two are."""
        return self._patient(stream)[0]

    def _patient(self, stream: str) -> tuple[str, str]:
        theatre = self._theatres[stream]
        case = theatre.case() if theatre.has_metadata else self._cases.case(stream)
        if case is None or self._cases.mismatch(stream):
            return "", ""
        return case.patient_id, case.issuer

    def _shelf(self, stream: str) -> _Shelf:
        patient = self._patient(stream)
        if stream not in self._shelves or self._shelves[stream].patient != patient:
            self._shelves[stream] = _Shelf(patient)
        return self._shelves[stream]

    async def studies(self, stream: str) -> list[dict[str, object]]:
        """The patient's studies, the newest first."""
        shelf = self._shelf(stream)
        patient_id, issuer = shelf.patient
        if not patient_id:
            return []
        async with self._peer.request():
            found = await self._archive.studies(patient_id)
        # Another issuer's patient of the same number is somebody else.
        own = [study for study in found if not (issuer and study.issuer and study.issuer != issuer)]
        if self._shelf(stream) is not shelf:  # another patient came while the PACS was searching
            return []
        shelf.studies = {study.uid: study for study in own}
        return [{name: value for name, value in asdict(study).items() if name not in ("patient_id", "issuer")} for study in own]

    async def series(self, stream: str, study: str) -> list[dict[str, object]]:
        """A study's series with their instances."""
        shelf = self._shelf(stream)
        shelf.studies[study]  # KeyError: not this patient's
        if study not in shelf.series:
            async with self._peer.request():
                shelf.series[study] = await self._archive.series(study)
        return [asdict(series) for series in shelf.series[study]]

    async def instances(self, stream: str, study: str, series: str) -> list[dict[str, object]]:
        """A series' instances."""
        return [asdict(instance) for instance in (await self._instances(stream, study, series)).values()]

    async def _instances(self, stream: str, study: str, series: str) -> dict[str, Instance]:
        shelf = self._shelf(stream)
        shelf.studies[study]
        if series not in {one.uid for one in shelf.series.get(study, ())}:
            raise KeyError(series)
        if (study, series) not in shelf.instances:
            async with self._peer.request():
                shelf.instances[study, series] = {one.uid: one for one in await self._archive.instances(study, series)}
        return shelf.instances[study, series]

    async def picture(self, stream: str, study: str, series: str, uid: str, frame: int, size: str) -> bytes:
        """A frame (from 1) as JPEG; `size` is of SIDES."""
        instance = (await self._instances(stream, study, series))[uid]
        if not 1 <= frame <= instance.frames:
            raise KeyError(frame)
        async with self._peer.request():
            return await self._archive.picture(study, series, instance, frame, SIDES[size])
