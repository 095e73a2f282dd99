"""What a flow seems to be by its packets alone, for messages when it is not what its SDP says.

Used by the ingest stage, which surveys, and by whoever tells a person. Pure; a guess, never used to make a picture.
"""
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from appliance.frame import PGROUPS, VideoFormat

_TICKS_HZ = 90_000
_USUAL_RATES = [Fraction(rate) for rate in (24, 25, 30, 50, 60, 100, 120)] + [Fraction(rate * 1000, 1001) for rate in (24, 30, 60, 120)]
_RATE_TOLERANCE = Fraction(1, 2000)
WIDTH_MAX, HEIGHT_MAX = 4096, 2160
"""No camera of a theatre sends a larger raster: one that seems larger was read from packets that are no picture's."""
_SCANS = ("p", "i", "PsF")
_SHOWN = ("YCbCr-4:2:2", "YCbCr-4:4:4", "RGB", "YCbCr-4:2:0")


@dataclass(frozen=True)
class RasterGuess:
    """A raster as packets seem to have it; 0 is a value that they do not tell."""

    width: int
    height: int
    scan: int
    """0 progressive, 1 interlaced, 2 PsF."""
    pixel_bits: int
    """Bits of one pixel on average: 20 for 4:2:2 of 10 bit, 15 for 4:2:0."""
    rate: Fraction = Fraction(0)
    """Pictures a second."""

    @property
    def codings(self) -> list[str]:
        """Samplings and depths with so many bits, the usual first."""
        return [f"{sampling} {depth} bit" for sampling in _SHOWN for depth in PGROUPS[sampling] if _pixel_bits(sampling, depth) == self.pixel_bits]

    def is_raster_of(self, format: VideoFormat) -> bool:
        """Whether size, scan and bits are this format's."""
        bits = _pixel_bits(format.sampling, format.depth)
        return (self.width, self.height, _SCANS[self.scan], self.pixel_bits) == (format.width, format.height, format.scan, bits)

    def __str__(self) -> str:
        size = f"{self.width or '?'}x{self.height or '?'}{_SCANS[self.scan]}"
        rate = f"{float(self.rate):.2f}".rstrip("0").rstrip(".") if self.rate else ""
        return " ".join(filter(None, (f"{size}{rate}", " or ".join(self.codings))))


def guess(survey: Mapping[str, int], format: VideoFormat) -> RasterGuess | None:
    """What the numbers of struct survey point to, beside the SDP's format. None where too little came to say anything, what came cannot be, or is the
    SDP's own raster: at a lower rate that is a sender which stalls."""
    seems = _guess(survey, format)
    if seems is None or seems.width > WIDTH_MAX or seems.height > HEIGHT_MAX or seems.is_raster_of(format):
        return None
    return seems


def _guess(survey: Mapping[str, int], format: VideoFormat) -> RasterGuess | None:
    if survey["timestamps"] < 3:
        return None
    first, second = survey["rows_end"]
    scan = 0 if not second else 2 if survey["shared"] * 2 > survey["timestamps"] else 1
    # Rows of 4:2:0 come in pairs that have the even one's number.
    paired = not survey["odd_rows"] and first > 2 and not second
    ratio = Fraction(survey["step_octets"], survey["step_pixels"]) if survey["step_pixels"] else Fraction(0)
    if not ratio and survey["far_offset"] == 0 and format.width:
        ratio = Fraction(survey["far_length"], format.width)  # a row a packet: the width is taken to be right
    bits = ratio * 8 / (2 if paired else 1)
    known = {_pixel_bits(sampling, depth) for sampling in _SHOWN for depth in PGROUPS[sampling]}
    if bits not in known:
        return RasterGuess(0, first + second + paired, scan, 0, _rate(survey))
    width = survey["far_offset"] + survey["far_length"] / ratio
    return RasterGuess(int(width), first + second + paired, scan, int(bits), _rate(survey))


def _pixel_bits(sampling: str, depth: int) -> int:
    pgroup = PGROUPS[sampling][depth]
    return pgroup.octets * 8 // pgroup.pixels


def _rate(survey: Mapping[str, int]) -> Fraction:
    """Pictures a second by the RTP times; 0 where they are no rate that anybody sends."""
    rate = Fraction(_TICKS_HZ * (survey["timestamps"] - 1), survey["span"]) if survey["span"] else Fraction(0)
    nearest = min(_USUAL_RATES, key=lambda usual: abs(usual - rate))
    return nearest if abs(nearest - rate) <= nearest * _RATE_TOLERANCE else Fraction(0)
