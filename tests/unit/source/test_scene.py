"""The synthetic picture: what is drawn is what is told, in codes that ST 2110-20 allows, findable after a lossy codec."""
from fractions import Fraction

import av
import numpy as np
import pytest

from appliance.frame import VideoFormat
from appliance.source.scene import Scene
from cext import source as native
from tests.unit.source.pictures import centroid, greenness, planes, stamped_microseconds

HD = VideoFormat(1280, 720)
SMALL = VideoFormat(320, 180)
MOMENTS = [0.0, 0.37, 1.9, 4.02, 7.77, 12.3]


@pytest.fixture(scope="module")
def scene():
    return Scene(HD)


def wide(chroma):
    return np.repeat(chroma, 2, axis=1)


def found_tip(luma, cb, cr, depth):
    """Where the bead is, by luma alone around the place that its colour marks: chroma has half of the columns. Planes of equal size."""
    x, y = centroid(greenness(luma, cb, cr, 1 << depth))
    left, top = round(x) - 14, round(y) - 14
    near = luma[top:top + 29, left:left + 29].astype(float)
    near[np.hypot(*np.indices(near.shape) - 14) > 8.5] = 0  # the bead and the dark ball, not what shines around them
    dx, dy = centroid(np.clip(near - (100 << depth - 8), 0, None))
    return left + dx, top + dy


@pytest.mark.parametrize("seconds", MOMENTS)
def test_the_bead_is_drawn_where_the_pose_says(scene, seconds):
    frame, pose = scene.draw(seconds)
    luma, cb, cr = planes(frame, HD)
    x, y = found_tip(luma, wide(cb), wide(cr), 10)
    assert np.hypot(x - pose.tip_x, y - pose.tip_y) < 0.15


@pytest.mark.parametrize("format", [VideoFormat(1280, 720, depth=8), VideoFormat(1920, 1080)], ids=str)
def test_the_bead_is_drawn_where_the_pose_says_at_other_formats(format):
    frame, pose = Scene(format).draw(2.5)
    luma, cb, cr = planes(frame, format)
    x, y = centroid(greenness(luma, wide(cb), wide(cr), 1 << format.depth))
    assert np.hypot(x - pose.tip_x, y - pose.tip_y) < 1


def test_the_bead_is_found_within_a_pixel_after_h264(scene):
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate, encoder.time_base = 1280, 720, "yuv420p", Fraction(50), Fraction(1, 50)
    encoder.bit_rate, encoder.options = 4_000_000, {"preset": "superfast", "tune": "zerolatency"}
    decoder, poses, errors = av.CodecContext.create("h264", "r"), [], []
    for number in range(12):
        frame, pose = scene.draw(3 + number / 50, number)
        poses.append(pose)
        luma, cb, cr = ((plane + 2 >> 2).astype(np.uint8) for plane in planes(frame, HD))
        halved = [(plane[::2].astype(np.uint16) + plane[1::2] + 1 >> 1).astype(np.uint8) for plane in (cb, cr)]
        picture = av.VideoFrame.from_ndarray(np.concatenate([luma.ravel(), *(plane.ravel() for plane in halved)]).reshape(-1, 1280), format="yuv420p")
        picture.pts = number
        for packet in encoder.encode(picture):
            for decoded in decoder.decode(packet):
                luma, u, v = (np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, :plane.width].astype(int) for plane in decoded.planes)
                x, y = found_tip(luma, *(np.kron(plane, np.ones((2, 2))) for plane in (u, v)), 8)
                shown = poses[len(errors)]
                errors.append(np.hypot(x - shown.tip_x, y - shown.tip_y))
    assert len(errors) >= 10
    assert max(errors) < 1.0


def test_the_tip_stays_in_the_round_view_and_moves_smoothly(scene):
    poses = [scene._grasper.pose(number / 50) for number in range(5000)]
    tips = np.array([(pose.tip_x, pose.tip_y) for pose in poses])
    assert (np.hypot(tips[:, 0] - 640, tips[:, 1] - 360) < 0.45 * 720).all()
    assert np.hypot(*np.diff(tips, axis=0).T).max() < 8
    assert np.ptp(tips, axis=0).min() > 200


def test_a_frame_depends_on_its_time_and_number_alone(scene):
    first = scene.draw(1.0, 5)[0].copy()
    scene.draw(9.0, 6)
    assert (scene.draw(1.0, 5)[0] == first).all()
    assert (scene.draw(1.0, 6)[0] != first).any()


def test_the_picture_moves_and_has_no_reserved_codes(scene):
    before = planes(scene.draw(1.0, 1)[0], HD)
    after = planes(scene.draw(1.5, 1)[0], HD)
    assert np.abs(before[0] - after[0]).mean() > 4
    for plane in (*before, *after):
        assert plane.min() >= 4 and plane.max() <= 1019


def test_outside_the_round_view_it_is_black(scene):
    luma, cb, cr = planes(scene.draw(2.0)[0], HD)
    for corner in (np.s_[:40, :40], np.s_[-40:, -40:]):
        assert (luma[corner] == 64).all() and (cb[corner] == 512).all() and (cr[corner] == 512).all()


@pytest.mark.parametrize("format", [HD, VideoFormat(1280, 720, depth=8)], ids=str)
def test_the_stamp_reads_back(format):
    scene = Scene(format, stamped=True)
    scene.draw(0.0)
    scene.native.stamp(0x9ABC_DEF0_1234)
    luma, cb, _ = planes(scene.native.frame, format)
    white, black = 940 >> (10 - format.depth), 64 >> (10 - format.depth)
    assert stamped_microseconds(luma, white, black) == 0x9ABC_DEF0_1234
    assert set(np.unique(luma[:16, :1024])) == {white, black}
    assert (cb[:16, :512] == 1 << format.depth - 1).all()
    assert (luma[:16, :1024] == luma[0, :1024]).all()


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("width", [64, 66, 70, 78, 320])
def test_packing_rounds_and_clips_on_every_path(width, depth):
    format = VideoFormat(width, 64, depth=depth)
    rng = np.random.default_rng(width)
    rows = [rng.integers(-300, 16_800, size, dtype=np.int16) for size in (width, width // 2, width // 2)]
    codes = [np.clip((row.astype(int) + (8 << 10 - depth) >> 4 + 10 - depth), 4 if depth == 10 else 1, 1019 if depth == 10 else 254) for row in rows]
    scene = Scene(format).native
    for simd in (False, True):
        packed = scene.pack(rows, rows, simd=simd)
        luma, cb, cr = planes(packed, VideoFormat(width, 1, depth=depth))
        assert (luma[0] == codes[0]).all() and (cb[0] == codes[1]).all() and (cr[0] == codes[2]).all()


def test_no_scene_is_too_small_or_too_narrow():
    for format in (VideoFormat(64, 64), VideoFormat(64, 240), VideoFormat(400, 64, depth=8)):
        frame, pose = Scene(format).draw(1.0)
        assert planes(frame, format)[0].max() > 64 >> 10 - format.depth


def test_a_scene_refuses_more_than_it_has_room_for():
    scene = Scene(SMALL)
    disc = (1.0, 1.0, 2.0, 1.0, 1024, 8192, 8192)
    with pytest.raises(AssertionError):
        scene.native.begin(np.zeros((180, 2)), [], [disc] * (native.DISCS_MAX + 1), 1)
