"""A camera for tests: frames of random samples as ST 2110-20 packets, and an assembly with a ring whose reader the test holds."""
import os
import random
import struct
from dataclasses import dataclass, field
from fractions import Fraction

from appliance import clock
from appliance.frame import VideoFormat
from appliance.protocol import rfc4175
from appliance.protocol.rtp import RtpHeader, build, parse
from appliance.runtime.ring import LATEST, Ring, RingReader, RingWriter
from cext.reception import Assembly

SMALL = VideoFormat(64, 40, rate=Fraction(50))
PAYLOAD_TYPE = 96
FRAME_NS = 20_000_000
START_TAI_NS = 1_700_000_000 * 10**9


@dataclass
class Camera:
    """Packets of one raw frame after another. `split` as rfc4175.packetise takes it: how many pgroups each packet carries."""

    format: VideoFormat = SMALL
    split: tuple[int, ...] = (8,)
    ssrc: int = 0x1234
    sequence: int = 70_000
    tai_ns: int = START_TAI_NS
    seed: int = 0
    second_field: bool = False
    """Whether the next raw frame is a second field."""
    sent: list[bytes] = field(default_factory=list)

    def __post_init__(self):
        self.random = random.Random(self.seed)

    @property
    def timestamp(self) -> int:
        """RTP timestamp of the next raw frame."""
        return clock.rtp_timestamp(self.tai_ns)

    def frame(self, **header) -> list[bytes]:
        """The packets of the next frame or field, marker on the last, of PsF also on the first segment's last; its samples go to `sent`.

        A second field of an odd height repeats its last row in `sent`, as its slot does.
        """
        samples = self.random.randbytes(self.format.frame_bytes)
        if self.second_field and self.format.height % 2:
            samples = samples[:-self.format.raw_row_bytes] + samples[-2 * self.format.raw_row_bytes:-self.format.raw_row_bytes]
        self.sent.append(samples)
        packets = []
        for second in rfc4175.parts(self.format) if self.format.segmented else (self.second_field,):
            payloads = list(rfc4175.packetise(samples, self.format, self.split, self.sequence, second))
            packets += [build(RtpHeader(PAYLOAD_TYPE, self.sequence + number & 0xFFFF, self.timestamp, self.ssrc,
                                        marker=number == len(payloads) - 1, **header), payload)
                        for number, payload in enumerate(payloads)]
            self.sequence += len(payloads)
        self.second_field = self.format.by_fields and not self.second_field
        self.tai_ns += FRAME_NS
        return packets


@dataclass
class Frame:
    """A published frame as the reader got it."""

    samples: bytes
    number: int
    flags: int
    rows_missing: int
    rtp_timestamp: int
    capture_tai_ns: int
    first_packet_tai_ns: int
    payload_bytes: int
    skipped: int


class Assembled:
    """An assembly with its ring, a clock that the test turns and a reader that takes every frame as soon as it is published."""

    def __init__(self, format: VideoFormat = SMALL, slots: int = 6, **options):
        self.format = format
        self.ring = Ring.create("raw.test", slots, format.frame_bytes, LATEST, format.to_bytes())
        self.doorbell = os.eventfd(0, os.EFD_NONBLOCK)
        self.writer = RingWriter(self.ring.fd, [self.doorbell], format.to_bytes())
        self.reader = RingReader(self.ring.fd, 0, self.doorbell, format.to_bytes())
        self.assembly = self.attach(self.writer, **options)
        self.tai_ns, self.monotonic_ns = START_TAI_NS, 50 * 10**9
        self.frames: list[Frame] = []

    def attach(self, writer: RingWriter, **options) -> Assembly:
        """An assembly that writes through this writer."""
        format = self.format
        return Assembly(writer, width=format.width, height=format.height, pgroup_bytes=format.pgroup.octets, pgroup_columns=format.pgroup.columns,
                        pgroup_rows=format.pgroup.rows, scan=format.scan, payload_type=PAYLOAD_TYPE, neutral_pgroup=rfc4175.neutral_pgroup(format), **options)

    def feed(self, packets) -> list[Frame]:
        """Gives packets to the assembly now; the frames that they brought out."""
        before = len(self.frames)
        for packet in packets:
            self.assembly.packet(packet, self.tai_ns, self.monotonic_ns)
            self.collect()
        return self.frames[before:]

    def wait(self, nanoseconds: int) -> list[Frame]:
        """Turns the clock and gives the assembly its chance to close what is overdue."""
        before = len(self.frames)
        self.tai_ns += nanoseconds
        self.monotonic_ns += nanoseconds
        self.assembly.tick(self.monotonic_ns)
        self.collect()
        return self.frames[before:]

    def collect(self):
        """Leases and releases whatever was published."""
        while (slot := self.reader.lease_latest()) is not None:
            with memoryview(slot) as octets:
                samples = bytes(octets)
            self.frames.append(Frame(samples, slot.number, slot.flags, slot.rows_missing, slot.rtp_timestamp, slot.capture_tai_ns,
                                     slot.first_packet_tai_ns, slot.payload_bytes, self.reader.skipped))
            slot.release()

    def count(self, name: str) -> int:
        """A statistic, or the count of a reason for malformed packets."""
        statistics = self.assembly.statistics()
        return statistics[name] if name in statistics else statistics["malformed"][name]

    def close(self):
        """Lets go of the ring."""
        os.close(self.doorbell)
        self.ring.close()


def rows(samples: bytes, format: VideoFormat = SMALL) -> list[bytes]:
    """The rows of a raw frame."""
    return [samples[start:start + format.raw_row_bytes] for start in range(0, format.frame_bytes, format.raw_row_bytes)]


def remarked(packet, **changes):
    """The packet with other header fields."""
    parsed = parse(packet)
    header = RtpHeader(**{**{name: getattr(parsed.header, name) for name in RtpHeader.__dataclass_fields__}, **changes})
    return build(header, parsed.payload)


def strays(dice, count):
    """Sound RTP packets of another sender with any row and offset."""
    places = (struct.pack("!HHH", 40, dice.getrandbits(16), dice.getrandbits(15)) for _ in range(count))
    return [build(RtpHeader(PAYLOAD_TYPE, dice.getrandbits(16), dice.getrandbits(32), 0xBAD), bytes(2) + place + bytes(40)) for place in places]


def play(bench, camera, frames=1, **header):
    """Frames in real time, nothing amiss."""
    published = []
    for _ in range(frames):
        published += bench.feed(camera.frame(**header)) + bench.wait(FRAME_NS)
    return published
