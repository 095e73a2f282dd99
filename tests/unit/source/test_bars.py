"""Colour bars: the codes that the recommendations give, in every format, and the moving picture's packer against plain arithmetic."""
from dataclasses import replace

import numpy as np
import pytest

from appliance.frame import VideoFormat
from appliance.source import colour
from appliance.source.bars import patches, raw_part
from appliance.source.scene import Scene
from tests.unit.source.pictures import components, greenness

SAMPLINGS = ("YCbCr-4:2:2", "YCbCr-4:4:4", "YCbCr-4:2:0", "RGB")
FORMATS = [VideoFormat(320, 180, sampling, depth) for sampling in SAMPLINGS for depth in (8, 10, 12, 16)]
CODED = [replace(FORMATS[place], range=code_range, colorimetry=name)
         for place, code_range, name in ((1, "FULL", "BT601"), (5, "FULLPROTECT", "BT2020"), (8, "NARROW", "BT601"), (13, "FULL", "BT709"), (12, "FULL", "BT2020"))]
# 100 % bars of 10 bit, narrow: Cb, Y, Cr of yellow, cyan, green, magenta, red, blue. Sources: ITU-R BT.709-6 items 3.2 to 3.4, BT.601-7, BT.2020-2.
KNOWN = {
    "BT709": [(64, 877, 553), (615, 754, 64), (167, 691, 105), (857, 313, 919), (409, 250, 960), (960, 127, 471)],
    "BT601": [(64, 840, 585), (663, 678, 64), (215, 578, 137), (809, 426, 887), (361, 326, 960), (960, 164, 439)],
}


def middle(shown, patch):
    return shown[(patch.top + patch.bottom) // 2, (patch.left + patch.right) // 2]


@pytest.mark.parametrize("name", KNOWN)
def test_the_bars_have_the_codes_of_the_recommendation(name):
    format = VideoFormat(640, 360, colorimetry=name)
    shown = components(raw_part(format), format)
    found = [tuple(int(code) for code in middle(shown, patch)) for patch in patches(640, 360)[9:15]]
    assert found == KNOWN[name]
    assert [tuple(middle(shown, patch)) for patch in (patches(640, 360)[8], patches(640, 360)[15])] == [(512, 940, 512), (512, 64, 512)]


@pytest.mark.parametrize("format", FORMATS + CODED, ids=lambda format: f"{format} {format.range} {format.colorimetry}")
def test_every_pixel_of_a_patch_turns_back_into_its_colour(format):
    kr, kb = format.luma_weights
    last, unit = (1 << format.depth) - 1, 1 << format.depth - 8
    black, swing, chroma = (16 * unit, 219 * unit, 224 * unit) if format.range == "NARROW" else (0, last, last)
    shown = components(raw_part(format), format).astype(float)
    for patch in patches(format.width, format.height):
        part = shown[patch.top:patch.bottom, patch.left:patch.right]
        if format.sampling == "RGB":
            rgb = (part - black) / swing
        else:
            cb, y, cr = (part[..., 0] - 128 * unit) / chroma, (part[..., 1] - black) / swing, (part[..., 2] - 128 * unit) / chroma
            red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
            rgb = np.stack([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue], axis=-1)
        # A code is rounded by half; four codes reserved at each end are 1.6 of 8 bit in FULLPROTECT and in the extremes of others.
        assert np.abs(rgb - patch.rgb).max() < 2.2 / 219


def test_fields_and_segments_are_rows_of_the_same_bars():
    for format in (VideoFormat(320, 181, interlaced=True), VideoFormat(320, 181, interlaced=True, segmented=True)):
        whole = raw_part(replace(format, interlaced=False, segmented=False)).reshape(181, -1)
        assert (raw_part(format, False).reshape(91, -1) == whole[::2]).all() and (raw_part(format, True).reshape(90, -1) == whole[1::2]).all()


@pytest.mark.parametrize("format", FORMATS + CODED, ids=lambda format: f"{format} {format.range} {format.colorimetry}")
def test_the_packer_makes_the_codes_that_arithmetic_gives(format):
    rng, width = np.random.default_rng(3), format.width
    matrix, code_min, code_max = colour.coding(format)
    upper, lower = ([rng.integers(1000, 15_100, size, dtype=np.int16) for size in (width, width // 2, width // 2)] for _ in range(2))
    wide = [(np.repeat(plane, 2).astype(float)) for plane in upper[1:]]
    if format.sampling in ("YCbCr-4:4:4", "RGB"):
        for plane in wide:
            plane[1:-1:2] = (plane[:-2:2] + plane[2::2]) / 2
    elif format.sampling == "YCbCr-4:2:0":
        wide = [(plane + np.repeat(below, 2)) / 2 for plane, below in zip(wide, lower[1:])]
    rows = [upper[0], lower[0]] if format.sampling == "YCbCr-4:2:0" else [upper[0]]
    expected = np.stack([np.clip(np.stack([luma, *wide, np.ones(width)], axis=1) @ np.array(matrix).T, code_min, code_max) for luma in rows])
    for simd in (False, True):
        shown = components(Scene(replace(format, height=64)).native.pack(upper, lower, simd=simd), format)
        assert np.abs(shown - expected).max() <= (0.51 if format.depth < 16 else 0.6)


@pytest.mark.parametrize("format", [FORMATS[6], FORMATS[8], FORMATS[12], replace(FORMATS[1], range="FULL")], ids=str)
def test_the_scene_is_the_same_in_every_format(format):
    """The bead is where the usual format has it, and the picture is red as tissue is."""
    luma, cb, cr = [], [], []
    for shown_format in (VideoFormat(320, 180), format):
        frame, _ = Scene(shown_format).draw(2.5)
        shown = components(frame, shown_format) / (1 << shown_format.depth)
        if shown_format.sampling == "RGB":
            red, green, blue = ((plane - 16 / 256) * 256 / 219 for plane in np.moveaxis(shown, 2, 0))
            shown = np.stack(colour.samples(red, green, blue), axis=2)[..., (1, 0, 2)] / 16384
        elif shown_format.range == "FULL":
            shown = np.stack([(shown[..., 0] - 0.5) * 224 / 256 + 0.5, shown[..., 1] * 219 / 256 + 16 / 256, (shown[..., 2] - 0.5) * 224 / 256 + 0.5], axis=2)
        cb.append(shown[..., 0]), luma.append(shown[..., 1]), cr.append(shown[..., 2])
    assert np.abs(luma[0] - luma[1]).max() < 0.03 and np.abs(luma[0] - luma[1]).mean() < 0.004
    assert np.abs(cr[0] - cr[1]).mean() < 0.004 and greenness(luma[1], cb[1], cr[1], 1).max() > 0.2


def test_the_fields_of_a_scene_are_the_rows_of_its_frames():
    fields, frame = Scene(VideoFormat(320, 181, interlaced=True)), Scene(VideoFormat(320, 181))
    for second, seconds in ((False, 1.0), (True, 1.02)):
        fields.begin(seconds, 7, second)
        rows = components(fields.native.finish().copy(), VideoFormat(320, 181, interlaced=True))
        whole = components(frame.draw(seconds, 7)[0], VideoFormat(320, 181))[second::2]
        near = np.abs(rows[:whole.shape[0]] - whole)
        assert near.mean() < 8 and np.median(near) < 8  # noise apart, which differs by row
