"""cext.scale on every CPU path against slow, obvious NumPy: equal to the bit, and not an octet touched outside."""
import ctypes
import mmap

import numpy as np
import pytest
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.frame import Level, PlanarFormat
from cext import scale

GUARD = 192  # octets on either side of a buffer; more than any vector register
PATHS = scale.paths()
# Below, at and just above the blocks of luma and of chroma, with odd tails, and the usual rasters.
RASTERS = [(32, 32), (33, 35), (64, 36), (66, 37), (126, 33), (127, 34), (128, 64), (130, 66), (254, 32), (258, 32), (1280, 720), (1366, 768), (1920, 1080)]


def planes(frame: np.ndarray, planar: PlanarFormat) -> list[np.ndarray]:
    """Views of Y, U and V without the strides' padding."""
    parts = (0, planar.u_offset, planar.luma_stride, planar.width), (planar.u_offset, planar.v_offset, planar.chroma_stride, planar.chroma_width), \
        (planar.v_offset, planar.frame_bytes, planar.chroma_stride, planar.chroma_width)
    return [frame[first:end].reshape(-1, stride)[:, :width] for first, end, stride, width in parts]


def halved(plane: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The mean of two samples by two, the nearest octet, halves upwards."""
    blocks = plane[: 2 * rows, : 2 * columns].astype(np.int64).reshape(rows, 2, columns, 2)
    return ((2 * blocks.sum(axis=(1, 3)) + 4) // 8).astype(np.uint8)


def covered(plane: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Each sample the mean of what it covers of the plane, or where there are more than the plane has between two of them, by parts of 128: rows
    first, then columns, each the nearest octet."""
    def along(samples, count):
        source, made = len(samples), []
        for i in range(count):
            if count > source:
                at = max(Fraction(0), Fraction((2 * i + 1) * source, 2 * count) - Fraction(1, 2))
                second = min(127, max(1, int((at - int(at)) * 128 + Fraction(1, 2))))
                pair = samples[int(at)].astype(int), samples[min(int(at) + 1, source - 1)].astype(int)
                made.append((128 - second) * pair[0] + second * pair[1] + 64 >> 7)
                continue
            begin, end = Fraction(i * source, count), Fraction((i + 1) * source, count)
            first = int(begin)
            parts = [int(max(0, min(end, at + 1) - max(begin, at)) * 128 * count / source + Fraction(1, 2)) for at in (first, first + 1, first + 2)]
            parts[0] = min(parts[0], 127)
            parts[1] = 128 - parts[0] - parts[2]
            if parts[1] > 127:
                parts[:2] = 1, 127
            made.append(sum(part * samples[min(first + number, source - 1)].astype(int) for number, part in enumerate(parts)) + 64 >> 7)
        return np.array(made, np.uint8)

    return along(along(plane, rows).T, columns).T


def scaled(plane, step):
    """A plane after one step: (rows, columns, by area or halved)."""
    rows, columns, by_area = step
    return covered(plane, rows, columns) if by_area else halved(plane, rows, columns)


def guarded(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(whole, middle): `middle` has `size` octets and noise on both sides, starting at an odd address."""
    whole = np.random.default_rng(seed).integers(0, 256, size + 2 * GUARD + 1, dtype=np.uint8)
    return whole, whole[GUARD + 1 : GUARD + 1 + size]


def between_forbidden_pages(size: int, at_end: bool) -> np.ndarray:
    """`size` octets that touch a page which may not be read or written."""
    pages = -(-size // mmap.PAGESIZE)
    area = mmap.mmap(-1, (pages + 2) * mmap.PAGESIZE)
    octets = np.frombuffer(area, np.uint8)
    for page in (octets.ctypes.data, octets.ctypes.data + (pages + 1) * mmap.PAGESIZE):
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(page), mmap.PAGESIZE, 0) == 0
    inside = octets[mmap.PAGESIZE : (pages + 1) * mmap.PAGESIZE]
    return inside[inside.size - size :] if at_end else inside[:size]


def check(width: int, height: int, path: str, seed: int = 1, value: int | None = None) -> None:
    source, target = PlanarFormat(width, height), PlanarFormat(*Level.SMALL.raster_of(width, height))
    read_whole, read = guarded(source.frame_bytes, seed)
    if value is not None:
        read[:] = value
    read_before = read_whole.copy()
    whole, written = guarded(target.frame_bytes, seed + 1)
    expected = whole.copy()

    scale.Scaler(source, target, path=path).scale(read, written)

    wanted = planes(expected[GUARD + 1 : GUARD + 1 + target.frame_bytes], target)
    for there, here in zip(wanted, planes(read, source)):
        there[:] = halved(here, *there.shape)
    # One comparison covers samples, stride padding and the guards on both sides.
    np.testing.assert_array_equal(whole, expected)
    np.testing.assert_array_equal(read_whole, read_before)


def test_the_reference_rounds_once():
    # Averaged by rows first and by columns afterwards, each time upwards, the first would be 1.
    for block, mean in (([[1, 0], [0, 0]], 0), ([[1, 0], [0, 1]], 1), ([[255, 255], [255, 254]], 255), ([[7, 8], [9, 11]], 9)):
        assert halved(np.array(block, np.uint8), 1, 1) == [[mean]]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("width, height", RASTERS)
def test_noise_of_every_raster_is_scaled_to_the_bit(width, height, path):
    check(width, height, path)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("value", [0, 1, 127, 128, 254, 255])
def test_a_flat_frame_keeps_its_value(value, path):
    check(130, 66, path, value=value)


@settings(max_examples=60, deadline=None)
@given(width=st.integers(32, 300), height=st.integers(32, 80), seed=st.integers(0, 1000), path=st.sampled_from(PATHS))
def test_any_raster_is_scaled_to_the_bit(width, height, seed, path):
    check(width, height, path, seed)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize("width, height", [(64, 36), (128, 64), (192, 48), (1280, 720)])  # without padding behind the last sample
def test_nothing_is_read_or_written_beyond_the_buffers(width, height, at_end, path):
    source, target = PlanarFormat(width, height), PlanarFormat(*Level.SMALL.raster_of(width, height))
    read, written = (between_forbidden_pages(planar.frame_bytes, at_end) for planar in (source, target))
    read[:] = 77
    scale.Scaler(source, target, path=path).scale(read, written)
    assert all((plane == 77).all() for plane in planes(written, target))


def test_the_reference_covers_by_hand():
    # Three to two: each takes one whole and half of the middle one. 85 and 43 of 128.
    assert covered(np.array([[0, 128, 255]], np.uint8), 1, 2).tolist() == [[43, 212]]
    # Two to four: the outer ones are the plane's own, the inner ones a quarter of the way from each.
    assert covered(np.array([[0, 128]], np.uint8), 1, 4).tolist() == [[1, 32, 96, 128]]
    assert covered(np.full((5, 7), 200, np.uint8), 3, 4).tolist() == [[200] * 4] * 3


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 140), height=st.integers(1, 20), more=st.tuples(st.floats(0.5, 4.5), st.floats(0, 0.7)), seed=st.integers(0, 1000),
       path=st.sampled_from(PATHS))
def test_any_ratio_is_scaled_to_the_bit(width, height, more, seed, path):
    target = PlanarFormat(2 * width, 2 * height)
    source = PlanarFormat(max(2, int(target.width * more[0] + 0.5)), max(2, int(target.height * (more[0] + more[1]) + 0.5)))
    read, (whole, written) = guarded(source.frame_bytes, seed)[1], guarded(target.frame_bytes, seed + 1)
    at, steps = (source.width, source.height), []
    while at[0] // 4 * 2 >= target.width and at[1] // 4 * 2 >= target.height:
        at = at[0] // 4 * 2, at[1] // 4 * 2
        steps.append((*at, False))
    while (at[0] > 2 * target.width or at[1] > 2 * target.height) and at[0] <= 4 * target.width and at[1] <= 4 * target.height:
        at = max((at[0] + 3) // 4 * 2, target.width), max((at[1] + 3) // 4 * 2, target.height)
        steps.append((*at, True))
    if (at[0] // 2 * 2, at[1] // 2 * 2) != (target.width, target.height) or not steps:
        if not (target.width / 2 <= at[0] <= 2 * target.width and target.height / 2 <= at[1] <= 2 * target.height):
            with pytest.raises(ValueError, match="cannot be made"):
                scale.Scaler(source, target, path=path)
            return
        steps.append((target.width, target.height, True))
    expected = whole.copy()
    scale.Scaler(source, target, path=path).scale(read, written)
    for number, (there, here) in enumerate(zip(planes(expected[GUARD + 1 : GUARD + 1 + target.frame_bytes], target), planes(read, source))):
        half = 2 if number else 1
        here = here[: source.height // half, : source.width // half]
        for columns, rows, by_area in steps:
            here = scaled(here, (rows // half, columns // half, by_area))
        there[:] = here
    np.testing.assert_array_equal(whole, expected)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("source, target", [((1920, 1080), (1280, 720)), ((3840, 2160), (1920, 1080)), ((4096, 2160), (1366, 720)), ((720, 486), (534, 360)),
                                            ((720, 576), (1048, 576)), ((720, 480), (720, 528)), ((720, 576), (1440, 576))])
def test_a_picture_keeps_its_place(source, target, path):
    """A point of the picture is where the page looks for it, to a pixel: the marker's tip is found by the ratio of the sides."""
    source, target = PlanarFormat(*source), PlanarFormat(*target)
    read, written = np.zeros(source.frame_bytes, np.uint8), np.zeros(target.frame_bytes, np.uint8)
    x, y = source.width * 3 // 4, source.height * 2 // 3
    planes(read, source)[0][y - 6 : y + 7, x - 6 : x + 7] = 255
    scale.Scaler(source, target, path=path).scale(read, written)
    rows, columns = np.nonzero(planes(written, target)[0] > 127)
    assert abs(columns.mean() - ((x + 0.5) * target.width / source.width - 0.5)) < 1
    assert abs(rows.mean() - ((y + 0.5) * target.height / source.height - 0.5)) < 1


@pytest.mark.parametrize("source, target, reason", [
    ((64, 36), (33, 18), "an even raster"), ((64, 36), (32, 17), "an even raster"), ((64, 36), (0, 18), "an even raster"),
    ((64, 36), (130, 36), "64x36 cannot be made 130x36"), ((64, 36), (64, 74), "64x36 cannot be made 64x74"), ((64, 36), (64, 8), "64x36 cannot be made 64x8"), ((1, 36), (2, 36), "1x36 cannot be made 2x36")])
def test_rasters_that_do_not_fit_are_refused(source, target, reason):
    with pytest.raises(ValueError, match=reason):
        scale.Scaler(PlanarFormat(*source), PlanarFormat(*target))


def test_buffers_too_short_and_read_only_ones_are_refused():
    source, target = PlanarFormat(64, 36), PlanarFormat(32, 18)
    scaler = scale.Scaler(source, target)
    read, written = np.zeros(source.frame_bytes, np.uint8), np.zeros(target.frame_bytes, np.uint8)
    for too_short in ((read[1:], written), (read, written[1:])):
        with pytest.raises(ValueError, match="octets to read"):
            scaler.scale(*too_short)
    with pytest.raises(BufferError):
        scaler.scale(read, bytes(target.frame_bytes))


def test_a_path_that_this_processor_lacks_is_refused():
    with pytest.raises(ValueError, match="not mmx"):
        scale.Scaler(PlanarFormat(64, 36), PlanarFormat(32, 18), path="mmx")
