"""A press becomes a picture on the disk: finds the frame and whose it is, makes the instances, queues them. Called for each press.

Invariant: what returns is on the disk; what could not be attributed to one patient is refused with the reason, and nothing of it is kept.
"""
import asyncio
import functools
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

from pydicom.dataset import Dataset

from appliance.hospital import image
from appliance.hospital.cases import Cases
from appliance.hospital.identity import Case
from appliance.hospital.problem import SnapshotRefused
from appliance.hospital.queue import HELD, REJECTED, STORED, Picture, Queue
from appliance.hospital.theatre import RawFrame, Theatre
from appliance.runtime.counters import Counters

UNDER_WAY_MAX = 4       # presses that are made into pictures at once: each holds a raw frame
NOTE_WAIT_S = 120.0     # for how long a bookmark waits for its note; then it goes without
LISTED_MAX = 12
_TICKS_A_MS = 90


class Snapshots:
    """Of all streams."""

    def __init__(self, theatres: dict[str, Theatre], cases: Cases, queue: Queue, full_depth: bool, counters: Counters) -> None:
        self._theatres, self._cases, self._queue, self._full_depth, self._counters = theatres, cases, queue, full_depth, counters
        # One at a time: the picture's own processes need the cores.
        self._pool = ThreadPoolExecutor(1, "snapshot")
        self._under_way = 0

    async def take(self, stream: str, rtp_timestamp: int, subject: str, bookmark: bool) -> dict[str, object]:
        """The picture of that frame, on the disk. SnapshotRefused if there is none to store."""
        count, theatre = functools.partial(self._counters.counter, stream=stream), self._theatres[stream]
        try:
            if self._under_way >= UNDER_WAY_MAX:
                raise SnapshotRefused("busy", "Several pictures are being stored already; press again in a moment.")
            self._under_way += 1
            try:
                pictures = await self._made(stream, theatre, rtp_timestamp, subject, bookmark)
            finally:
                self._under_way -= 1
        except SnapshotRefused as refusal:
            count("appliance_hospital_snapshots_refused_total", reason=refusal.reason).add()
            raise
        count("appliance_hospital_snapshots_total", frame="near" if pictures[0].offset_ms else "exact").add()
        return shown([pictures[0]]) | {"bits": 8 if len(pictures) == 1 else theatre.format.depth}

    async def _made(self, stream: str, theatre: Theatre, rtp_timestamp: int, subject: str, bookmark: bool) -> list[Picture]:
        # First of all: the ring goes on meanwhile.
        frame = theatre.frame(rtp_timestamp)
        static, case = self._owner(stream, theatre, frame.rtp_timestamp)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, self._store, stream, theatre.title, frame, static, case, subject, bookmark)
        except (OSError, sqlite3.Error) as error:
            raise SnapshotRefused("disk", f"The appliance could not write the picture to its disk ({error}).") from error

    def _owner(self, stream: str, theatre: Theatre, rtp_timestamp: int) -> tuple[Dataset | None, Case | None]:
        """Whose the frame is: the theatre's static part, and the chosen case beside it or in its place."""
        case = self._cases.case(stream)
        if theatre.has_metadata:
            static = theatre.static_part(rtp_timestamp)
            if static is None:
                raise SnapshotRefused("no_patient", "The theatre's metadata do not say whose picture this is just now; press again when the patient is shown.")
            if self._cases.mismatch(stream):
                raise SnapshotRefused("mismatch", "The case chosen is not the patient that the theatre names. Choose the right case, or none, and press again.")
            if case or static.get("PatientID") or static.get("PatientName"):
                return static, case
        if case is None:
            raise SnapshotRefused("no_patient", "Nobody has said whose picture this is: choose the case from the worklist, and press again.")
        return None, case

    def _store(self, stream: str, title: str, frame: RawFrame, static: Dataset | None, case: Case | None, subject: str, bookmark: bool) -> list[Picture]:
        utc = image.captured_utc(frame.capture_tai_ns)
        press = image.Press(frame, title, static, case, subject, bookmark, self._queue.count(stream) + 1, utc)
        offset_ms = round(frame.offset_ticks / _TICKS_A_MS)
        return self._queue.add(list(image.instances(press, self._full_depth)), stream, int(utc.timestamp() * 1000), bookmark, offset_ms,
                               time.time() + NOTE_WAIT_S if bookmark else 0.0)

    async def note(self, stream: str, press: str, note: str) -> bool:
        """Writes a bookmark's note into its pictures; False if they have gone without it."""
        write = functools.partial(image.write_note, note=note)
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._queue.note, stream, press, write)

    async def listed(self, stream: str) -> list[dict[str, object]]:
        """The stream's newest presses, the newest first."""
        pictures = await asyncio.to_thread(self._queue.latest, stream, 2 * LISTED_MAX)
        presses: dict[str, list[Picture]] = {}
        for picture in pictures:
            presses.setdefault(picture.press, []).append(picture)
        return [shown(group) for group in list(presses.values())[:LISTED_MAX]]


def shown(pictures: list[Picture]) -> dict[str, object]:
    """One press for the page: its state is that of the picture that has got least far."""
    states = [picture.state for picture in pictures]
    state = next((state for state in (REJECTED, HELD) if state in states), STORED if set(states) == {STORED} else "waiting")
    first = pictures[0]
    problem = next((picture.problem for picture in pictures if picture.problem), "")
    return {"press": first.press, "taken_ms": first.taken_ms, "bookmark": first.bookmark, "offset_ms": first.offset_ms, "state": state, "problem": problem}
