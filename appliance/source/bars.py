"""Colour bars whose code values are known: a still picture by which the way from a camera to a screen is measured.

Called by sender.py for --picture bars, and by tests, which ask patches() what a place must show. Slow and obvious; made once.
"""
from dataclasses import dataclass

import numpy as np

from appliance.frame import VideoFormat
from appliance.source import colour, instrument
from cext import source as native

_COLUMNS = 8
_HUES = ((1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1), (0, 0, 0))
_BANDS = (
    (0.5, tuple(tuple(0.75 * part for part in hue) for hue in _HUES)),        # 75 % bars
    (0.25, _HUES),                                                            # 100 % bars
    (0.25, tuple((step / 7,) * 3 for step in range(_COLUMNS))),               # greys, black to white
)
"""Share of the height, and R'G'B' in 0..1 of each column: white, yellow, cyan, green, magenta, red, blue, black."""


@dataclass(frozen=True)
class Patch:
    """A rectangle of one colour: pixels of the frame, the ends left out; R'G'B' in 0..1."""

    left: int
    top: int
    right: int
    bottom: int
    rgb: tuple[float, float, float]


class Bars:
    """The bars of one format, as Scene is a scene."""

    def __init__(self, format: VideoFormat) -> None:
        self._grasper = instrument.Grasper(format.width, format.height)
        self.native = native.Still([raw_part(format, second) for second in ((False, True) if format.interlaced else (False,))])

    def begin(self, seconds: float, number: int, second_part: bool = False, flash: bool = False) -> instrument.Pose:
        """The pose that the metadata tells of; nothing of it is in the picture, which stands still, and does not flash."""
        return self._grasper.pose(seconds)


def patches(width: int, height: int) -> list[Patch]:
    """What the bars show where, from the upper left on. Edges lie on multiples of four, so that no pgroup and no pair of rows has two colours."""
    columns = [round(width * column / _COLUMNS / 4) * 4 for column in range(_COLUMNS)] + [width]
    found, top, share = [], 0, 0.0
    for part, colours in _BANDS:
        share += part
        bottom = height if share == 1 else round(height * share / 4) * 4
        found += [Patch(columns[index], top, columns[index + 1], bottom, rgb) for index, rgb in enumerate(colours)]
        top = bottom
    return found


def raw_part(format: VideoFormat, second_part: bool = False) -> np.ndarray:
    """Packed pgroups (uint8) of the frame, or of its first or second field or segment."""
    shown = patches(format.width, format.height)
    bands = [(shown[first].bottom, _row(format, shown[first:first + _COLUMNS])) for first in range(0, len(shown), _COLUMNS)]
    step = 2 if format.interlaced else format.pgroup.rows
    rows = range(second_part, format.height, step)
    return np.concatenate([next(row for bottom, row in bands if at < bottom) for at in rows])


def codes(format: VideoFormat, rgb: tuple[float, float, float]) -> np.ndarray:
    """The three components' codes of a colour, in wire order: Cb Y Cr, or R G B."""
    matrix, code_min, code_max = colour.coding(format)
    y, cb, cr = (float(sample) for sample in colour.samples(*rgb, format.luma_weights))
    return np.rint(np.clip(np.array(matrix) @ (y, cb, cr, 1), code_min, code_max)).astype(np.uint16)


def _row(format: VideoFormat, columns: list[Patch]) -> np.ndarray:
    """A raw row of pgroups that has these columns."""
    width = format.width
    wide = np.empty((width, 3), np.uint16)
    for patch in columns:
        wide[patch.left:patch.right] = codes(format, patch.rgb)
    cb, y, cr = wide.T  # or R, G, B
    sampling = "4:4:4" if format.sampling == "RGB" else format.sampling[-5:]
    if sampling == "4:4:4":
        samples = wide
    elif sampling == "4:2:2":
        samples = np.stack([cb[::2], y[::2], cr[::2], y[1::2]], axis=1)
    else:
        samples = np.stack([y[::2], y[1::2], y[::2], y[1::2], cb[::2], cr[::2]], axis=1)
    bits = samples.reshape(-1, 1) >> np.arange(format.depth - 1, -1, -1, dtype=np.uint16) & 1
    return np.packbits(bits.astype(np.uint8).ravel())
