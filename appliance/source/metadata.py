"""The metadata flow: one PS3.22 grain for every picture, the static part with some of them, as RTP packets.

Called by sender.py, which sends the packets. A grain is a template in which the few live values are written over: its octets equal
what protocol.dicom_rtv.build_grain() makes, at a fraction of the cost.
"""
import secrets
import struct
from ipaddress import IPv4Address
from uuid import NAMESPACE_URL, uuid5

from pydicom.dataset import Dataset

from appliance.protocol import grain, rtp, sdp
from appliance.protocol.dicom_rtv import ST2110_20_INTERLACED, ST2110_20_PROGRESSIVE, build_grain, frame_item, origin_timestamp, tip_item
from appliance.source.case import new_uid, static_part
from appliance.source.instrument import Pose
from appliance.source.options import Plan

PAYLOAD_TYPE = 104
STATIC_PER_SECOND = 2
_PACKET_BYTES_MAX = 1452  # standard UDP size limit less UDP's own header (ST 2110-10 section 6.3)
_NMOS = "urn:x-nmos:rtp-hdrext:"
ORIGIN, FLOW, SOURCE, FLAGS, SYNC, DURATION = 1, 3, 4, 5, 7, 9
EXTENSION_IDS = {_NMOS + "origin-timestamp": ORIGIN, _NMOS + "flow-id": FLOW, _NMOS + "source-id": SOURCE, _NMOS + "grain-flags": FLAGS,
                 _NMOS + "sync-timestamp": SYNC, _NMOS + "grain-duration": DURATION}


class MetadataFlow:
    """Makes the packets of each grain. One instance is one RTP session and one SOP instance."""

    def __init__(self, plan: Plan) -> None:
        self._rate = plan.format.picture_rate  # a grain for every picture, so for every field: a viewer matches both by RTP timestamp
        self._syntax = ST2110_20_INTERLACED if plan.format.by_fields else ST2110_20_PROGRESSIVE
        self._source_id, self._flow_id = identity(plan, "metadata source"), identity(plan, "metadata flow")
        self.instance_uid = new_uid()
        self.static = static_part(self.instance_uid, identity(plan, "video source"), identity(plan, "video flow"), plan.format)
        self._dynamic_template, self._static_template = _Template(self._build(None)), _Template(self._build(self.static))
        self._static_every = max(1, int(self._rate / STATIC_PER_SECOND))
        self._packets = GrainPackets(self._source_id, self._flow_id)

    def _build(self, static: Dataset | None) -> bytes:
        return self.build(static, _MARKED_ORIGIN_NS, _MARKED_NUMBER, _MARKED_POSE)

    def build(self, static: Dataset | None, origin_tai_ns: int, number: int, pose: Pose) -> bytes:
        """A grain made element by element; slow (about 1 ms), the truth that the templates equal."""
        tip = tip_item(pose.tip_x, pose.tip_y, depth_mm=pose.insertion_mm, temperature_c=pose.temperature_c)
        return build_grain(static, frame_item(origin_tai_ns, number, [tip]), instance_uid=self.instance_uid, source_id=self._source_id,
                           flow_id=self._flow_id, transfer_syntax_uid=self._syntax, frame_duration_ms=float(1000 / self._rate))

    def has_static(self, number: int) -> bool:
        """Whether the grain of frame `number` carries the static part."""
        return number % self._static_every == 0

    def payload(self, origin_tai_ns: int, number: int, pose: Pose) -> bytes:
        """The grain of frame `number`."""
        template = self._static_template if self.has_static(number) else self._dynamic_template
        return template.filled(origin_tai_ns, number, pose)

    def packets(self, origin_tai_ns: int, rtp_timestamp: int, number: int, pose: Pose) -> list[bytes]:
        """The packets of the grain of frame `number`, in order."""
        return self._packets.of(self.payload(origin_tai_ns, number, pose), origin_tai_ns, rtp_timestamp, (self._rate.denominator, self._rate.numerator))


class GrainPackets:
    """Packets of one RTP session from grain after grain."""

    def __init__(self, source_id: bytes, flow_id: bytes) -> None:
        """The 16 octets of the metadata flow's own UUIDs."""
        self._source_id, self._flow_id = source_id, flow_id
        self._ssrc, self._sequence = secrets.randbits(32), secrets.randbits(16)

    def of(self, payload: bytes, origin_tai_ns: int, rtp_timestamp: int, duration: tuple[int, int]) -> list[bytes]:
        """The grain's packets in order. The first tells who, when and how long (seconds as a fraction); the grain flags are in every one."""
        time = origin_timestamp(origin_tai_ns)
        elements = {ORIGIN: time, FLOW: self._flow_id, SOURCE: self._source_id, FLAGS: b"\0", SYNC: time, DURATION: struct.pack(">II", *duration)}
        rest, packets, flags = payload, [], grain.START
        while flags & grain.END == 0:
            room = _PACKET_BYTES_MAX - rtp.HEADER_BYTES - 4 - sum(1 + len(value) for value in elements.values()) // 4 * 4 - 4
            part, rest = rest[:room], rest[room:]
            flags |= 0 if rest else grain.END
            elements[FLAGS] = bytes([flags])
            header = rtp.RtpHeader(PAYLOAD_TYPE, self._sequence, rtp_timestamp, self._ssrc, marker=not rest)
            packets.append(rtp.build(header, part, elements))
            self._sequence = self._sequence + 1 & 0xFFFF
            elements, flags = {FLAGS: b"\0"}, flags & grain.END
        return packets


def flow(plan: Plan) -> sdp.MetadataFlow:
    """The metadata flow as a receiver's SDP describes it."""
    return sdp.MetadataFlow(group=plan.metadata_group, port=plan.metadata_port, source_address=plan.source_address, payload_type=PAYLOAD_TYPE,
                            extension_ids=EXTENSION_IDS, title=f"{plan.name}, synthetic metadata", second=second_leg(plan))


def second_leg(plan: Plan) -> sdp.Leg | None:
    """Where the grains go a second time: beside the video's second path as the first one is beside the video's first."""
    if plan.second is None:
        return None
    apart = int(IPv4Address(plan.metadata_group)) - int(IPv4Address(plan.group))
    return sdp.Leg(group=str(IPv4Address(int(IPv4Address(plan.second.group)) + (apart if abs(apart) == 1 else 0))),
                   port=plan.second.port + plan.metadata_port - plan.port, source_address=plan.second.source_address, payload_type=PAYLOAD_TYPE)


def identity(plan: Plan, part: str) -> bytes:
    """16 octets that stay the same over restarts and differ between sources."""
    return uuid5(NAMESPACE_URL, f"rtp://{plan.source_address}/{plan.group}:{plan.port}/{plan.name}/{part}").bytes


# Values that occur nowhere else in a grain, so that their places can be found in it.
_MARKED_ORIGIN_NS = 0x5B7E_91A3 * 1_000_000_000 + 876_543_219
_MARKED_NUMBER = 0xB6E1
_MARKED_POSE = Pose(-1.2345678901e101, -2.3456789012e102, 0.0, -3.4567890123e103, -4.5678901234e104)


class _Template:
    """A grain with marked live values; filled() writes the frame's own over them."""

    def __init__(self, marked: bytes) -> None:
        self._octets = bytearray(marked)
        pose = _MARKED_POSE
        tip = struct.pack("<dd", pose.tip_x, pose.tip_y)
        marks = (origin_timestamp(_MARKED_ORIGIN_NS), b"US" + struct.pack("<HH", 2, _MARKED_NUMBER), tip,
                 struct.pack("<d", pose.insertion_mm), struct.pack("<d", pose.temperature_c))
        assert all(marked.count(mark) == 1 for mark in marks)
        self._origin, number, self._tip, self._insertion, self._temperature = (marked.index(mark) for mark in marks)
        self._number = number + 4

    def filled(self, origin_tai_ns: int, number: int, pose: Pose) -> bytes:
        octets = self._octets
        octets[self._origin:self._origin + 10] = origin_timestamp(origin_tai_ns)
        struct.pack_into("<H", octets, self._number, number & 0xFFFF)
        struct.pack_into("<dd", octets, self._tip, pose.tip_x, pose.tip_y)
        struct.pack_into("<d", octets, self._insertion, pose.insertion_mm)
        struct.pack_into("<d", octets, self._temperature, pose.temperature_c)
        return bytes(octets)
