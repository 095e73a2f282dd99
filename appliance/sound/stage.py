"""The sound stage's loop: a flow's packets onto the tape (C), one Opus frame after the other from it into every fan-out worker's ring.

Invariant: Python works once a frame of 10 ms, and encodes only while somebody listens. Loss becomes silence, never noise and never a wait.
"""
import socket
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np

from appliance import clock
from appliance.config import StreamConfig
from appliance.errors import ConfigurationError
from appliance.frame import DISCONTINUITY, INCOMPLETE, KEYFRAME
from appliance.protocol import channel_order
from appliance.protocol.sdp import AudioFlow
from appliance.runtime.belief import TRUSTED_WINDOW_NS, Belief
from appliance.runtime.counters import Counters
from appliance.runtime.log import tell
from appliance.runtime.multicast import Membership, open_receiver
from appliance.runtime.ring import RingWriter
from appliance.runtime.stage import Stage
from appliance.sound.accounts import Accounts
from appliance.sound.opus import LOOKAHEAD_SAMPLES, OpusEncoder
from appliance.sound.timeline import FRAME_SAMPLES, RATE_HZ, Timeline
from cext.sound import ENDED, HOLES, NOT_YET, WHOLE, Listening, Tape

RECEIVE_BUFFER_BYTES = 4 << 20
"""A quarter of a second of 8,000 packets a second, as the kernel accounts for them."""
WAKE_NS = 50_000_000
BACKWARD_FRAMES_MAX = 500
"""A clock that was set back by more is believed; less is waited out, so that no viewer is told a time twice."""
_SO_TIMESTAMPNS = 35  # include/uapi/asm-generic/socket.h; Python's socket module lacks it
_LOOKAHEAD_NS = LOOKAHEAD_SAMPLES * 1_000_000_000 // RATE_HZ


class Sound:
    """Everything of the stage but its sockets."""

    def __init__(self, flow: AudioFlow, tape: Tape, writers: Sequence[RingWriter], counters: Counters, stream: str) -> None:
        self.flow, self.tape, self.timeline = flow, tape, None
        self._writers, self._encoder, self._sides = writers, OpusEncoder(), np.zeros((FRAME_SAMPLES, 2), np.float32)
        self._listeners = counters.segment.find_all("appliance_fanout_sound_listeners", stream=stream)
        self._frames, self._incomplete = counters.counter("appliance_sound_frames_total"), counters.counter("appliance_sound_frames_incomplete_total")
        self._no_slot = counters.counter("appliance_frames_dropped_total", reason="no_slot")
        self._latency = counters.histogram("appliance_stage_latency_seconds")
        self._epoch = self._unit_number = 0
        self._window_ns = TRUSTED_WINDOW_NS
        self._last_number = 0
        self._discontinuity = True

    @property
    def wanted(self) -> int | None:
        """The tick behind the last one that the next frame takes; None while there is no sound."""
        return None if self.timeline is None else self.tape.needed(self.timeline.position, self.timeline.step, FRAME_SAMPLES)

    def step(self, due: int) -> bool:
        """After each reception: what it says is due. True if a frame came."""
        if self.tape.epoch != self._epoch:
            self._epoch = self.tape.epoch
            first_tick, came_tai_ns = self.tape.beginning
            self.timeline = Timeline(first_tick, came_tai_ns, self.flow.rate_hz, self.flow.mediaclk_offset, self.flow.packet_ticks, self._window_ns)
            self._discontinuity = True
            return False
        if due == ENDED:
            self.timeline = None
        if due in (NOT_YET, ENDED) or self.timeline is None:
            return False
        assert due in (WHOLE, HOLES)
        self._frame(self.timeline)
        return True

    def believe(self, window_ns: tuple[int, int]) -> None:
        """How far RTP times are capture times from now on, as for the picture; a time line that this decides otherwise begins anew."""
        self._window_ns = window_ns
        if self.timeline is not None and self.timeline.fits(window_ns) == self.timeline.by_arrival:
            self.tape.begin_anew()

    def _frame(self, timeline: Timeline) -> None:
        missing = self.tape.take(timeline.position, timeline.step, self._sides)
        self._frames.add()
        self._incomplete.add(missing > 0)
        # The time line may begin behind what viewers were told already, after a clock was set: such frames are left out.
        told = 0 <= self._last_number - timeline.number <= BACKWARD_FRAMES_MAX
        if not told and sum(cell.value for cell in self._listeners):
            self._publish(timeline, missing > 0)
            self._last_number = timeline.number
        if not timeline.advance(self.tape.take_lag_ns()):
            self.tape.begin_anew()

    def _publish(self, timeline: Timeline, has_holes: bool) -> None:
        unit = self._encoder.encode(self._sides)
        self._unit_number += 1
        capture_tai_ns = timeline.capture_tai_ns - _LOOKAHEAD_NS
        # Each frame can be decoded by itself, as a keyframe can.
        flags = KEYFRAME | (INCOMPLETE if has_holes else 0) | (DISCONTINUITY if self._discontinuity else 0)
        self._discontinuity = False
        published_tai_ns = clock.tai_ns()
        for writer in self._writers:
            slot = writer.claim()
            if slot is None:
                self._no_slot.add()
                continue
            with memoryview(slot) as octets:
                octets[:len(unit)] = unit
            slot.number, slot.flags, slot.payload_bytes, slot.rows_missing = self._unit_number, flags, len(unit), 0
            slot.rtp_timestamp = timeline.number * FRAME_SAMPLES - LOOKAHEAD_SAMPLES & 0xFFFF_FFFF
            slot.capture_tai_ns = slot.first_packet_tai_ns = capture_tai_ns
            slot.publish_tai_ns = published_tai_ns
            slot.publish()
        self._latency.observe_ns(published_tai_ns - capture_tai_ns)


def run(stage: Stage) -> None:
    """Receives until told to stop. ConfigurationError if the interface or the address of the flow cannot be used."""
    stream, flow = stage.stream, stage.flows[stage.stream.name].audio
    for note in flow.notes:
        stage.log.warning("%s: %s", stream.audio, note)
    tape = make_tape(flow, stream)
    writers = [writer for name, writer in stage.writers.items() if name.startswith(f"opus.{stream.name}.")]
    sound = Sound(flow, tape, writers, stage.counters, stream.name)
    with ExitStack() as opened:
        receivers, memberships = _enter(stage, flow, opened)
        listening = Listening([receiver.fileno() for receiver in receivers], tape)
        accounts = Accounts(flow, stage.counters, clock.monotonic_ns())
        stage.log.info("%s from %s:%d on %s, heard by %s", flow, flow.group, flow.port, stream.interface,
                       "everyone" if stream.sound_for == "everyone" else "experts alone")
        # The picture's, so that both are believed or neither.
        belief = Belief(stage.counters, stream.name, stage.flows[stream.name].video.format.frame_ns)
        stage.ready()
        while stage.running():
            if belief.changed():
                sound.believe(belief.window_ns)
            if sound.step(listening.run(sound.wanted, WAKE_NS)):
                accounts.heard(clock.monotonic_ns())
            tell(stage.log, accounts.move(tape, listening, sound.timeline, clock.monotonic_ns()))
            for leg, membership in enumerate(memberships):
                membership.keep(listening.datagrams(leg), clock.monotonic_ns())


def _enter(stage: Stage, flow: AudioFlow, opened: ExitStack) -> tuple[list[socket.socket], list[Membership]]:
    """A socket for each path of the flow (ST 2022-7), and what keeps it open; of two paths one is enough."""
    receivers: list[socket.socket] = []
    memberships: list[Membership] = []
    refused: list[ConfigurationError] = []
    for path, leg in enumerate(flow.legs):
        interface = stage.stream.interface_of(path)
        if leg.payload_type != flow.payload_type:
            stage.log.warning("the second path of the sound has payload type %d and the first %d: only the first is received", leg.payload_type, flow.payload_type)
            continue
        try:
            receiver = opened.enter_context(open_receiver(leg, interface, RECEIVE_BUFFER_BYTES))
        except ConfigurationError as error:
            refused.append(error)
            continue
        receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        receivers.append(receiver)
        memberships.append(Membership(receiver, leg, interface))
    if not receivers:
        raise refused[0]
    for error in refused:
        stage.log.warning("one path of the sound is not received until the stage restarts: %s", error)
    return receivers, memberships


def make_tape(flow: AudioFlow, stream: StreamConfig) -> Tape:
    """The tape of a flow, mixed down as the configuration says, or else as the SDP's channel order does."""
    gains = channel_order.chosen_gains(flow.channels, stream.audio_channels) if stream.audio_channels else channel_order.gains(flow.groups)
    return Tape(gains=gains, depth=flow.depth, rate_hz=flow.rate_hz, packet_ticks=flow.packet_ticks, payload_type=flow.payload_type, output_hz=RATE_HZ)
