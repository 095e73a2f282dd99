"""The synthetic endoscope's view: moving tissue, the instrument, the round edge of the lens.

Called by sender.py once a frame. The picture of a frame depends on its time and number alone; rows are drawn by
cext/source just before they are sent.
"""
import math

import numpy as np

from appliance.frame import VideoFormat
from appliance.source import colour, instrument, tissue
from cext import source as native

_VIEW_RADIUS = 0.66  # of the height: cut above and below, dark corners, as a laparoscope shows on a 16:9 monitor
_NOISE_SIGMA_LUMA, _NOISE_SIGMA_CHROMA = 0.9 * 64, 0.45 * 64  # 64 is one 8-bit step in 14-bit samples
FLASH_AT, FLASH_RADIUS = (0.5, 0.92), 36
"""The flash's centre, of width and height, and its radius in rows of 720."""
_BREATH_S, _PULSE_S = 4.4, 0.86


class Scene:
    """Draws frames of one VideoFormat, or their fields or segments."""

    def __init__(self, format: VideoFormat, stamped: bool = False) -> None:
        width, height = format.width, format.height
        self._unit = height / 720
        self._margin = 2 * math.ceil(24 * self._unit)
        weights = format.luma_weights
        self._grasper = instrument.Grasper(width, height, weights)
        # White, in the middle near the lower edge: where nothing of interest happens.
        self._flash = (width * FLASH_AT[0], height * FLASH_AT[1], FLASH_RADIUS * self._unit, 1.0, 940 * 16, 512 * 16, 512 * 16)
        self._rows = np.linspace(0, 1, height, dtype=np.float32)
        light, view = _lens(width, height)
        if format.interlaced:
            view = _shared(view)
        noise = np.random.default_rng(11).normal(0, _NOISE_SIGMA_LUMA, native.NOISE_SAMPLES + width)
        self.native = native.Scene(
            format, colour.coding(format), tissue.texture(width + 2 * self._margin, height + 2 * self._margin, weights), self._margin,
            light, np.ascontiguousarray(light[:, ::2]), view, np.rint(noise).astype(np.int16), instrument.profiles(weights), stamped)

    def begin(self, seconds: float, number: int, second_part: bool = False, flash: bool = False) -> instrument.Pose:
        """Sets the next frame up, or its second field or segment, and returns the pose that will be drawn in it."""
        pose = self._grasper.pose(seconds)
        discs = [*self._grasper.discs(pose), *([self._flash] if flash else [])]
        self.native.begin(self._shift(seconds), self._grasper.bars(pose), discs, number & 0xFFFF_FFFF, second_part)
        return pose

    def draw(self, seconds: float, number: int = 0) -> tuple[np.ndarray, instrument.Pose]:
        """A whole frame at once: its packed pgroups (reused by the next call) and the pose in it."""
        pose = self.begin(seconds, number)
        return self.native.finish(), pose

    def _shift(self, seconds: float) -> np.ndarray:
        """How far each row's tissue has moved, (height, 2) pixels: breathing, the heart, a camera held by hand."""
        turn, unit = 2 * math.pi * seconds, self._unit
        breath = (0.5 - 0.5 * math.cos(turn / _BREATH_S)) ** 1.5
        pulse = math.exp(-7 * (seconds / _PULSE_S % 1)) * (1 - math.exp(-40 * (seconds / _PULSE_S % 1)))
        shift = np.empty((self._rows.size, 2), np.float32)
        shift[:, 0] = unit * (13 * math.sin(turn / 19) + 3.5 * np.sin(3.5 * self._rows - turn / _BREATH_S) + 2.2 * pulse * np.sin(6 * self._rows))
        shift[:, 1] = unit * (7 * math.sin(turn / 27 + 1) + 17 * breath * (self._rows - 0.35) + 4.5 * pulse * np.sin(math.pi * self._rows))
        return shift


def _lens(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Light that reaches each pixel, of 256 (height, width), and the columns inside the round view (height, 2)."""
    across = np.arange(width, dtype=np.float32) - (width - 1) / 2
    down = np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2
    radius, edge = _VIEW_RADIUS * height, max(3.0, height / 120)
    distance = np.hypot(across, down)
    gain = (1 - 0.5 * (distance / radius) ** 4) * np.clip((radius - distance) / edge, 0, 1)
    # The notch on the edge shows which way the camera is turned.
    inward, aside = radius - (across * 0.94 - down * 0.34), np.abs(across * 0.34 + down * 0.94)
    notch = np.clip((0.030 * height - inward) * 0.8 - aside, 0, 2) / 2
    gain *= 1 - notch
    half = np.sqrt(np.clip(radius**2 - down[:, 0] ** 2, 0, None))
    # In fours: what whole pgroups of every format hold.
    begin = np.clip(np.floor((width / 2 - half) / 4) * 4, 0, width // 4 * 4)
    end = np.clip(np.ceil((width / 2 + half) / 4) * 4, 0, width)
    return np.rint(np.clip(gain, 0, 1) * 255).astype(np.uint8), np.ascontiguousarray(np.stack([begin, end], axis=1).astype(np.uint32))


def _shared(view: np.ndarray) -> np.ndarray:
    """The columns of both rows of each pair for either: a row's place in memory is its neighbour's in the other field."""
    shared = view.copy()
    for side, of_both in ((0, np.minimum), (1, np.maximum)):
        pairs = of_both(view[:-1:2, side], view[1::2, side])
        shared[:2 * pairs.size:2, side] = shared[1::2, side] = pairs
    return shared
