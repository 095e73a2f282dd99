"""Raw frames to RGB: every pgroup format against arithmetic that is slow and obvious."""
from fractions import Fraction

import numpy as np
import pytest

from appliance.frame import VideoFormat
from appliance.hospital.picture import to_rgb

WIDTH, HEIGHT = 8, 4
WEIGHTS = {"BT601": (0.299, 0.587, 0.114), "BT709": (0.2126, 0.7152, 0.0722), "BT2020": (0.2627, 0.678, 0.0593)}
FORMATS = [(sampling, depth) for sampling in ("YCbCr-4:2:2", "YCbCr-4:4:4", "YCbCr-4:2:0", "RGB") for depth in (8, 10, 12, 16)]


def pack(samples, depth):
    """The most significant bit first, without gaps (ST 2110-20 section 6.2)."""
    word = 0
    for sample in samples:
        word = word << depth | int(sample)
    return word.to_bytes(len(samples) * depth // 8, "big")


def raw_of(planes, video):
    """Octets of a raw frame of three planes of code values, at the places that its sampling has."""
    a, b, c = planes
    samples = []
    for row in range(0, len(a), video.pgroup.rows):
        if video.sampling.endswith("4:2:0"):
            for x in range(0, WIDTH, 2):
                samples += [a[row][x], a[row][x + 1], a[row + 1][x], a[row + 1][x + 1], b[row][x], c[row][x]]
        elif video.sampling.endswith("4:2:2"):
            for x in range(0, WIDTH, 2):
                samples += [b[row][x], a[row][x], c[row][x], a[row][x + 1]]
        elif video.sampling == "RGB":
            for x in range(WIDTH):
                samples += [a[row][x], b[row][x], c[row][x]]
        else:
            for x in range(WIDTH):
                samples += [b[row][x], a[row][x], c[row][x]]
    return pack(samples, video.depth)


def expected(planes, video, bits):
    """R'G'B' of each pixel from its own code values."""
    scale, top = 1 << video.depth - 8, (1 << bits) - 1
    narrow = video.range == "NARROW"
    low, span = (16 * scale, 219 * scale) if narrow else (0, (1 << video.depth) - 1)
    middle, colour_span = 128 * scale, 224 * scale if narrow else (1 << video.depth) - 1
    wr, wg, wb = WEIGHTS[video.colorimetry]
    rgb = np.zeros((len(planes[0]), WIDTH, 3))
    for y, x in np.ndindex(rgb.shape[:2]):
        if video.sampling == "RGB":
            rgb[y, x] = [(plane[y][x] - low) / span for plane in planes]
            continue
        luma = (planes[0][y][x] - low) / span
        blue, red = ((plane[y][x] - middle) / colour_span for plane in planes[1:])
        r, b = luma + 2 * (1 - wr) * red, luma + 2 * (1 - wb) * blue
        rgb[y, x] = [r, (luma - wr * r - wb * b) / wg, b]
    return np.clip(np.rint(rgb * top), 0, top)


@pytest.mark.parametrize("colorimetry", WEIGHTS)
@pytest.mark.parametrize("value_range", ["NARROW", "FULL"])
@pytest.mark.parametrize(("sampling", "depth"), FORMATS)
def test_every_format_gives_the_colours_of_its_code_values(sampling, depth, value_range, colorimetry):
    video = VideoFormat(WIDTH, HEIGHT, sampling, depth, range=value_range, colorimetry=colorimetry)
    random = np.random.default_rng(depth)
    planes = random.integers(1 << depth - 4, 15 << depth - 4, (3, HEIGHT, WIDTH))
    if sampling != "RGB" and not sampling.endswith("4:4:4"):
        planes[1:] = planes[1:, :1, :1]  # colour that does not change needs no interpolation
    for bits in {8, depth}:
        rgb = to_rgb(raw_of(planes, video), video, bits)
        assert rgb.shape == (HEIGHT, WIDTH, 3) and rgb.dtype == (np.uint8 if bits == 8 else np.uint16)
        assert np.abs(rgb.astype(int) - expected(planes, video, bits)).max() <= (1 if bits == 16 else 0)


def test_chroma_between_two_pixels_is_their_mean():
    video = VideoFormat(WIDTH, 1, "YCbCr-4:2:2", 8, range="FULL", colorimetry="BT601")
    chroma = np.array([[100, 0, 120, 0, 140, 0, 160, 0]])
    rgb = to_rgb(raw_of((np.full((1, WIDTH), 128), chroma, np.full((1, WIDTH), 128)), video), video, 8)
    spread = np.array([[100, 110, 120, 130, 140, 150, 160, 160]])
    assert np.array_equal(rgb, expected((np.full((1, WIDTH), 128), spread, np.full((1, WIDTH), 128)), video, 8))


@pytest.mark.parametrize(("second", "rows"), [(False, [10, 20, 30, 40, 50]), (True, [20, 20, 30, 40, 40])])
def test_a_field_lies_at_its_rows_with_means_between(second, rows):
    video = VideoFormat(WIDTH, 5, "RGB", 8, Fraction(25), interlaced=True, range="FULL")
    own = [20, 40] if second else [10, 30, 50]
    octets = b"".join(bytes([value] * WIDTH * 3) for value in own).ljust(video.frame_bytes, b"\0")
    assert to_rgb(octets, video, 8, second)[:, 0, 0].tolist() == rows


def test_bands_join_without_a_seam():
    video = VideoFormat(4, 150, "RGB", 16, range="FULL")
    values = np.arange(150 * 4 * 3, dtype=np.uint16).reshape(150, 4, 3)
    assert np.array_equal(to_rgb(values.astype(">u2").tobytes(), video, 16), values)
