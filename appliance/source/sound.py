"""The source's sound: room noise and a beep at each TAI second, at the capture instant of the frame that flashes, as ST 2110-30 packets.

Run by sender.py in a thread of its own; C paces the packets. The beep begins with the first frame of its second, so that the two can be compared.
"""
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from appliance import clock
from appliance.protocol import channel_order, pcm
from appliance.protocol.rtp import HEADER_BYTES, RtpHeader, build
from appliance.protocol.sdp import AudioFlow
from cext import sound_source as native

PAYLOAD_TYPE = 97
FLASH_S = Fraction(1, 10)
"""How long flash and beep last."""
BEEP_LEVEL, ROOM_LEVEL = 0.25, 0.0005
EDGE_S = 0.001
# A fifth apart, so that left and right can be told from each other.
TONES_HZ = (1000.0, 1500.0)
_BLOCK_S = Fraction(1, 10)  # made at once; a stop is noticed at least this often
_LEAD_NS = 5_000_000
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class SoundPlan:
    """A checked order for the sound."""

    group: str
    port: int
    rate_hz: int
    depth: int
    channels: int
    packet_us: int


def flashes(instant_ns: int, first_of: Callable[[int], int]) -> bool:
    """Whether a frame of this TAI instant flashes. `first_of` gives the instant of the first frame at or after another one."""
    second = instant_ns // _SECOND_NS
    began_ns = first_of(second * _SECOND_NS)
    return began_ns <= instant_ns < began_ns + int(FLASH_S * _SECOND_NS)


def flow(plan: SoundPlan, source_address: str, name: str) -> AudioFlow:
    """The sound's flow as a receiver's SDP describes it."""
    groups = {6: ("51",), 8: ("71",)}.get(plan.channels, channel_order.default(plan.channels))
    return AudioFlow(group=plan.group, port=plan.port, source_address=source_address, payload_type=PAYLOAD_TYPE, rate_hz=plan.rate_hz,
                     channels=plan.channels, depth=plan.depth, packet_us=plan.packet_us, groups=groups, title=f"{name}, synthetic sound")


class SoundSender:
    """Makes the sound of one plan and sends it from a thread until stop()."""

    def __init__(self, plan: SoundPlan, flow: AudioFlow, descriptor: int, first_of: Callable[[int], int]) -> None:
        """`first_of` as in flashes(): the beep begins when the picture's flash does."""
        self.plan, self._packet_ticks, self._descriptor, self._first_of = plan, flow.packet_ticks, descriptor, first_of
        self._ssrc, self._sequence = secrets.randbits(32), secrets.randbits(16)
        self._random = np.random.default_rng(7)
        self._stopping = False
        self.failure: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="sound", daemon=True)

    def start(self) -> None:
        """Begins with the next packet's instant."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and waits for it."""
        self._stopping = True
        if self._thread.ident is not None:
            self._thread.join()

    def samples(self, first_tick: int, ticks: int) -> np.ndarray:
        """Ticks x channels from a TAI tick on, full scale is 1."""
        rate_hz, channels = self.plan.rate_hz, self.plan.channels
        sound = self._random.uniform(-ROOM_LEVEL, ROOM_LEVEL, (ticks, channels))
        at = np.arange(first_tick, first_tick + ticks, dtype=np.int64)
        for second in range(first_tick // rate_hz, (first_tick + ticks - 1) // rate_hz + 1):
            began = -(-self._first_of(second * _SECOND_NS) * rate_hz // _SECOND_NS)
            since_s = (at - began) / rate_hz
            left_s = float(FLASH_S) - since_s
            envelope = np.clip(np.minimum(since_s, left_s) / EDGE_S, 0, 1) * (since_s >= 0)
            if envelope.any():
                for channel in range(channels):
                    sound[:, channel] += BEEP_LEVEL * envelope * np.sin(2 * np.pi * TONES_HZ[channel % 2] * since_s)
        return sound

    def packets(self, first_tick: int, count: int) -> np.ndarray:
        """`count` whole packets, one a row."""
        ticks = self._packet_ticks
        payload = np.frombuffer(pcm.write(self.samples(first_tick, ticks * count), self.plan.depth), np.uint8).reshape(count, -1)
        rows = np.zeros((count, HEADER_BYTES + payload.shape[1]), np.uint8)
        for number in range(count):
            header = RtpHeader(PAYLOAD_TYPE, self._sequence & 0xFFFF, first_tick + number * ticks & 0xFFFF_FFFF, self._ssrc)
            rows[number, :HEADER_BYTES] = np.frombuffer(build(header, b""), np.uint8)
            self._sequence += 1
        rows[:, HEADER_BYTES:] = payload
        return rows

    def _run(self) -> None:
        rate_hz, ticks = self.plan.rate_hz, self._packet_ticks
        count = max(1, int(_BLOCK_S * rate_hz) // ticks)
        tick = (clock.tai_ns() + _LEAD_NS) * rate_hz // _SECOND_NS // ticks * ticks
        try:
            while not self._stopping:
                # A packet leaves when its last sample has been captured.
                due_ns = (tick + ticks) * _SECOND_NS // rate_hz
                late_ns = clock.tai_ns() - due_ns
                if late_ns > _SECOND_NS:  # the machine slept: what is over is left out
                    tick += late_ns * rate_hz // _SECOND_NS // ticks * ticks
                    continue
                native.send(self._descriptor, self.packets(tick, count), due_ns - clock.tai_correction_ns(), ticks * _SECOND_NS, rate_hz)
                tick += ticks * count
        except OSError as error:
            self.failure = error
