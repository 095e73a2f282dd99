"""As much of ITU-T H.264 as the tests need, read straight from the standard: NAL units and the sequence parameter set."""
from dataclasses import dataclass

IDR, SEI, SPS, PPS, DELIMITER = 5, 6, 7, 8, 9


def nal_units(unit: bytes) -> list[bytes]:
    """NAL units of an Annex B byte stream, start codes and trailing zeros removed (annex B.2)."""
    assert unit.startswith((b"\0\0\1", b"\0\0\0\1"))
    return [part.rstrip(b"\0") for part in unit.split(b"\0\0\1")[1:]]


def nal_types(unit: bytes) -> list[int]:
    return [nal[0] & 0x1F for nal in nal_units(unit)]


class Bits:
    """Reads an RBSP (sections 7.2 and 9.1)."""

    def __init__(self, nal: bytes) -> None:
        payload = nal[1:].replace(b"\0\0\3", b"\0\0")
        self._bits = "".join(f"{octet:08b}" for octet in payload)
        self._at = 0

    def u(self, count: int) -> int:
        self._at += count
        return int(self._bits[self._at - count : self._at] or "0", 2)

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
        return (1 << zeros) - 1 + (self.u(zeros) if zeros else 0)


@dataclass
class Sps:
    profile: int
    constraints: int
    level: int
    reference_frames: int = 0
    width: int = 0
    height: int = 0
    full_range: int | None = None
    primaries: int | None = None
    transfer: int | None = None
    matrix: int | None = None
    ticks: tuple[int, int] | None = None
    fixed_rate: int | None = None
    reorder_frames: int | None = None
    decoder_frames: int | None = None


def parse_sps(nal: bytes) -> Sps:
    """Section 7.3.2.1.1, without scaling lists."""
    bits = Bits(nal)
    sps = Sps(bits.u(8), bits.u(8), bits.u(8))
    bits.ue()
    if sps.profile == 100:
        chroma, _, _, _ = bits.ue(), bits.ue(), bits.ue(), bits.u(1)
        assert chroma == 1 and bits.u(1) == 0
    bits.ue()
    order = bits.ue()
    assert order in (0, 2)
    if order == 0:
        bits.ue()
    sps.reference_frames = bits.ue()
    bits.u(1)
    columns, rows = bits.ue() + 1, bits.ue() + 1
    assert bits.u(1) == 1  # frame_mbs_only_flag
    bits.u(1)
    left = right = top = bottom = 0
    if bits.u(1):
        left, right, top, bottom = bits.ue(), bits.ue(), bits.ue(), bits.ue()
    sps.width, sps.height = 16 * columns - 2 * (left + right), 16 * rows - 2 * (top + bottom)
    if bits.u(1):
        _vui(bits, sps)
    return sps


def _vui(bits: Bits, sps: Sps) -> None:
    """Annex E.1.1."""
    if bits.u(1) and bits.u(8) == 255:
        bits.u(32)
    if bits.u(1):
        bits.u(1)
    if bits.u(1):
        bits.u(3)
        sps.full_range = bits.u(1)
        if bits.u(1):
            sps.primaries, sps.transfer, sps.matrix = bits.u(8), bits.u(8), bits.u(8)
    if bits.u(1):
        bits.ue(), bits.ue()
    if bits.u(1):
        sps.ticks, sps.fixed_rate = (bits.u(32), bits.u(32)), bits.u(1)
    hrd = [bits.u(1), bits.u(1)]
    assert hrd == [0, 0]
    bits.u(1)
    if bits.u(1):
        bits.u(1)
        for _ in range(4):
            bits.ue()
        sps.reorder_frames, sps.decoder_frames = bits.ue(), bits.ue()
