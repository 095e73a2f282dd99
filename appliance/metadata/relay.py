"""One metadata flow from its packets to the records of each audience: assembled, checked, attributed. Made by metadata.stage.

Invariant: experts get whole grains, a class gets them de-identified, and what is not wholly valid goes to nobody. Keeps no identity: a
static part passes through and is not stored.
"""
import hashlib
import logging
import secrets
from collections.abc import Mapping, Sequence

from appliance import clock
from appliance.errors import ProtocolError
from appliance.frame import COMPANION, DEIDENTIFIED, DISCONTINUITY, STATIC, Audience
from appliance.protocol import attribution, deidentification, dicom_rtv, grain
from appliance.protocol.attribution import Attribution, Kind
from appliance.protocol.deidentification import Deidentifier
from appliance.protocol.dicom_rtv import CheckedGrain
from appliance.protocol.grain import AssembledGrain, GrainAssembler
from appliance.protocol.sdp import GRAIN_FLAGS_URI, MetadataFlow
from appliance.runtime.belief import TRUSTED_WINDOW_NS, Belief
from appliance.runtime.counters import Counters
from appliance.runtime.ring import RingWriter
from appliance.runtime.websocket import WebSocketReceiver

GRAIN_REASONS = dicom_rtv.REASONS + attribution.REASONS
STALE_NS = 3_000_000_000
COMPANION_INTERVAL_NS = 400_000_000
"""What describes no frame is passed on this often, however often its sender repeats it: PS3.22 asks for once a second."""

_SUBJECT_KEY = secrets.token_bytes(32)
_log = logging.getLogger("metadata")


class MetadataRelay:
    """Datagrams in, records into the rings; everything of a flow but its socket."""

    def __init__(self, flow: MetadataFlow, writers: Mapping[Audience, Sequence[RingWriter]], counters: Counters,
                 class_clock: clock.AudienceClock, of_picture: bool = True) -> None:
        """`of_picture`: the flow describes the picture. The others are checked and counted alike; their static parts go to experts as companions."""
        self.flow, self.writers, self._of_picture = flow, writers, of_picture
        self._clocks = {Audience.EXPERT: clock.AudienceClock(), Audience.CLASS: class_clock}
        self.connection: WebSocketReceiver | None = None
        self.silent = False
        """No valid grain for STALE_NS."""
        self._deidentifier = Deidentifier(class_clock)
        self.assembler = GrainAssembler(flow.payload_type, flow.extension_ids.get(GRAIN_FLAGS_URI))
        self.window_ns = TRUSTED_WINDOW_NS
        """How long after, and before, the arrival an RTP time may lie to be the capture time. As the kernel does for video."""
        self.datagrams = 0
        self._grain_number = 0
        self._instance_uid: str | None = None
        self.subject: bytes | None = None
        """A digest of whom the last static part named: the stage keeps no identity."""
        self._missing: set[str] = set()
        self._last_grain_ns: int | None = None
        self._last_companion_ns = -COMPANION_INTERVAL_NS
        self._heard = True  # the time to the first grain counts from the start
        self._grains, self._octets = counters.counter("appliance_metadata_grains_total"), counters.counter("appliance_metadata_bytes_total")
        self._statics = counters.counter("appliance_metadata_static_total")
        self._instances = counters.counter("appliance_metadata_instances_total")
        self._no_slot = counters.counter("appliance_frames_dropped_total", reason="no_slot")
        self._stale = counters.gauge("appliance_metadata_stale")
        self._latency = counters.histogram("appliance_stage_latency_seconds")
        self._grain_reasons = {reason: counters.counter("appliance_metadata_grains_malformed_total", reason=reason) for reason in GRAIN_REASONS}
        self._withheld = {reason: counters.counter("appliance_metadata_grains_withheld_total", reason=reason) for reason in deidentification.REASONS}
        self._kinds = {kind: counters.counter("appliance_metadata_grains_understood_total", kind=kind.value) for kind in Kind}
        self._subjects = counters.counter("appliance_metadata_subjects_total")
        self._type1_missing = counters.gauge("appliance_metadata_type1_missing")
        packets = {name: counters.counter(f"appliance_metadata_{name}_total") for name in ("packets", "packets_lost", "packets_late", "sessions")}
        malformed = {reason: counters.counter("appliance_metadata_packets_malformed_total", reason=reason) for reason in grain.PACKET_REASONS}
        dropped = {reason: counters.counter("appliance_metadata_grains_dropped_total", reason=reason) for reason in grain.DROP_REASONS}
        connection = {name: counters.counter(f"appliance_metadata_websocket_{name}_total") for name in ("connections", "dropped", "refused")}
        # (cell, how to read the total of this process): the cells go on counting where one before it stopped.
        self._totals = [(packets["packets"], lambda: self.assembler.packets), (packets["packets_lost"], lambda: self.assembler.lost),
                        (packets["packets_late"], lambda: self.assembler.late), (packets["sessions"], lambda: self.assembler.sessions)]
        self._totals += [(cell, lambda reason=reason: self.assembler.malformed[reason]) for reason, cell in malformed.items()]
        self._totals += [(cell, lambda reason=reason: self.assembler.dropped[reason]) for reason, cell in dropped.items()]
        self._totals += [(cell, lambda name=name: getattr(self.connection, name, 0)) for name, cell in connection.items()]
        self._moved = [0] * len(self._totals)

    def receive(self, datagram: bytes, now_tai_ns: int) -> None:
        """One packet from the network."""
        self.datagrams += 1
        for assembled in self.assembler.receive(datagram, now_tai_ns):
            self._relay(assembled)

    def tick(self, now_monotonic_ns: int) -> None:
        """Several times a second: brings the counters up to date and tells whether the flow went silent."""
        for place, (cell, total) in enumerate(self._totals):
            if fresh := total() - self._moved[place]:
                cell.add(fresh)
                self._moved[place] += fresh
        if self._heard:
            self._last_grain_ns, self._heard = now_monotonic_ns, False
        self.silent = now_monotonic_ns - self._last_grain_ns > STALE_NS
        if self._of_picture:
            self._stale.set(int(self.silent))

    def _relay(self, assembled: AssembledGrain) -> None:
        try:
            checked = dicom_rtv.check_grain(assembled.payload)
            whose = attribution.attribute(checked, attribution.announced(assembled.elements, self.flow.extension_ids), self.flow.rate_hz)
        except ProtocolError as error:
            self._grain_reasons[error.reason].add()
            return
        self._heard = True
        self._grains.add()
        self._octets.add(len(assembled.payload))
        self._kinds[whose.kind].add()
        if checked.has_static:
            self._statics.add()
        flags = 0
        if self._is_new(assembled, checked, whose):
            flags = DISCONTINUITY
            self._deidentifier.begin()
        if whose.kind is not Kind.VIDEO or not self._of_picture:
            self._accompany(assembled, checked, flags)
            return
        self._grain_number += 1
        self._write(Audience.EXPERT, assembled.payload, checked.has_static, flags, assembled)
        try:
            self._write(Audience.CLASS, self._deidentifier.deidentify(checked), checked.has_static, flags, assembled)
        except ProtocolError as error:
            self._withheld[error.reason].add()

    def _accompany(self, assembled: AssembledGrain, checked: CheckedGrain, flags: int) -> None:
        """What describes the sound, another picture, or what belongs together: its static part, to experts alone. A class has no need of it, so none
        of it is treated, and none of it leaves. It never says who is in the picture, so it voids nothing either."""
        since_ns = assembled.first_packet_tai_ns - self._last_companion_ns
        if checked.has_static and (flags or not 0 <= since_ns < COMPANION_INTERVAL_NS):
            self._last_companion_ns = assembled.first_packet_tai_ns
            self._write(Audience.EXPERT, assembled.payload, True, COMPANION, assembled)

    def _is_new(self, assembled: AssembledGrain, checked: CheckedGrain, whose: Attribution) -> bool:
        """Whether another patient may be shown from here on: whoever keeps a static part must let go of it."""
        other_session = assembled.new_session or checked.instance_uid != self._instance_uid
        subject = None if whose.subject is None else _digest(whose.subject)
        other_subject = None not in (subject, self.subject) and subject != self.subject
        if other_session:
            self._instance_uid, self.subject = checked.instance_uid, None
            self._missing.clear()
            self._instances.add()
        if subject is not None and subject != self.subject:
            self.subject = subject
            self._subjects.add()
        if fresh := [keyword for keyword in whose.missing if keyword not in self._missing]:
            _log.warning("the sender leaves out what PS3.3 demands (Type 1): %s; its grains are used all the same", ", ".join(fresh))
            self._missing.update(fresh)
        if self._of_picture:
            self._type1_missing.set(len(self._missing))
        return other_session or other_subject

    def _write(self, audience: Audience, payload: bytes, has_static: bool, flags: int, assembled: AssembledGrain) -> None:
        capture_tai_ns = self._capture_tai_ns(assembled)
        shown, deidentified = self._clocks[audience], audience is Audience.CLASS
        rtp_timestamp = assembled.rtp_timestamp + shown.ticks(self.flow.rate_hz) & 0xFFFF_FFFF
        record = dicom_rtv.message(payload, rtp_timestamp, shown.at(capture_tai_ns), has_static, deidentified, bool(flags & COMPANION))
        for writer in self.writers[audience]:
            slot = writer.claim()
            if slot is None:
                self._no_slot.add()
                continue
            with memoryview(slot) as octets:
                octets[:len(record)] = record
            slot.number = self._grain_number
            slot.capture_tai_ns, slot.first_packet_tai_ns = capture_tai_ns, assembled.first_packet_tai_ns
            slot.rtp_timestamp, slot.payload_bytes, slot.rows_missing = assembled.rtp_timestamp, len(record), 0
            slot.flags = flags | STATIC * has_static | DEIDENTIFIED * deidentified
            slot.publish_tai_ns = published_tai_ns = clock.tai_ns()
            slot.publish()
            self._latency.observe_ns(published_tai_ns - capture_tai_ns)

    def _capture_tai_ns(self, assembled: AssembledGrain) -> int:
        """The instant that the RTP time says, or the arrival where that cannot be."""
        ticks = assembled.rtp_timestamp - self.flow.mediaclk_offset & 0xFFFF_FFFF
        arrival_tai_ns = assembled.first_packet_tai_ns
        capture_tai_ns = clock.unwrap_rtp_timestamp(ticks, arrival_tai_ns, self.flow.rate_hz)
        early_ns, late_ns = self.window_ns
        return capture_tai_ns if -late_ns <= capture_tai_ns - arrival_tai_ns <= early_ns else arrival_tai_ns


def _digest(subject: tuple[bytes, ...]) -> bytes:
    return hashlib.blake2b(b"\0\\".join(subject), key=_SUBJECT_KEY).digest()
