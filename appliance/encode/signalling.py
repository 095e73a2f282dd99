"""What the coded picture's numbers mean, from the SDP's words (ST 2110-20 section 7) to the code points that H.264 carries (ITU-T H.273).

Used by the encode stage. Matrix and range are those that convert makes of every source; primaries and transfer stay the source's.
"""
from dataclasses import astuple, dataclass

from appliance.frame import VideoFormat

UNSPECIFIED = 2
_MATRIX_BT601 = 6
_LIMITED = 1  # AVCOL_RANGE_MPEG

# colorimetry: (primaries, transfer of SDR). Source: ITU-T H.273 tables 2 and 3.
_COLORIMETRY = {
    "BT601": (6, 6),
    "BT709": (1, 1),
    "BT2020": (9, 14),
    "BT2100": (9, UNSPECIFIED),
}
_TRANSFER = {"PQ": 16, "HLG": 18, "LINEAR": 8, "BT2100LINPQ": 8, "BT2100LINHLG": 8}


@dataclass(frozen=True)
class Colour:
    """Code points of ITU-T H.273, and FFmpeg's number of the range."""

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = _MATRIX_BT601
    range: int = _LIMITED

    def values(self) -> tuple[int, int, int, int]:
        """(primaries, transfer, matrix, range)."""
        return astuple(self)


def colour_of(video: VideoFormat) -> Colour:
    """The code points of a raster; what H.264 has no word for stays unspecified."""
    primaries, transfer = _COLORIMETRY.get(video.colorimetry, (UNSPECIFIED, UNSPECIFIED))
    if video.transfer != "SDR":
        transfer = _TRANSFER.get(video.transfer, UNSPECIFIED)
    return Colour(primaries, transfer)
