"""Formats: octets, strides, planes."""
from fractions import Fraction

import pytest

from appliance.frame import PlanarFormat, VideoFormat


@pytest.mark.parametrize("depth, row, frame", [(10, 3200, 2_304_000), (8, 2560, 1_843_200)])
def test_a_720p_frame_has_the_octets_of_its_pgroups(depth, row, frame):
    video = VideoFormat(1280, 720, depth=depth)
    assert (video.row_bytes, video.frame_bytes) == (row, frame)
    assert video.frame_ns == 20_000_000


def test_a_format_reads_well():
    assert str(VideoFormat(1280, 720)) == "1280x720p50 YCbCr-4:2:2 10 bit"
    assert str(VideoFormat(1920, 1080, rate=Fraction(60000, 1001))) == "1920x1080p59.94 YCbCr-4:2:2 10 bit"


def test_ring_formats_differ_where_frames_would():
    formats = [VideoFormat(1280, 720), VideoFormat(1280, 720, depth=8), VideoFormat(1280, 722), VideoFormat(1282, 720)]
    assert len({video.to_bytes() for video in formats}) == 4
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
