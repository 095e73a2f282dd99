"""VP8 as WebRTC carries it: the RTP payload descriptor (RFC 7741) and what a frame's first octets say (RFC 6386 section 9.1).

Called by the tests of cext/fanout, whose packetiser this is the readable twin of. One partition, no temporal layers.
"""
from collections.abc import Iterable
from dataclasses import dataclass

from appliance.errors import ProtocolError

_EXTENDED, _START = 0x80, 0x10
_HAS_PICTURE_ID, _HAS_TL0, _HAS_TID, _HAS_KEYIDX = 0x80, 0x40, 0x20, 0x10
_LONG = 0x80
_KEYFRAME_START_CODE = b"\x9d\x01\x2a"


@dataclass(frozen=True)
class Descriptor:
    """What stands before a VP8 payload. `octets` is its length; picture_id is None where the sender has none."""

    starts_partition: bool
    partition: int
    picture_id: int | None
    octets: int


def parse_descriptor(payload: bytes) -> Descriptor:
    """The descriptor of a payload; ProtocolError("payload_truncated") if the payload ends inside it or carries nothing."""
    def octet(position: int) -> int:
        if position >= len(payload):
            raise ProtocolError("payload_truncated", "a VP8 payload ends in its descriptor")
        return payload[position]

    first, position, picture_id = octet(0), 1, None
    if first & _EXTENDED:
        extension, position = octet(1), 2
        if extension & _HAS_PICTURE_ID:
            picture_id, position = octet(position) & 0x7F, position + 1
            if octet(position - 1) & _LONG:
                picture_id, position = picture_id << 8 | octet(position), position + 1
        position += bool(extension & _HAS_TL0) + bool(extension & (_HAS_TID | _HAS_KEYIDX))
    octet(position)
    return Descriptor(bool(first & _START), first & 0x07, picture_id, position)


def packetise(frame: bytes, payload_bytes_max: int) -> list[bytes]:
    """RTP payloads of one frame, equal to within one octet, without picture ids; [] for an empty frame."""
    count = -(-len(frame) // (payload_bytes_max - 1))
    return [bytes((_START if i == 0 else 0,)) + frame[len(frame) * i // count:len(frame) * (i + 1) // count] for i in range(count)]


def depacketise(payloads: Iterable[bytes]) -> bytes:
    """The frame that the payloads of one timestamp carry, in order.

    ProtocolError: "payload_truncated", or "fragment_order" where the first does not start the frame or the picture id changes.
    """
    frame, picture_id = b"", None
    for i, payload in enumerate(payloads):
        descriptor = parse_descriptor(payload)
        starts_frame = descriptor.starts_partition and descriptor.partition == 0
        if starts_frame != (i == 0) or (i and descriptor.picture_id != picture_id):
            raise ProtocolError("fragment_order", f"payload {i} of the frame belongs elsewhere")
        picture_id = descriptor.picture_id
        frame += payload[descriptor.octets:]
    return frame


def is_keyframe(frame: bytes) -> bool:
    """Whether the frame is a keyframe: bit 0 of its tag is clear."""
    return bool(frame) and not frame[0] & 1


def size(frame: bytes) -> tuple[int, int]:
    """Width and height in pixels of a keyframe; ProtocolError("not_a_keyframe") if it is none."""
    if not is_keyframe(frame) or len(frame) < 10 or frame[3:6] != _KEYFRAME_START_CODE:
        raise ProtocolError("not_a_keyframe", "only a whole VP8 keyframe says its size")
    return int.from_bytes(frame[6:8], "little") & 0x3FFF, int.from_bytes(frame[8:10], "little") & 0x3FFF
