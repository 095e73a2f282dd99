"""ICC profiles of video's RGB: BT.709's transfer curve with the primaries of a colorimetry, as the ICC Profile module needs it (PS3.3 C.11.15).

For the synthetic camera, for stored pictures, and in place of a camera's own for a class. Written out here because no licence comes with it; matrix profiles of version 4.
"""
import struct

# Source: ICC.1:2022 section 7.2; D50 is the profile connection space's white.
_D50 = (0.9642, 1.0, 0.8249)
# Adapted to D50. Those of BT.601 differ from BT.709's by less than its two systems do from each other.
_PRIMARIES = {
    "BT709": {b"rXYZ": (0.4361, 0.2225, 0.0139), b"gXYZ": (0.3851, 0.7169, 0.0971), b"bXYZ": (0.1431, 0.0606, 0.7141)},
    "BT2020": {b"rXYZ": (0.6735, 0.2790, -0.0019), b"gXYZ": (0.1657, 0.6753, 0.0300), b"bXYZ": (0.1251, 0.0456, 0.7969)},
}
_D65_TO_D50 = (1.0479, 0.0229, -0.0502, 0.0296, 0.9904, -0.0171, -0.0092, 0.0151, 0.7519)
_HEADER_BYTES = 128


def profile(colorimetry: str = "BT709") -> bytes:
    """The whole profile, about 600 octets."""
    primaries = "BT2020" if colorimetry == "BT2020" else "BT709"
    curve = b"para" + bytes(4) + struct.pack(">HH", 3, 0) + _fixed(1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
    tags = {b"desc": _text(primaries.replace("BT", "BT.")), b"cprt": _text("CC0"), b"wtpt": _xyz(*_D50), b"chad": b"sf32" + bytes(4) + _fixed(*_D65_TO_D50)}
    tags |= {name: _xyz(*value) for name, value in _PRIMARIES[primaries].items()}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return _assembled(tags)


def is_rgb(octets: bytes) -> bool:
    """Whether these are an ICC profile of an RGB device, by its header (ICC.1:2022 section 7.2)."""
    return len(octets) > _HEADER_BYTES and octets[36:40] == b"acsp" and octets[16:20] == b"RGB " and int.from_bytes(octets[:4], "big") in (len(octets), len(octets) - 1)


def _assembled(tags: dict[bytes, bytes]) -> bytes:
    table, body, places = struct.pack(">I", len(tags)), b"", {}
    start = _HEADER_BYTES + 4 + 12 * len(tags)
    for name, value in tags.items():
        if value not in places:  # the three curves are one
            places[value] = start + len(body)
            body += value + bytes(-len(value) % 4)
        table += struct.pack(">4sII", name, places[value], len(value))
    size = start + len(body)
    header = struct.pack(">I4sI4s4s4s6H4s4sIIIQI12s", size, bytes(4), 0x0440_0000, b"mntr", b"RGB ", b"XYZ ", 2026, 1, 1, 0, 0, 0,
                         b"acsp", bytes(4), 0, 0, 0, 0, 0, _fixed(*_D50))
    return header + bytes(_HEADER_BYTES - len(header)) + table + body


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(*values)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(encoded), 28) + encoded
