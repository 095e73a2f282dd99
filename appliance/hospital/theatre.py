"""What the theatre shows and says just now, read back from the rings when somebody asks: raw frames, and whose they are.

The stage makes one for each stream. Invariant: who the patient is comes from a static part of the same SOP instance as the frame's own grain,
younger than STATIC_LIMIT_NS; what cannot be attributed so has no patient. Nothing is leased longer than copying takes, and nothing waits.
"""
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset

from appliance import clock
from appliance.errors import ProtocolError
from appliance.frame import COMPANION, DISCONTINUITY, INCOMPLETE, MISMATCH, STATIC, VideoFormat
from appliance.hospital.identity import Case, case_of
from appliance.hospital.problem import SnapshotRefused
from appliance.protocol import dicom_rtv
from appliance.runtime.ring import RingReader, Slot

STATIC_LIMIT_NS = 5_000_000_000  # the source repeats it once a second at least (PS3.22 section 6.2.2)
ENDED_LIMIT_NS = 10_000_000_000  # for how long a frame from before a change of patient might still be asked for
SAME_FRAME_TICKS = 1  # a viewer's first frame after a move to another level may be one tick off
FRAME_DISTANCE_TICKS_MAX = 2 * 90_000
RECORD_DISTANCE_TICKS_MAX = 90_000
_TRIES = 4


@dataclass(frozen=True)
class RawFrame:
    """A copy of a raw frame."""

    octets: bytes
    format: VideoFormat
    rtp_timestamp: int
    capture_tai_ns: int
    number: int
    flags: int
    rows_missing: int
    offset_ticks: int  # from the frame that was asked for; 0: it is the very one


class Theatre:
    """One stream's rings. `raw` or `records` None: there is no PACS, or no metadata flow."""

    def __init__(self, video: VideoFormat, raw: RingReader | None, records: RingReader | None, title: str = "", station: str = "") -> None:
        self.format, self._raw, self._records = video, raw, records
        self.title, self.station = title, station  # as the configuration calls them now
        self._static: Dataset | None = None
        self._instance_uid = ""
        self._ended_tai_ns = self._ended_rtp_timestamp = 0  # when the patient before was let go of, and at which frame
        self._static_tai_ns = 0

    def reads(self, video: VideoFormat, raw: RingReader | None, records: RingReader | None) -> bool:
        """Whether it is of this format and these rings."""
        return self.format == video and self._raw is raw and self._records is records

    @property
    def has_metadata(self) -> bool:
        """Whether the theatre says itself who the patient is."""
        return self._records is not None

    def follow(self) -> None:
        """A few times a second: keeps the newest static part, and lets go of one whose session ended or that nobody repeats."""
        if self._records is None:
            return
        newest: tuple[int, bytes] | None = None
        for slot in _of_picture(self._records):
            if slot.flags & DISCONTINUITY and slot.publish_tai_ns > self._ended_tai_ns:
                self._ended_tai_ns, self._ended_rtp_timestamp = slot.publish_tai_ns, slot.rtp_timestamp
            if slot.flags & STATIC and slot.publish_tai_ns > max(self._static_tai_ns, newest[0] if newest else 0):
                newest = slot.publish_tai_ns, _payload(slot)
        if self._static_tai_ns < self._ended_tai_ns:
            self._forget()
        if newest is not None and newest[0] >= self._ended_tai_ns:
            self._take(*newest)
        if self._static is not None and clock.tai_ns() - self._static_tai_ns > STATIC_LIMIT_NS:
            self._forget()

    def _take(self, published_tai_ns: int, payload: bytes) -> None:
        try:
            instance_uid = dicom_rtv.check_grain(payload).instance_uid
            static = dcmread(BytesIO(payload))
        except Exception:  # checked once by the metadata stage: what still fails here is nobody's identity
            self._forget()
            return
        self._static, self._instance_uid, self._static_tai_ns = static, instance_uid, published_tai_ns

    def _forget(self) -> None:
        self._static, self._instance_uid = None, ""

    def case(self) -> Case | None:
        """Whom the theatre's metadata name now; None if nobody."""
        return None if self._static is None else case_of(self._static)

    def static_part(self, rtp_timestamp: int) -> Dataset | None:
        """The static part that belongs to the frame of this RTP timestamp, None if none can be attributed to it."""
        self.follow()
        if self._records is None or self._static is None:
            return None
        nearest: tuple[int, bytes] | None = None
        for slot in _of_picture(self._records):
            distance = abs(_ticks_between(slot.rtp_timestamp, rtp_timestamp))
            if distance <= RECORD_DISTANCE_TICKS_MAX and (nearest is None or distance < nearest[0]):
                nearest = distance, _payload(slot)
        # A frame of the patient before is not of the one who is named now, even in the same session.
        before = clock.tai_ns() - self._ended_tai_ns < ENDED_LIMIT_NS and _ticks_between(rtp_timestamp, self._ended_rtp_timestamp) < 0
        if nearest is None or before:
            return None
        try:
            instance_uid = dicom_rtv.check_grain(nearest[1]).instance_uid
        except ProtocolError:
            return None
        return self._static if instance_uid == self._instance_uid else None

    def frame(self, rtp_timestamp: int) -> RawFrame:
        """A copy of the frame of this RTP timestamp, else of the one nearest to it that is still there. SnapshotRefused if there is none."""
        for _ in range(_TRIES):  # the one chosen may be overwritten before it is leased
            found = self._nearest(rtp_timestamp)
            if found is None or abs(found[0]) > FRAME_DISTANCE_TICKS_MAX:
                break
            if (frame := self._copy(found[1], rtp_timestamp, found[0])) is not None:
                return frame
        raise SnapshotRefused("no_picture", "There is no picture from the theatre that could be stored; wait until it is back, and press again.")

    def _nearest(self, rtp_timestamp: int) -> tuple[int, int] | None:
        """(ticks from the one asked for, slot) of the nearest raw frame."""
        assert self._raw is not None, "snapshots need the raw ring"
        distances = [(_ticks_between(slot.rtp_timestamp, rtp_timestamp), index) for index, slot in _indexed(self._raw) if not slot.flags & MISMATCH]
        return min(distances, key=lambda found: abs(found[0]), default=None)

    def _copy(self, index: int, rtp_timestamp: int, offset_ticks: int) -> RawFrame | None:
        slot = self._raw.lease_slot(index)
        if slot is None:
            return None
        try:
            if _ticks_between(slot.rtp_timestamp, rtp_timestamp) != offset_ticks:
                return None
            with memoryview(slot) as octets:
                copied = bytes(octets[:self.format.frame_bytes])
            return RawFrame(copied, self.format, slot.rtp_timestamp, slot.capture_tai_ns, slot.number, slot.flags,
                            slot.rows_missing if slot.flags & INCOMPLETE else 0, 0 if abs(offset_ticks) <= SAME_FRAME_TICKS else offset_ticks)
        finally:
            slot.release()


def _ticks_between(timestamp: int, other: int) -> int:
    """From `other` to `timestamp`, modulo 2^32, as a signed number."""
    return (timestamp - other + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000


def _indexed(reader: RingReader) -> Iterator[tuple[int, Slot]]:
    """Every frame that the ring holds, leased one after the other."""
    for index in range(reader.slots):
        slot = reader.lease_slot(index)
        if slot is not None:
            try:
                yield index, slot
            finally:
                slot.release()


def _published(reader: RingReader) -> Iterator[Slot]:
    return (slot for _, slot in _indexed(reader))


def _of_picture(records: RingReader) -> Iterator[Slot]:
    """Records of the picture: what describes its sound says nothing of who is to be seen."""
    return (slot for slot in _published(records) if not slot.flags & COMPANION)


def _payload(slot: Slot) -> bytes:
    with memoryview(slot) as octets:
        return bytes(octets[dicom_rtv.MESSAGE_HEADER_BYTES:slot.payload_bytes])
