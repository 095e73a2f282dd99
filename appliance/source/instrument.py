"""The grasper in the synthetic picture: where its tip is at a time, and the bars and discs that draw it.

Called by scene.py once a frame. Invariant: the tip it reports is the centre of the bead it draws. The bead is bright and
saturated on a dark ball, so that a machine finds the tip in the decoded picture.
"""
import math
from dataclasses import dataclass

import numpy as np

from appliance.frame import LUMA_WEIGHTS
from appliance.source.colour import samples
from cext import source as native

SHADOW, SHAFT, STEEL, JAW = range(4)
_SHAFT_LENGTH_MM = 330.0
_MILLIMETRES_PER_PIXEL = 0.22  # at 720 rows


@dataclass(frozen=True)
class Pose:
    """Where the instrument is; pixels of the full raster, (0, 0) is the centre of the top-left pixel."""

    tip_x: float
    tip_y: float
    jaw_radians: float
    insertion_mm: float
    temperature_c: float


class Grasper:
    """A laparoscopic grasper that enters from the lower right and turns about its port."""

    def __init__(self, width: int, height: int, weights=LUMA_WEIGHTS["BT709"]) -> None:
        self._unit = height / 720
        self._ball, self._bead = (tuple(round(float(value)) for value in samples(*colour, weights)) for colour in (_BALL, _BEAD))
        self._centre = (width / 2 - 0.06 * height, height / 2 - 0.02 * height)
        self._reach = (0.24 * height, 0.20 * height)
        self._port = (width / 2 + 0.98 * height, height * 1.16)

    def pose(self, seconds: float) -> Pose:
        """The pose at a time: a slow Lissajous figure with a surgeon's slight tremor."""
        turn = 2 * math.pi * seconds
        tremor = 0.9 * self._unit
        x = self._centre[0] + self._reach[0] * math.sin(turn / 7.3) + tremor * math.sin(turn / 0.37)
        y = self._centre[1] + self._reach[1] * math.sin(turn / 5.1 + 0.8) + tremor * math.sin(turn / 0.29)
        outside = math.hypot(self._port[0] - x, self._port[1] - y) / self._unit * _MILLIMETRES_PER_PIXEL
        jaw = math.radians(17 + 10 * math.sin(turn / 3.1))
        temperature = 36.9 + 0.35 * math.sin(turn / 41) + 0.05 * math.sin(turn / 2.3)
        return Pose(x, y, jaw, _SHAFT_LENGTH_MM * 0.4 + outside, temperature)

    def bars(self, pose: Pose) -> list[tuple]:
        """Strips for cext.source.Scene.begin, back to front: shadows, shaft, collar, jaws."""
        unit, tip = self._unit, (pose.tip_x, pose.tip_y)
        shaft_x, shaft_y = self._port[0] - tip[0], self._port[1] - tip[1]
        length = math.hypot(shaft_x, shaft_y)
        along = (shaft_x / length, shaft_y / length)
        turned = (along[0] * math.cos(pose.jaw_radians) - along[1] * math.sin(pose.jaw_radians),
                  along[0] * math.sin(pose.jaw_radians) + along[1] * math.cos(pose.jaw_radians))
        hinge = (tip[0] + along[0] * 76 * unit, tip[1] + along[1] * 76 * unit)

        def bar(begin, end, half_begin, half_end, profile, gains=(1.0, 1.0), ridges=(8.0, 0.0)):
            start = (tip[0] + along[0] * begin * unit, tip[1] + along[1] * begin * unit)
            return (*start, *along, (end - begin) * unit, half_begin * unit, half_end * unit, 1.0, 1.0, *gains,
                    ridges[0] * unit, ridges[1], profile)

        def shade(strip, opacity):
            moved = (strip[0] - 10 * unit, strip[1] + 26 * unit)
            return (*moved, *strip[2:7], 26 * unit, opacity, 1.0, 1.0, 8.0, 0.0, SHADOW)

        end = length / unit + 40
        shaft = bar(132, end, 17.5, 31, SHAFT, (0.95, 1.5))
        fixed_jaw = bar(4, 84, 4.2, 9.5, JAW, (0.95, 0.9), (5.5, 0.16))
        moving_jaw = (hinge[0] - turned[0] * 64 * unit, hinge[1] - turned[1] * 64 * unit, *turned, 72 * unit, 3.2 * unit, 9.0 * unit,
                      1.0, 1.0, 1.05, 0.95, 5.5 * unit, 0.16, JAW)
        return [
            shade(shaft, 0.50), shade(fixed_jaw, 0.42), shade(moving_jaw, 0.35),
            shaft, moving_jaw, fixed_jaw,
            bar(78, 136, 13.5, 17.0, STEEL), bar(96, 99, 14.2, 14.4, SHAFT), bar(118, 122, 16.4, 16.6, SHAFT),
            bar(131, 138, 18.6, 19.0, STEEL, (0.8, 0.6)),
        ]

    def discs(self, pose: Pose) -> list[tuple]:
        """Discs for cext.source.Scene.begin: the hinge is left out, the ball and the bead mark the tip."""
        ball, bead = max(8.0, 11.0 * self._unit), max(4.5, 6.0 * self._unit)
        return [(pose.tip_x, pose.tip_y, ball, 1.5, *self._ball), (pose.tip_x, pose.tip_y, bead, 1.2, *self._bead)]


_BALL = (0.035, 0.04, 0.045)
_BEAD = (0.10, 0.98, 0.45)


def profiles(weights=LUMA_WEIGHTS["BT709"]) -> np.ndarray:
    """float32 (4, 3, PROFILE_STEPS): Y, Cb, Cr across a bar, for SHADOW, SHAFT, STEEL and JAW."""
    across = (np.arange(native.PROFILE_STEPS) + 0.5) / native.PROFILE_STEPS * 2 - 1
    facing = np.sqrt(1 - across**2)
    lit = np.clip(0.42 * across + 0.86 * facing, 0, 1)
    gleam = np.exp(-(((across - 0.42) / 0.13) ** 2))
    rim = np.exp(-(((across + 0.72) / 0.16) ** 2))
    table = np.empty((4, 3, native.PROFILE_STEPS), np.float32)
    black = np.zeros_like(across)
    # The rim is what the red tissue throws back onto the metal's underside.
    looks = {
        SHADOW: (black, black, black),
        SHAFT: (0.05 + 0.10 * lit + 0.34 * gleam + 0.10 * rim, 0.05 + 0.10 * lit + 0.34 * gleam + 0.03 * rim, 0.06 + 0.11 * lit + 0.36 * gleam + 0.03 * rim),
        STEEL: (0.12 + 0.50 * lit**1.5 + 0.42 * gleam + 0.16 * rim, 0.12 + 0.50 * lit**1.5 + 0.43 * gleam + 0.07 * rim, 0.13 + 0.52 * lit**1.5 + 0.44 * gleam + 0.07 * rim),
        JAW: (0.14 + 0.46 * lit + 0.30 * gleam + 0.12 * rim, 0.14 + 0.46 * lit + 0.31 * gleam + 0.05 * rim, 0.15 + 0.48 * lit + 0.32 * gleam + 0.05 * rim),
    }
    for index, look in looks.items():
        table[index] = np.stack(samples(*(np.clip(part, 0, 1) for part in look), weights))
    return table
