"""The synthetic tissue: one large texture of folds, vessels and wet highlights, made once when the source starts.

Called by scene.py. The texture is wider than the raster by a margin, inside which the scene moves it. All of it comes from
one seed; nothing in it is anyone's recording.
"""
import numpy as np

from appliance.frame import LUMA_WEIGHTS
from appliance.source.colour import halved, samples

_RENDER_WIDTH_MAX = 1400  # wider textures are scaled up: the eye sees no difference in soft tissue and the start stays short

_VESSEL_GENERATIONS, _VESSEL_BRANCHES_MAX = 4, 64


def texture(width: int, height: int, weights=LUMA_WEIGHTS["BT709"], seed: int = 7) -> list[np.ndarray]:
    """Y (height x width), Cb and Cr (height x width / 2), int16, 14-bit narrow range."""
    scale = min(1.0, _RENDER_WIDTH_MAX / width)
    columns, rows = max(16, round(width * scale)), max(16, round(height * scale))
    picture = _shaded(columns, rows, np.random.default_rng(seed))
    if scale < 1:
        picture = [_resized(plane, height, width) for plane in picture]
    luma, cb, cr = samples(*picture, weights)
    return [np.ascontiguousarray(np.rint(plane).astype(np.int16)) for plane in (luma, halved(cb), halved(cr))]


def _resized(plane: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Bilinear; the outermost samples of both grids coincide."""
    for axis, count in ((0, rows), (1, columns)):
        place = np.linspace(0, plane.shape[axis] - 1, count, dtype=np.float32)
        first = np.minimum(place.astype(np.int32), plane.shape[axis] - 2)
        part = np.expand_dims(place - first.astype(np.float32), 1 - axis)
        plane = np.take(plane, first, axis) * (1 - part) + np.take(plane, first + 1, axis) * part
    return plane


def _smooth_noise(rows: int, columns: int, cell: float, rng: np.random.Generator) -> np.ndarray:
    """Noise in -1..1 without details smaller than `cell` pixels."""
    grid = rng.uniform(-1, 1, (int(rows / cell) + 4, int(columns / cell) + 4)).astype(np.float32)
    for axis, count in ((0, rows), (1, columns)):
        place = np.arange(count, dtype=np.float32) / np.float32(cell)
        first = place.astype(np.int32)
        part = np.expand_dims(place - np.floor(place), 1 - axis)
        before, here, after, beyond = (np.take(grid, first + step, axis) for step in range(4))
        # Cubic B-spline weights: smooth slopes, or the highlights would show the grid.
        grid = (before * (1 - part) ** 3 + here * (3 * part**3 - 6 * part**2 + 4)
                + after * (-3 * part**3 + 3 * part**2 + 3 * part + 1) + beyond * part**3) / 6
    return grid * 1.6


def _fractal(rows: int, columns: int, cell: float, octaves: int, rng: np.random.Generator) -> np.ndarray:
    total = np.zeros((rows, columns), np.float32)
    for octave in range(octaves):
        total += _smooth_noise(rows, columns, max(2.0, cell / 2**octave), rng) / 2**octave
    return total / (2 - 2.0 ** (1 - octaves))


def _blurred(plane: np.ndarray, radius: int) -> np.ndarray:
    """Two box blurs in each direction: near enough to a Gaussian."""
    for axis in (0, 1, 0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (radius + 1, radius)
        total = np.cumsum(np.pad(plane, pad, mode="edge"), axis=axis, dtype=np.float64)
        size = plane.shape[axis]
        plane = ((np.take(total, np.arange(2 * radius + 1, size + 2 * radius + 1), axis)
                  - np.take(total, np.arange(size), axis)) / (2 * radius + 1)).astype(np.float32)
    return plane


def _dotted(rows: int, columns: int, dots: np.ndarray) -> np.ndarray:
    """Soft dots (n, 4: x, y, radius, strength) on a plane of zeros; where dots overlap the stronger one counts."""
    canvas = np.zeros(rows * columns, np.float32)
    reaches = dots[:, 2].astype(int) * 2 + 2
    for reach in np.unique(reaches):
        x, y, radius, strength = dots[reaches == reach].T[..., None, None]
        side = np.arange(-reach, reach + 1)
        column, row = np.floor(x).astype(int) + side, np.floor(y).astype(int) + side[:, None]
        spot = strength * np.exp(-(((column - x) ** 2 + (row - y) ** 2) / radius**2) ** 2)
        inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        np.maximum.at(canvas, (row * columns + column)[inside], spot[inside].astype(np.float32))
    return canvas.reshape(rows, columns)


def _vessels(rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
    """0..1: branching vessels; all of one generation grow together, step by step."""
    unit = columns / 1400
    edge = 2 * np.pi * (np.arange(8) + rng.uniform(0, 0.6, 8)) / 8
    roots = np.stack([columns * (0.5 + 0.48 * np.cos(edge)), rows * (0.5 + 0.48 * np.sin(edge)),
                      edge + np.pi + rng.uniform(-0.6, 0.6, 8), rng.uniform(3.6, 5.6, 8) * unit], axis=1)
    dots = []
    for generation in range(_VESSEL_GENERATIONS):
        grown, roots = _grown(roots, generation, unit, rng)
        dots.append(grown)
    return _dotted(rows, columns, np.concatenate(dots))


def _grown(roots: np.ndarray, generation: int, unit: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Dots along vessels from `roots` (n, 4: x, y, course, radius), and the roots of their branches."""
    x, y, course, radius = roots.T.copy()
    length = rng.uniform(260, 560, x.size) * unit / (1 + 0.5 * generation)
    heading, turn, gone = course.copy(), np.zeros_like(x), np.zeros_like(x)
    dots, branches = [], [np.empty((0, 4))]
    while (growing := (gone < length) & (radius > 0.6 * unit)).any():
        stride = np.where(growing, np.maximum(1.0, radius * 0.5), 0)
        turn = 0.92 * turn + rng.normal(0, 0.018, x.size)
        heading += turn + 0.03 * (course - heading)  # it wanders, but keeps its course
        x, y, gone = x + np.cos(heading) * stride, y + np.sin(heading) * stride, gone + stride
        radius *= 1 - 0.0011 * stride / unit
        strength = np.minimum(0.85, 0.40 + 0.10 * radius / unit) * np.clip((length - gone) / (40 * unit), 0, 1)
        dots.append(np.stack([x, y, radius, strength], axis=1)[growing])
        splits = growing & (gone > 12 * unit) & (rng.random(x.size) < 0.011 * stride / unit)
        side = rng.choice((-1, 1), x.size) * rng.uniform(0.45, 0.95, x.size)
        branches.append(np.stack([x, y, heading + side, radius * rng.uniform(0.45, 0.75, x.size)], axis=1)[splits])
    return np.concatenate(dots), np.concatenate(branches)[:_VESSEL_BRANCHES_MAX]


def _heights(rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
    """The relief: broad folds with rounded backs and a fine, wet roughness."""
    unit = columns / 1400
    bend = _fractal(rows, columns, 260 * unit, 3, rng)
    down, across = np.mgrid[0:rows, 0:columns].astype(np.float32) / unit
    fold = 1 - np.abs(np.sin((across * 0.55 + down * 0.8) / 150 + 2.4 * bend)) ** 0.9
    lobes = _fractal(rows, columns, 170 * unit, 3, rng)
    fine = _fractal(rows, columns, 22 * unit, 3, rng)
    return 34 * fold + 30 * lobes + 2.6 * fine


def _shaded(columns: int, rows: int, rng: np.random.Generator) -> list[np.ndarray]:
    unit = columns / 1400
    vessels = _vessels(rows, columns, rng)
    relief = _blurred(_heights(rows, columns, rng) + 0.9 * vessels, max(1, round(2.5 * unit)))
    slope_y, slope_x = (slope / unit for slope in np.gradient(relief))
    length = np.sqrt(slope_x**2 + slope_y**2 + 1)
    # The light sits beside the lens: it shines along the view, a little from the upper left.
    facing = np.clip((-0.22 * -slope_x - 0.30 * -slope_y + 0.93) / length, 0, 1)
    mirror = np.clip((-0.10 * -slope_x - 0.16 * -slope_y + 0.985) / length, 0, 1)
    wet = np.clip(_fractal(rows, columns, 60 * unit, 3, rng) * 1.8 + 0.30, 0, 1)
    shine = wet * (0.85 * mirror**900 + 0.14 * mirror**50)
    blood = np.clip(_fractal(rows, columns, 240 * unit, 4, rng) * 0.9 + 0.45, 0, 1)
    fat = np.clip(_fractal(rows, columns, 300 * unit, 3, rng) * 2.4 - 0.75, 0, 1)
    hollow = np.clip((_blurred(relief, max(2, round(45 * unit))) - relief) / 16, 0, 1)

    tone = facing**1.6 * (1 - 0.55 * hollow) * (0.97 + 0.05 * _fractal(rows, columns, 7 * unit, 2, rng))
    vein_cover = _blurred(vessels, 1)
    picture = []
    for pink, red, yellow, vein, light in ((0.86, 0.74, 0.88, 0.50, 1.0), (0.50, 0.27, 0.68, 0.08, 0.95), (0.45, 0.24, 0.42, 0.12, 0.90)):
        base = pink + (red - pink) * blood
        base = base + (yellow - base) * 0.75 * fat
        base = base + (vein - base) * 0.85 * vein_cover
        picture.append(np.clip(base * tone + light * shine, 0, 1).astype(np.float32))
    return picture
