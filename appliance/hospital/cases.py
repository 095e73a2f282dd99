"""The worklist's cases of each stream: listed by its station, matched to the theatre's metadata, or chosen by an expert. Called by the stage.

Invariant: a case is a stream's only if the worklist gave it; who chose it, or what matched, is said; and a contradiction to the theatre's
metadata is never silent. A choice ends with the theatre's session, or after CHOICE_LIMIT_S.
"""
import asyncio
import json
import logging
import os
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from pydicom.dataset import Dataset

from appliance.hospital.dimse import Worklist, is_literal
from appliance.hospital.identity import Case, case_of, differences
from appliance.hospital.peer import Peer
from appliance.hospital.problem import PeerFailed
from appliance.hospital.theatre import Theatre

CASES_MAX = 100
REFRESH_S = 60.0
REFRESH_FAILED_S = 15.0
CHOICE_LIMIT_S = 16 * 3600.0
DAY_MARGIN = timedelta(hours=12)  # a case that began before midnight is today's


@dataclass
class _Desk:
    """What is known of one stream's cases."""

    listed: dict[str, Case] = field(default_factory=dict)
    offered: dict[str, Case] = field(default_factory=dict)  # by searches of experts
    case: Case | None = None
    how: str = ""             # "chosen by ...", or what matched
    chosen: bool = False      # by a person
    session: str = ""         # of the theatre's metadata when it was chosen
    until_s: float = 0.0
    matched_for: tuple = ()   # what the automatic match was made for


class Cases:
    """Of all streams. `worklist` None: there is none, and everything here says so."""

    def __init__(self, theatres: dict[str, Theatre], worklist: Worklist | None, modality: str, peer: Peer | None, state: Path,
                 log: logging.Logger) -> None:
        self._theatres, self._worklist, self._modality, self._peer, self._path, self._log = theatres, worklist, modality, peer, state, log
        self._desks: dict[str, _Desk] = {}
        self._recall()

    async def run(self) -> None:
        """A task: lists and matches until cancelled."""
        while self._worklist is not None:
            pause_s = REFRESH_S
            try:
                for stream in list(self._theatres):
                    await self.refresh(stream)
                if not self._peer.asked or not any(theatre.station for theatre in self._theatres.values()):
                    async with self._peer.request():
                        await asyncio.to_thread(self._worklist.echo)
            except PeerFailed as error:
                self._log.warning("%s", error)
                pause_s = REFRESH_FAILED_S
            await self._until_theatre_changes(pause_s)

    async def _until_theatre_changes(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            await asyncio.sleep(1.0)
            if not self._peer.problem and any(self._wanted(stream) not in ((), self._desk(stream).matched_for) for stream in self._theatres):
                return

    def _desk(self, stream: str) -> _Desk:
        return self._desks.setdefault(stream, _Desk())

    async def refresh(self, stream: str) -> None:
        """Lists the station's cases, and matches. PeerFailed if the worklist gives no answer."""
        desk = self._desk(stream)
        station = self._theatres[stream].station
        if station:
            # Some worklists know the place as an AE title, others as a station name.
            found = await self._find(station=station) or await self._find(station_name=station)
            desk.listed = {case.key: case for case in found}
        if stream in self._theatres:  # it may have ended meanwhile
            await self._match(stream, desk)

    def _wanted(self, stream: str) -> tuple:
        """What an automatic match goes by: the theatre's session and patient."""
        theatre = self._theatres[stream].case()
        return (theatre.instance_uid, theatre.patient_id, theatre.accession_number) if theatre else ()

    async def _match(self, stream: str, desk: _Desk) -> None:
        theatre, station = self._theatres[stream].case(), self._theatres[stream].station
        self._end_choice(stream, desk, theatre)
        case, how, wanted = None, "", self._wanted(stream)
        if desk.chosen:
            desk.matched_for = wanted
            return
        if theatre is not None:
            for keyword, name in (("accession_number", "accession number"), ("patient_id", "patient ID")):
                value = getattr(theatre, keyword)
                found = await self._find(**{keyword: value}) if is_literal(value) else []
                if keyword == "patient_id" and len(found) > 1 and station:
                    found = [one for one in found if station in (one.station, one.station_name)] or found
                if len(found) == 1:
                    case, how = found[0], name
                    break
        if case is None and len(desk.listed) == 1:
            case, how = next(iter(desk.listed.values())), "the only case of this station"
        if not desk.chosen:  # by somebody, meanwhile
            desk.case, desk.how = case, how
        desk.matched_for = wanted

    def _end_choice(self, stream: str, desk: _Desk, theatre: Case | None) -> None:
        over = desk.until_s <= time.time() or (theatre is not None and desk.session not in ("", theatre.instance_uid))
        if desk.chosen and over:
            self._log.info("%s: the case chosen has ended", stream)
            self._set(desk, None, "", chosen=False)

    async def _find(self, **keys: str) -> list[Case]:
        query = _query(self._modality, **keys)
        async with self._peer.request():
            found = await asyncio.to_thread(self._worklist.find, query, CASES_MAX)
        cases = {case.key: case for case in map(case_of, found) if case.patient_id or case.patient_name}
        return sorted((case for case in cases.values() if all(getattr(case, name) == value for name, value in keys.items())),
                      key=lambda case: (case.date, case.time))

    async def search(self, stream: str, patient_id: str, accession_number: str) -> list[Case]:
        """What an expert looks for; without keys the station's list, anew. PeerFailed if the worklist gives no answer."""
        desk = self._desk(stream)
        if not patient_id and not accession_number:
            await self.refresh(stream)
            return sorted(desk.listed.values(), key=lambda case: (case.date, case.time))
        keys = {"patient_id": patient_id} if patient_id else {"accession_number": accession_number}
        found = await self._find(**keys) if all(map(is_literal, keys.values())) else []
        desk.offered = {case.key: case for case in found}
        return found

    def choose(self, stream: str, key: str, subject: str) -> bool:
        """Makes a case that was listed or found the stream's; False if it is none of these."""
        desk = self._desk(stream)
        case = desk.listed.get(key) or desk.offered.get(key)
        if case is None:
            return False
        theatre = self._theatres[stream].case()
        desk.session, desk.until_s = theatre.instance_uid if theatre else "", time.time() + CHOICE_LIMIT_S
        self._set(desk, case, f"chosen by {subject}", chosen=True)
        self._log.info("%s: %s chose the case", stream, subject)
        return True

    def clear(self, stream: str, subject: str) -> None:
        """No case is the stream's, until one is chosen or the theatre's patient changes."""
        theatre, desk = self._theatres[stream].case(), self._desk(stream)
        desk.session, desk.until_s = theatre.instance_uid if theatre else "", time.time() + CHOICE_LIMIT_S
        self._set(desk, None, f"none, chosen by {subject}", chosen=True)
        self._log.info("%s: %s chose no case", stream, subject)

    def case(self, stream: str) -> Case | None:
        """The stream's case."""
        return self._desk(stream).case

    def mismatch(self, stream: str) -> list[dict[str, str]]:
        """What speaks against the case and the theatre's metadata being of one patient."""
        case, theatre = self._desk(stream).case, self._theatres[stream].case()
        return differences(case, theatre) if case and theatre else []

    def shown(self, stream: str) -> dict[str, object] | None:
        """For the expert's page; None without a worklist."""
        if self._worklist is None:
            return None
        desk = self._desk(stream)
        return {**self._peer.shown(), "station": self._theatres[stream].station, "listed": len(desk.listed), "case": desk.case.shown() if desk.case else None, "how": desk.how,
                "mismatch": self.mismatch(stream)}

    def _set(self, desk: _Desk, case: Case | None, how: str, chosen: bool) -> None:
        desk.case, desk.how, desk.chosen = case, how, chosen
        kept = {stream: {"case": asdict(one.case), "how": one.how, "session": one.session, "until_s": one.until_s}
                for stream, one in self._desks.items() if one.chosen and one.case}
        part = self._path.with_suffix(".part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
            json.dump(kept, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self._path)

    def _recall(self) -> None:
        """What was chosen before this process began."""
        try:
            kept = json.loads(self._path.read_text())
            for stream, one in kept.items():
                if stream in self._desks and one["until_s"] > time.time():
                    desk = self._desk(stream)
                    desk.case, desk.how, desk.session, desk.until_s, desk.chosen = Case(**one["case"]), one["how"], one["session"], one["until_s"], True
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            self._log.error("%s cannot be read (%s): choose the cases again", self._path, error)


def _query(modality: str, station: str = "", station_name: str = "", patient_id: str = "", accession_number: str = "") -> Dataset:
    """The identifier of a C-FIND (PS3.4 table K.6-1): matching keys, and what is to come back."""
    query, step = Dataset(), Dataset()
    query.PatientID, query.AccessionNumber = patient_id, accession_number
    for keyword in ("PatientName", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "RequestedProcedureDescription",
                    "RequestedProcedureID"):
        setattr(query, keyword, "")
    now = datetime.now().astimezone()
    first, last = ((now + margin).strftime("%Y%m%d") for margin in (-DAY_MARGIN, DAY_MARGIN))
    step.ScheduledProcedureStepStartDate = first if first == last else f"{first}-{last}"
    step.ScheduledStationAETitle, step.ScheduledStationName, step.Modality = station, station_name, modality
    for keyword in ("ScheduledProcedureStepStartTime", "ScheduledProcedureStepID", "ScheduledProcedureStepDescription", "ScheduledPerformingPhysicianName"):
        setattr(step, keyword, "")
    query.ScheduledProcedureStepSequence = [step]
    return query
