"""PTP management messages (IEEE 1588-2019 clause 15) as linuxptp's ptp4l answers them, and the clock that an SDP names. No socket here.

The exporter asks with it. Only GET is made: nothing of a clock is ever changed.
"""
import re
import struct
from dataclasses import dataclass

# Source: IEEE 1588-2019 table 59; those above 0xC000 are linuxptp's own (its file tlv.h).
DEFAULT_DATA_SET, TIME_PROPERTIES_DATA_SET, TIME_STATUS_NP, PORT_PROPERTIES_NP = 0x2000, 0x2003, 0xC000, 0xC004
SLAVE, UNCALIBRATED, MASTER, GRAND_MASTER = 9, 8, 6, 14
"""Port states that matter (table 20; 14 is linuxptp's own)."""
DOMAIN_MAX = 255

_MANAGEMENT, _VERSION, _CONTROL, _LOG_INTERVAL = 0x0D, 2, 4, 0x7F
_HEADER = struct.Struct(">BBHBBHq4x8sHHBb")
_BODY = struct.Struct(">8sHBBBB")
_TLV = struct.Struct(">HHH")
_MANAGEMENT_TLV, _RESPONSE = 1, 2
_ALL_CLOCKS, _ALL_PORTS = b"\xff" * 8, 0xFFFF
_TIME_STATUS = struct.Struct(">qqiiHHQHi8s")
_UTC_OFFSET_VALID = 1 << 2
_SOFTWARE = 0
_REFERENCE = re.compile(r"IEEE1588-(?P<version>2008|2019|2002)(?::(?P<clock>[0-9A-F]{2}(?:-[0-9A-F]{2}){7}|traceable)(?::(?:domain-nmbr=)?(?P<domain>\d{1,3}))?)?", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """What ptp4l says about one data set."""

    domain: int
    sequence: int
    data_set: int
    octets: bytes


@dataclass(frozen=True)
class Port:
    """A port of the clock: its state, and whether the network card stamps its packets."""

    interface: str
    state: int
    hardware: bool


@dataclass(frozen=True)
class TimeStatus:
    """Offset from the grandmaster, and which one that is."""

    offset_ns: int
    present: bool
    """False: no grandmaster is heard, and the identity is this clock's own."""
    grandmaster: int


@dataclass(frozen=True)
class Reference:
    """The clock of an SDP's `a=ts-refclk:ptp=`. None: any, the SDP says no more than that it is traceable."""

    grandmaster: int | None
    domain: int | None


def get(data_set: int, domain: int, sequence: int, clock: int = 1) -> bytes:
    """The message that asks every clock behind a socket for a data set; `clock` tells who asks."""
    body = _BODY.pack(_ALL_CLOCKS, _ALL_PORTS, 0, 0, 0, 0) + _TLV.pack(_MANAGEMENT_TLV, 2, data_set)
    header = _HEADER.pack(_MANAGEMENT, _VERSION, _HEADER.size + len(body), domain, 0, 0, 0, clock.to_bytes(8), 1, sequence, _CONTROL, _LOG_INTERVAL)
    return header + body


def read(datagram: bytes) -> Answer | None:
    """The answer in a datagram; None for everything else, refusals included."""
    least = _HEADER.size + _BODY.size + _TLV.size
    if len(datagram) < least or datagram[0] & 0x0F != _MANAGEMENT or datagram[1] & 0x0F != _VERSION:
        return None
    domain, sequence = datagram[4], struct.unpack_from(">H", datagram, 30)[0]
    action = datagram[_HEADER.size + 12] & 0x0F
    kind, length, data_set = _TLV.unpack_from(datagram, _HEADER.size + _BODY.size)
    octets = datagram[least:least + length - 2]
    if kind != _MANAGEMENT_TLV or action != _RESPONSE or length < 2 or len(octets) != length - 2:
        return None
    return Answer(domain, sequence, data_set, octets)


def time_status(octets: bytes) -> TimeStatus | None:
    """TIME_STATUS_NP, None if it is cut short."""
    if len(octets) < _TIME_STATUS.size:
        return None
    offset_ns, *_, present, identity = _TIME_STATUS.unpack_from(octets)
    return TimeStatus(offset_ns, bool(present), int.from_bytes(identity))


def port(octets: bytes) -> Port | None:
    """PORT_PROPERTIES_NP, None if it is cut short."""
    if len(octets) < 13 or len(octets) < 13 + octets[12]:
        return None
    return Port(octets[13:13 + octets[12]].decode("ascii", "replace"), octets[10], octets[11] != _SOFTWARE)


def identity(octets: bytes) -> int | None:
    """The clock's own identity in DEFAULT_DATA_SET, None if it is cut short."""
    return int.from_bytes(octets[10:18]) if len(octets) >= 19 else None


def utc_offset_s(octets: bytes) -> int | None:
    """TAI minus UTC in TIME_PROPERTIES_DATA_SET; None if it is cut short or the grandmaster says that it does not know."""
    if len(octets) < 4 or not octets[2] & _UTC_OFFSET_VALID:
        return None
    return struct.unpack_from(">h", octets)[0]


def reference(text: str | None) -> Reference | None:
    """What an SDP's reference clock names, None if it names no PTP clock (or one that nobody understands)."""
    match = _REFERENCE.fullmatch(text or "")
    if match is None:
        return None
    clock = match["clock"]
    named = clock is not None and clock.lower() != "traceable"
    domain = int(match["domain"]) if match["domain"] else None
    return Reference(int(clock.replace("-", ""), 16) if named else None, domain if domain is None or domain <= DOMAIN_MAX else None)


def identity_text(identity: int) -> str:
    """As an SDP writes it: 39-A7-94-FF-FE-07-CB-D0."""
    return identity.to_bytes(8).hex("-").upper()
