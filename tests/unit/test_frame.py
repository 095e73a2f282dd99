"""Formats: octets, strides, planes."""
from fractions import Fraction

import pytest

from appliance.frame import (CODINGS, LEVELS, PGROUPS, RENDITIONS, Audience, Codec, FieldFormat, Level, PlanarFormat, Rendition, VideoFormat,
                             planar_within)
from cext.scale import Scaler


@pytest.mark.parametrize("depth, row, frame", [(10, 3200, 2_304_000), (8, 2560, 1_843_200)])
def test_a_720p_frame_has_the_octets_of_its_pgroups(depth, row, frame):
    video = VideoFormat(1280, 720, depth=depth)
    assert (video.raw_row_bytes, video.frame_bytes) == (row, frame)
    assert video.frame_ns == 20_000_000


@pytest.mark.parametrize("sampling, octets, pixels", [
    ("YCbCr-4:2:2", (4, 5, 6, 8), (2, 2, 2, 2)), ("YCbCr-4:4:4", (3, 15, 9, 6), (1, 4, 2, 1)), ("RGB", (3, 15, 9, 6), (1, 4, 2, 1)),
    ("YCbCr-4:2:0", (6, 15, 9, 12), (4, 8, 4, 4)), ("CLYCbCr-4:2:2", (4, 5, 6, 8), (2, 2, 2, 2)), ("ICtCp-4:2:0", (6, 15, 9, 12), (4, 8, 4, 4))])
def test_pgroups_are_those_of_the_standards_tables(sampling, octets, pixels):
    pgroups = [PGROUPS[sampling][depth] for depth in (8, 10, 12, 16)]
    assert tuple(pgroup.octets for pgroup in pgroups) == octets
    assert tuple(pgroup.pixels for pgroup in pgroups) == pixels
    samples = {"4:2:2": 2, "4:2:0": Fraction(3, 2)}.get(sampling[-5:], 3)  # to a pixel
    assert all(pgroup.octets * 8 == pgroup.pixels * samples * depth for pgroup, depth in zip(pgroups, (8, 10, 12, 16), strict=True))


@pytest.mark.parametrize("fields, raw_rows, picture_rate, text", [
    ({}, 1080, 25, "1920x1080p25"), ({"interlaced": True}, 540, 50, "1920x1080i50"), ({"interlaced": True, "segmented": True}, 1080, 25, "1920x1080PsF25"),
    ({"sampling": "YCbCr-4:2:0"}, 540, 25, "1920x1080p25"), ({"interlaced": True, "height": 487}, 244, 50, "1920x487i50")])
def test_a_raw_frame_is_a_frame_or_a_field(fields, raw_rows, picture_rate, text):
    video = VideoFormat(**{"width": 1920, "height": 1080, "rate": Fraction(25)} | fields)
    assert (video.raw_rows, video.picture_rate) == (raw_rows, picture_rate)
    assert video.frame_bytes == raw_rows * video.raw_row_bytes
    assert str(video).startswith(text + " ")


def test_a_format_reads_well():
    assert str(VideoFormat(1280, 720)) == "1280x720p50 YCbCr-4:2:2 10 bit"
    assert str(VideoFormat(1920, 1080, rate=Fraction(60000, 1001))) == "1920x1080p59.94 YCbCr-4:2:2 10 bit"


def test_ring_formats_differ_where_frames_would():
    formats = [VideoFormat(1280, 720), VideoFormat(1280, 720, depth=8), VideoFormat(1280, 722), VideoFormat(1282, 720),
               VideoFormat(1280, 720, interlaced=True), VideoFormat(1280, 720, interlaced=True, segmented=True), VideoFormat(1280, 720, sampling="RGB")]
    assert len({video.to_bytes() for video in formats}) == len(formats)
    assert all(len(video.to_bytes()) == 32 for video in formats)
    assert len(PlanarFormat(1280, 720).to_bytes()) == 32


@pytest.mark.parametrize("width, height", [(2, 1), (2, 2), (62, 7), (64, 8), (66, 9), (1280, 720), (4096, 2160)])
def test_planes_lie_one_after_another_without_overlap(width, height):
    planar = PlanarFormat(width, height)
    assert planar.luma_stride % 64 == 0 and planar.luma_stride >= width
    assert planar.chroma_stride % 32 == 0 and planar.chroma_stride >= planar.chroma_width
    assert planar.u_offset == planar.luma_stride * height
    assert planar.v_offset - planar.u_offset == planar.chroma_stride * ((height + 1) // 2)
    assert planar.frame_bytes - planar.v_offset == planar.v_offset - planar.u_offset


def test_renditions_have_names_of_their_own_and_are_found_by_them():
    names = [rendition.name for rendition in RENDITIONS]
    assert names == ["expert", "expert.half", "expert.small", "class", "class.half", "class.small",
                     "expert.vp8", "expert.vp8.half", "expert.vp8.small", "class.vp8", "class.vp8.half", "class.vp8.small"]
    assert [Rendition.named(name) for name in names] == list(RENDITIONS)


def test_every_rendition_has_the_coding_whose_pixels_it_may_show():
    """Whoever masks the class's picture changes this table: a class rendition that is masked is made of no expert's access units."""
    assert {rendition.name: rendition.coding.name for rendition in RENDITIONS} == {
        "expert": "expert", "expert.half": "expert.half", "expert.small": "expert.small",
        "class": "expert", "class.half": "expert.half", "class.small": "expert.small",
        "expert.vp8": "expert.vp8", "expert.vp8.half": "expert.vp8.half", "expert.vp8.small": "expert.vp8.small",
        "class.vp8": "expert.vp8", "class.vp8.half": "expert.vp8.half", "class.vp8.small": "expert.vp8.small"}


def test_a_coding_serves_what_is_made_of_it_and_every_level_of_one_is_a_coding():
    assert [coding.name for coding in CODINGS] == ["expert", "expert.half", "expert.small", "expert.vp8", "expert.vp8.half", "expert.vp8.small"]
    assert sorted(rendition.name for coding in CODINGS for rendition in coding.serves) == sorted(rendition.name for rendition in RENDITIONS)
    for coding in CODINGS:
        assert coding.coding == coding == coding.serves[0] and set(coding.levels) <= set(CODINGS)
        assert all((rendition.codec, rendition.level) == (coding.codec, coding.level) for rendition in coding.serves)
    assert Rendition.named("class").serves == ()


@pytest.mark.parametrize("name", ["", "half", "expert.h264", "expert.full", "expert.half.vp8", "class.vp8.", "Expert"])
def test_a_name_that_no_rendition_has_is_refused(name):
    with pytest.raises(ValueError, match="there is no rendition"):
        Rendition.named(name)


def test_the_levels_of_a_rendition_go_from_the_best_to_the_humblest():
    small = Rendition(Audience.CLASS, Codec.VP8, Level.SMALL)
    assert [rendition.name for rendition in small.levels] == ["class.vp8", "class.vp8.half", "class.vp8.small"]
    assert [rendition.level for rendition in small.levels] == list(LEVELS) == [Level.FULL, Level.HALF, Level.SMALL]


@pytest.mark.parametrize("rate, step", [(Fraction(24), 1), (Fraction(25), 1), (Fraction(30_000, 1001), 1), (Fraction(30), 1),
                                        (Fraction(50), 2), (Fraction(60_000, 1001), 2), (Fraction(60), 2)])
def test_only_a_fast_stream_is_halved_in_rate(rate, step):
    assert [level.frame_step(rate) for level in LEVELS] == [1, step, step]


@pytest.mark.parametrize("raster, small", [((1280, 720), (640, 360)), ((1920, 1080), (960, 540)), ((1366, 768), (682, 384)), ((64, 37), (32, 18)),
                                           ((32, 32), (16, 16)), ((64, 30), (64, 30)), ((30, 64), (30, 64))])
def test_the_small_level_has_half_the_raster_and_stays_even(raster, small):
    assert Level.SMALL.raster_of(*raster) == small
    assert Level.FULL.raster_of(*raster) == Level.HALF.raster_of(*raster) == raster


@pytest.mark.parametrize("raster, height_max, shown", [((1920, 1080), 1080, (1920, 1080)), ((3840, 2160), 1080, (1920, 1080)), ((4096, 2160), 720, (1366, 720)),
                                                       ((720, 487), 1080, (720, 487)), ((720, 576), 360, (450, 360)), ((1920, 1080), 540, (960, 540))])
def test_a_higher_raster_is_shown_as_high_as_it_may_be_and_keeps_its_shape(raster, height_max, shown):
    planar = planar_within(VideoFormat(*raster), height_max)
    assert (planar.width, planar.height) == shown


@pytest.mark.parametrize("raster, shape, height_max, shown", [((720, 576), (16, 11), 1080, (1048, 576)), ((720, 576), (12, 11), 1080, (786, 576)), ((720, 487), (8, 9), 1080, (720, 548)),
                                                              ((1440, 1080), (4, 3), 1080, (1920, 1080)), ((1440, 1080), (4, 3), 480, (854, 480))])
def test_pixels_that_are_not_square_are_made_so_without_losing_any(raster, shape, height_max, shown):
    planar = planar_within(VideoFormat(*raster, pixel_aspect=Fraction(*shape)), height_max)
    assert (planar.width, planar.height) == shown
    Scaler(PlanarFormat(*raster), planar)


def test_a_field_has_a_row_of_chroma_for_each_row():
    field = FieldFormat(720, 243)
    assert field.chroma_height == 243 and field.frame_bytes == 243 * (field.luma_stride + 2 * field.chroma_stride)


@pytest.mark.parametrize("colorimetry, weights", [("BT601", (0.299, 0.114)), ("BT709", (0.2126, 0.0722)), ("BT2020", (0.2627, 0.0593)), ("BT2100", (0.2627, 0.0593)),
                                                  ("UNSPECIFIED", (0.2126, 0.0722))])
def test_luma_has_the_weights_of_its_colorimetry(colorimetry, weights):
    assert VideoFormat(1280, 720, colorimetry=colorimetry).luma_weights == weights
