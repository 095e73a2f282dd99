"""A sender of sound for tests: PCM packets of tones or noise, and a tape with a clock that the test turns."""
from dataclasses import dataclass, field

import numpy as np

from appliance.protocol import pcm
from appliance.protocol.rtp import RtpHeader, build
from cext.sound import Tape

PAYLOAD_TYPE = 97
START_TAI_NS = 1_700_000_000 * 10**9


@dataclass
class Musician:
    """Packets in order. `play` gives samples (ticks x channels) at ticks."""

    rate_hz: int = 48_000
    depth: int = 24
    channels: int = 2
    packet_ticks: int = 48
    ssrc: int = 0x5150
    sequence: int = 65_500
    tick: int = 1_000_000
    frequency_hz: float = 440.0
    level: float = 0.5
    sent: list[np.ndarray] = field(default_factory=list)

    def play(self, ticks: np.ndarray) -> np.ndarray:
        """A sine whose phase is zero at tick 0, in every channel."""
        phase = (ticks * self.frequency_hz / self.rate_hz % 1.0) * 2 * np.pi
        return np.repeat(self.level * np.sin(phase)[:, None], self.channels, axis=1)

    def packet(self, **header) -> bytes:
        """The next packet."""
        samples = self.play(np.arange(self.tick, self.tick + self.packet_ticks, dtype=np.int64))
        self.sent.append(samples)
        fields = dict(payload_type=PAYLOAD_TYPE, sequence=self.sequence & 0xFFFF, timestamp=self.tick & 0xFFFF_FFFF, ssrc=self.ssrc) | header
        self.tick += self.packet_ticks
        self.sequence += 1
        return build(RtpHeader(**fields), pcm.write(samples, self.depth))

    def packets(self, count: int) -> list[bytes]:
        """The next packets."""
        return [self.packet() for _ in range(count)]


class Taped:
    """A tape, and packets that come as the musician sends them."""

    def __init__(self, musician: Musician | None = None, gains=None, **options):
        self.musician = musician or Musician()
        m = self.musician
        self.tape = Tape(gains=gains or [(1.0, 0.0), (0.0, 1.0)][:m.channels], depth=m.depth, rate_hz=m.rate_hz, packet_ticks=m.packet_ticks,
                         payload_type=PAYLOAD_TYPE, **options)
        self.tai_ns, self.monotonic_ns = START_TAI_NS, 50 * 10**9

    @property
    def packet_ns(self) -> int:
        return self.musician.packet_ticks * 10**9 // self.musician.rate_hz

    def wait(self, nanoseconds: int) -> None:
        self.tai_ns += nanoseconds
        self.monotonic_ns += nanoseconds

    def feed(self, packets) -> None:
        """One packet after the other, each a packet time later."""
        for packet in packets:
            self.wait(self.packet_ns)
            if packet is not None:
                self.tape.packet(packet, self.tai_ns, self.monotonic_ns)

    def take(self, ticks: int, position: int | None = None, step: int = 1 << 32) -> np.ndarray:
        """Samples from `position` (default: the epoch's first tick) on, in frames as the stage reads them."""
        target = np.zeros((ticks, 2), np.float32)
        position = self.tape.beginning[0] << 32 if position is None else position
        self.missing = sum(self.tape.take(position + start * step, step, target[start:start + 480]) for start in range(0, ticks, 480))
        return target

    def count(self, name: str) -> int:
        """A statistic, or the count of a reason for malformed packets."""
        statistics = self.tape.statistics()
        return statistics[name] if name in statistics else statistics["malformed"][name]
