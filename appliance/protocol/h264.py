"""H.264 as WebRTC carries it: profile-level-id (RFC 6184 section 8.1), Annex B access units, and the RTP payload format.

Called by the fan-out's control plane and by the tests of cext/fanout, whose packetiser this is the readable twin of.
Never looks inside a slice; interleaved mode (packetization-mode 2) is left out, browsers do not have it.
"""
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from appliance.errors import ProtocolError

NAL_SLICE, NAL_IDR, NAL_SPS, NAL_PPS, NAL_DELIMITER = 1, 5, 7, 8, 9
NAL_STAP_A, NAL_FU_A = 24, 28
_FU_START, _FU_END = 0x80, 0x40
_MACROBLOCK = 16

_PROFILE_LEVEL_ID = re.compile(r"[0-9a-fA-F]{6}")
_START_CODE = re.compile(rb"\x00\x00\x01")

# level_idc, macroblocks a second, macroblocks a frame. Source: ITU-T H.264 table A-1.
_LEVELS = (
    (10, 1_485, 99), (11, 3_000, 396), (12, 6_000, 396), (13, 11_880, 396), (20, 11_880, 396), (21, 19_800, 792),
    (22, 20_250, 1_620), (30, 40_500, 1_620), (31, 108_000, 3_600), (32, 216_000, 5_120), (40, 245_760, 8_192),
    (42, 522_240, 8_704), (50, 589_824, 22_080), (51, 983_040, 36_864), (52, 2_073_600, 36_864),
)


class Profile(Enum):
    """The profiles that browsers negotiate."""

    CONSTRAINED_BASELINE = "constrained-baseline"
    BASELINE = "baseline"
    MAIN = "main"
    CONSTRAINED_HIGH = "constrained-high"
    HIGH = "high"


# profile_idc, mask of profile-iop, its value under the mask. Source: RFC 6184 table 5.
_PROFILES = (
    (0x42, 0x4F, 0x40, Profile.CONSTRAINED_BASELINE), (0x4D, 0x8F, 0x80, Profile.CONSTRAINED_BASELINE),
    (0x58, 0xCF, 0xC0, Profile.CONSTRAINED_BASELINE), (0x42, 0x4F, 0x00, Profile.BASELINE), (0x58, 0xCF, 0x80, Profile.BASELINE),
    (0x4D, 0xAF, 0x00, Profile.MAIN), (0x64, 0xFF, 0x00, Profile.HIGH), (0x64, 0xFF, 0x0C, Profile.CONSTRAINED_HIGH),
)

# Which receivers decode what we send, the best match first (annex A.2). Our high profile is progressive and without B pictures,
# which makes it constrained high as well.
DECODES = {
    Profile.CONSTRAINED_BASELINE: (Profile.CONSTRAINED_BASELINE, Profile.BASELINE, Profile.MAIN, Profile.CONSTRAINED_HIGH, Profile.HIGH),
    Profile.HIGH: (Profile.HIGH, Profile.CONSTRAINED_HIGH),
}


@dataclass(frozen=True)
class ProfileLevel:
    """A profile-level-id: three octets of the sequence parameter set."""

    profile_idc: int
    profile_iop: int
    level_idc: int

    @classmethod
    def parse(cls, text: str) -> "ProfileLevel":
        """From six hexadecimal digits; ProtocolError("profile_level_id") if it is anything else."""
        if not _PROFILE_LEVEL_ID.fullmatch(text):
            raise ProtocolError("profile_level_id", f"a profile-level-id has six hexadecimal digits, not {text[:20]!r}")
        return cls(*bytes.fromhex(text))

    @property
    def profile(self) -> Profile | None:
        """The profile, or None where it is one that no browser sends."""
        return next((profile for idc, mask, value, profile in _PROFILES
                     if idc == self.profile_idc and self.profile_iop & mask == value), None)

    def at_level(self, level_idc: int) -> "ProfileLevel":
        """The same profile at another level, as an answer with level-asymmetry-allowed may say."""
        return ProfileLevel(self.profile_idc, self.profile_iop, level_idc)

    def __str__(self) -> str:
        return bytes((self.profile_idc, self.profile_iop, self.level_idc)).hex()


def level_idc(width: int, height: int, rate: Fraction) -> int:
    """The lowest level that a progressive raster at this frame rate needs; 52 where none is enough (table A-1)."""
    frame = -(-width // _MACROBLOCK) * -(-height // _MACROBLOCK)
    return next((level for level, a_second, a_frame in _LEVELS if frame <= a_frame and frame * rate <= a_second), _LEVELS[-1][0])


def nal_type(nal: bytes) -> int:
    """nal_unit_type: the low five bits of the first octet."""
    return nal[0] & 0x1F


def nal_units(access_unit: bytes) -> list[bytes]:
    """NAL units of an Annex B access unit, without start codes and trailing zeros (annex B.1); [] where there is no start code."""
    starts = [match.end() for match in _START_CODE.finditer(access_unit)]
    ends = [match.start() for match in _START_CODE.finditer(access_unit)][1:] + [len(access_unit)]
    found = (access_unit[start:end].rstrip(b"\0") for start, end in zip(starts, ends))
    return [bytes(nal) for nal in found if nal]


def is_keyframe(access_unit: bytes) -> bool:
    """Whether the access unit holds an IDR picture."""
    return any(nal_type(nal) == NAL_IDR for nal in nal_units(access_unit))


def packetise(access_unit: bytes, payload_bytes_max: int) -> list[bytes]:
    """RTP payloads of an access unit in packetization-mode 1: single NAL units, and FU-A in parts equal to within one octet."""
    payloads = []
    for nal in nal_units(access_unit):
        if len(nal) <= payload_bytes_max:
            payloads.append(nal)
            continue
        body = nal[1:]
        count = -(-len(body) // (payload_bytes_max - 2))
        for i in range(count):
            part = body[len(body) * i // count:len(body) * (i + 1) // count]
            header = nal_type(nal) | (_FU_START if i == 0 else 0) | (_FU_END if i == count - 1 else 0)
            payloads.append(bytes((nal[0] & 0xE0 | NAL_FU_A, header)) + part)
    return payloads


def depacketise(payloads: Iterable[bytes]) -> list[bytes]:
    """NAL units from the payloads of one access unit in order (RFC 6184 sections 5.6 to 5.8).

    ProtocolError: "payload_empty", "payload_truncated", "fragment_order" or "payload_type" (a kind that mode 1 does not have).
    """
    units: list[bytes] = []
    fragments: list[bytes] = []
    for payload in payloads:
        if not payload:
            raise ProtocolError("payload_empty", "an H.264 payload has at least one octet")
        kind = nal_type(payload)
        if fragments and kind != NAL_FU_A:
            raise ProtocolError("fragment_order", "a fragmented NAL unit was not finished")
        if 1 <= kind <= 23:
            units.append(bytes(payload))
        elif kind == NAL_STAP_A:
            units += _aggregated(payload)
        elif kind == NAL_FU_A:
            fragments = _fragment(fragments, payload)
            if payload[1] & _FU_END:
                units.append(b"".join(fragments))
                fragments = []
        else:
            raise ProtocolError("payload_type", f"payload type {kind} does not exist in packetization-mode 1")
    if fragments:
        raise ProtocolError("fragment_order", "a fragmented NAL unit was not finished")
    return units


def _aggregated(payload: bytes) -> list[bytes]:
    units, position = [], 1
    while position < len(payload):
        size = int.from_bytes(payload[position:position + 2], "big")
        unit = bytes(payload[position + 2:position + 2 + size])
        if not size or len(unit) < size:
            raise ProtocolError("payload_truncated", f"a unit of {size} octets in a STAP-A has {len(unit)}")
        units.append(unit)
        position += 2 + size
    return units


def _fragment(fragments: list[bytes], payload: bytes) -> list[bytes]:
    if len(payload) < 3:
        raise ProtocolError("payload_truncated", "an FU-A has at least one octet of the unit")
    starts = bool(payload[1] & _FU_START)
    if starts == bool(fragments):
        raise ProtocolError("fragment_order", "an FU-A starts where another is open, or continues where none is")
    if starts:
        return [bytes((payload[0] & 0xE0 | payload[1] & 0x1F,)), bytes(payload[2:])]
    return fragments + [bytes(payload[2:])]
