"""What the picture's numbers mean, from the SDP's words (ST 2110-20 section 7) to the code points that H.264 carries (ITU-T H.273).

Used by the encode stage. Signals, never converts: the samples stay as the sender made them.
"""
from dataclasses import astuple, dataclass

from appliance.frame import VideoFormat

UNSPECIFIED = 2
_LIMITED, _FULL = 1, 2  # AVCOL_RANGE_MPEG, AVCOL_RANGE_JPEG

# colorimetry: (primaries, transfer of SDR, matrix). Source: ITU-T H.273 tables 2, 3 and 4.
_COLORIMETRY = {
    "BT601": (6, 6, 6),
    "BT709": (1, 1, 1),
    "BT2020": (9, 14, 9),
    "BT2100": (9, UNSPECIFIED, 9),
}
_TRANSFER = {"PQ": 16, "HLG": 18, "LINEAR": 8, "BT2100LINPQ": 8, "BT2100LINHLG": 8}


@dataclass(frozen=True)
class Colour:
    """Code points of ITU-T H.273, and FFmpeg's number of the range."""

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    range: int = _LIMITED

    def values(self) -> tuple[int, int, int, int]:
        """(primaries, transfer, matrix, range)."""
        return astuple(self)


def colour_of(video: VideoFormat) -> Colour:
    """The code points of a raster; what H.264 has no word for stays unspecified."""
    primaries, transfer, matrix = _COLORIMETRY.get(video.colorimetry, (UNSPECIFIED, UNSPECIFIED, UNSPECIFIED))
    if video.transfer != "SDR":
        transfer = _TRANSFER.get(video.transfer, UNSPECIFIED)
    # FULLPROTECT uses all but the outermost codes (ST 2110-20 section 7.3): for a viewer that is full range.
    return Colour(primaries, transfer, matrix, _LIMITED if video.range == "NARROW" else _FULL)
