"""cext.convert on every CPU path against slow, obvious NumPy: equal to the bit, and not an octet touched outside."""
import ctypes
import mmap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.frame import PlanarFormat
from cext import convert

GUARD = 192  # octets on either side of a buffer; more than any vector register
PATHS = convert.paths()
# Below, at and just above the blocks of 16 and 32 pgroups, with every kind of tail, and the usual rasters.
WIDTHS = sorted({2, 4, 6, 30, 32, 34, 62, 64, 66, 94, 96, 98, 126, 128, 130, 194, 318, 640, 720, 1280, 1366, 1920})


def unpack(raw: np.ndarray, width: int, height: int, depth: int) -> np.ndarray:
    """Samples (height, width // 2, 4) in wire order Cb Y0 Cr Y1, from their bits, most significant first."""
    bits = np.unpackbits(raw[: width * height * depth // 4]).reshape(height, width // 2, 4, depth)
    return bits.astype(np.int64) @ (1 << np.arange(depth - 1, -1, -1))


def pack(samples: np.ndarray, depth: int) -> np.ndarray:
    """The inverse of unpack()."""
    bits = samples[..., None] >> np.arange(depth - 1, -1, -1) & 1
    return np.packbits(bits.astype(np.uint8).reshape(-1))


def reference(samples: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Y, U, V by exact arithmetic: the nearest octet, halves upwards, clipped; chroma is the mean of two rows, rounded once."""
    step = 1 << (depth - 8)

    def nearest(numerator: np.ndarray, denominator: int) -> np.ndarray:
        return np.minimum((2 * numerator + denominator) // (2 * denominator), 255).astype(np.uint8)

    if samples.shape[0] % 2:
        samples = np.concatenate([samples, samples[-1:]])
    mean_of = samples[0::2] + samples[1::2]
    return nearest(samples[..., 1::2].reshape(len(samples), -1), step), nearest(mean_of[..., 0], 2 * step), nearest(mean_of[..., 2], 2 * step)


def guarded(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(whole, middle): `middle` has `size` octets and noise on both sides, starting at an odd address."""
    whole = np.random.default_rng(seed).integers(0, 256, size + 2 * GUARD + 1, dtype=np.uint8)
    return whole, whole[GUARD + 1 : GUARD + 1 + size]


def check(samples: np.ndarray, depth: int, path: str) -> None:
    height, width = samples.shape[0], samples.shape[1] * 2
    planar = PlanarFormat(width, height)
    converter = convert.Converter(width, height, depth, planar.luma_stride, planar.chroma_stride, planar.u_offset, planar.v_offset, path=path)
    raw_whole, raw = guarded(converter.raw_bytes, 1)
    raw[:] = pack(samples, depth)
    raw_before = raw_whole.copy()
    whole, target = guarded(planar.frame_bytes, 2)
    expected = whole.copy()

    converter.convert(raw, target)

    luma, u, v = reference(samples, depth)
    frame = expected[GUARD + 1 : GUARD + 1 + planar.frame_bytes]
    frame[: planar.u_offset].reshape(height, planar.luma_stride)[:, :width] = luma[:height]
    frame[planar.u_offset : planar.v_offset].reshape(-1, planar.chroma_stride)[:, : width // 2] = u
    frame[planar.v_offset :].reshape(-1, planar.chroma_stride)[:, : width // 2] = v
    # One comparison covers samples, stride padding and the guards on both sides.
    np.testing.assert_array_equal(whole, expected)
    np.testing.assert_array_equal(raw_whole, raw_before)


def noise(width: int, height: int, depth: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << depth, (height, width // 2, 4))


def test_the_reference_unpacks_a_pgroup_by_hand():
    # Source: ST 2110-20 section 6.2.5; Cb = 1, Y0 = 2, Cr = 3, Y1 = 1023.
    octets = np.frombuffer(bytes([0b00000000, 0b01000000, 0b00100000, 0b00001111, 0b11111111]), np.uint8)
    assert unpack(octets, 2, 1, 10).tolist() == [[[1, 2, 3, 1023]]]
    assert unpack(pack(noise(64, 4, 10), 10), 64, 4, 10).tolist() == noise(64, 4, 10).tolist()


def test_scalar_is_always_there_and_first():
    assert PATHS[0] == "scalar"
    assert convert.Converter(2, 2, 8, 64, 32, 128, 160).path == PATHS[-1]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("height", [1, 2, 3, 6])
def test_noise_of_every_width(width, height, depth, path):
    check(noise(width, height, depth), depth, path)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("value", ["lowest", "highest", "black", "white", "neutral", "half"])
def test_extremes(value, depth, path):
    step = 1 << (depth - 8)
    level = {"lowest": 0, "highest": (1 << depth) - 1, "black": 16 * step, "white": 235 * step, "neutral": 128 * step, "half": 100 * step + step // 2}[value]
    check(np.full((5, 49, 4), level), depth, path)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("component", range(4))
def test_every_sample_value_beside_full_neighbours(component, path):
    # Neighbours of all ones would show any stray bit that leaks into the rounding.
    samples = np.full((2, 1024, 4), 1023)
    samples[:, :, component] = np.arange(1024)
    check(samples, 10, path)


@pytest.mark.parametrize("path", PATHS)
def test_every_sum_of_two_chroma_rows(path):
    upper, lower = np.meshgrid(np.arange(0, 1024, 31), np.arange(1008, 1024), indexing="ij")
    samples = np.zeros((2, upper.size, 4), dtype=np.int64)
    samples[0, :, 0], samples[1, :, 0] = upper.ravel(), lower.ravel()
    samples[0, :, 2], samples[1, :, 2] = lower.ravel(), upper.ravel()
    check(samples, 10, path)


def test_values_that_only_one_rounding_gets_right():
    # 1 + 2 = 3 quarters of a half step: the mean 1.5 is 0.375 octets. Rounded twice it would be 2, then 1.
    samples = np.zeros((2, 1, 4), dtype=np.int64)
    samples[0, 0, 0], samples[1, 0, 0] = 1, 2
    assert reference(samples, 10)[1].tolist() == [[0]]
    assert reference(np.full((2, 1, 4), 1020), 10)[0].max() == 255
    assert reference(np.full((2, 1, 4), 512), 10)[1].max() == 128


@settings(deadline=None, max_examples=150)
@given(pgroups=st.integers(1, 200), height=st.integers(1, 9), depth=st.sampled_from([8, 10]), path=st.sampled_from(PATHS), seed=st.integers(0, 2**32 - 1))
def test_random_geometry(pgroups, height, depth, path, seed):
    check(noise(2 * pgroups, height, depth, seed), depth, path)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("width", [2, 32, 34, 64, 66, 1280])
@pytest.mark.parametrize("at_end", [True, False])
def test_nothing_is_read_beyond_the_source(width, depth, path, at_end):
    """The frame lies flush against a page that must not be touched: an octet read outside ends the process."""
    planar = PlanarFormat(width, 2)
    converter = convert.Converter(width, 2, depth, planar.luma_stride, planar.chroma_stride, planar.u_offset, planar.v_offset, path=path)
    pages = -(-converter.raw_bytes // mmap.PAGESIZE)
    area = mmap.mmap(-1, (pages + 2) * mmap.PAGESIZE)
    octets = np.frombuffer(area, np.uint8)
    inside = octets[mmap.PAGESIZE : (pages + 1) * mmap.PAGESIZE]
    raw = inside[inside.size - converter.raw_bytes :] if at_end else inside[: converter.raw_bytes]
    raw[:] = pack(noise(width, 2, depth), depth)
    libc = ctypes.CDLL(None, use_errno=True)
    address = octets.ctypes.data
    for page in (address, address + (pages + 1) * mmap.PAGESIZE):
        assert libc.mprotect(ctypes.c_void_p(page), mmap.PAGESIZE, 0) == 0
    target = np.zeros(planar.frame_bytes, np.uint8)

    converter.convert(raw, target)

    luma, _, _ = reference(noise(width, 2, depth), depth)
    np.testing.assert_array_equal(target[: planar.u_offset].reshape(2, -1)[:, :width], luma)


@pytest.mark.parametrize("arguments, complaint", [
    ((1280, 720, 12, 1280, 640, 921600, 1152000), "8 or 10"),
    ((1279, 720, 10, 1280, 640, 921600, 1152000), "even width"),
    ((0, 720, 10, 1280, 640, 921600, 1152000), "even width"),
    ((1280, 0, 10, 1280, 640, 921600, 1152000), "height"),
    ((1280, 720, 10, 1216, 640, 921600, 1152000), "strides"),
    ((1280, 720, 10, 1280, 600, 921600, 1152000), "strides"),
    ((1280, 720, 10, 1280, 640, 921599, 1152000), "overlap"),
    ((1280, 720, 10, 1280, 640, 921600, 1151999), "overlap"),
])
def test_a_geometry_that_cannot_work_is_refused(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        convert.Converter(*arguments)


def test_an_unknown_path_is_refused():
    with pytest.raises(ValueError, match="avx1024"):
        convert.Converter(2, 2, 8, 64, 32, 128, 160, path="avx1024")


def test_short_and_read_only_buffers_are_refused():
    converter = convert.Converter(64, 2, 10, 64, 32, 128, 160)
    raw, planar = bytearray(converter.raw_bytes), bytearray(converter.planar_bytes)
    converter.convert(raw, planar)
    with pytest.raises(ValueError, match="octets to read"):
        converter.convert(raw[:-1], planar)
    with pytest.raises(ValueError, match="octets to read"):
        converter.convert(raw, planar[:-1])
    with pytest.raises((BufferError, TypeError)):
        converter.convert(raw, bytes(planar))
