"""cext.convert on every CPU path against slow, obvious NumPy: equal to the bit, and not an octet touched outside."""
import ctypes
import mmap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.frame import LUMA_WEIGHTS, PGROUPS, FieldFormat, PlanarFormat
from cext import convert

GUARD = 192  # octets on either side of a buffer; more than any vector register
PATHS = convert.paths()
SAMPLINGS = ("YCbCr-4:2:2", "YCbCr-4:4:4", "YCbCr-4:2:0", "RGB")
FORMATS = [(sampling, depth) for sampling in SAMPLINGS for depth in (8, 10, 12, 16)]
DIRECT = [("YCbCr-4:2:2", 8), ("YCbCr-4:2:2", 10)]  # straight from pgroups, with blocks of their own
RANGES = ("NARROW", "FULL", "FULLPROTECT")
# Below, at and just above the blocks of 16 and 32 pgroups, with every kind of tail, and the usual rasters.
WIDTHS = sorted({2, 4, 6, 30, 32, 34, 62, 64, 66, 94, 96, 98, 126, 128, 130, 194, 318, 640, 720, 1280, 1366, 1920})


def pack(samples: np.ndarray, depth: int) -> np.ndarray:
    """Octets of samples in the order of the wire: their bits one after another, most significant first."""
    bits = samples.reshape(-1)[:, None] >> np.arange(depth - 1, -1, -1) & 1
    return np.packbits(bits.astype(np.uint8).reshape(-1))


def wire_samples(components: list[np.ndarray], sampling: str) -> np.ndarray:
    """Samples of a frame in the order of the wire. Source: ST 2110-20 section 6.2.

    `components`: (Cb, Y, Cr) or (R, G, B), each of shape (rows, columns) as sampled."""
    first, second, third = components
    if sampling == "YCbCr-4:2:2":
        return np.stack([first, second[:, 0::2], third, second[:, 1::2]], axis=-1)
    if sampling == "YCbCr-4:2:0":
        return np.stack([second[0::2, 0::2], second[0::2, 1::2], second[1::2, 0::2], second[1::2, 1::2], first, third], axis=-1)
    return np.stack(components, axis=-1)


def noise(width: int, height: int, sampling: str, depth: int, seed: int = 3) -> list[np.ndarray]:
    """Components of every value."""
    random = np.random.default_rng(seed)
    columns = width // 2 if sampling in ("YCbCr-4:2:2", "YCbCr-4:2:0") else width
    rows = height // 2 if sampling == "YCbCr-4:2:0" else height
    outer = (rows, columns)
    return [random.integers(0, 1 << depth, shape) for shape in (outer, outer if sampling == "RGB" else (height, width), outer)]


def share(words: np.ndarray, part: int) -> np.ndarray:
    return words * part >> 16


def factors(depth, range, weights):
    """{(of what, from what): factor in 16384ths} of the change to narrow BT.601, by matrices of real numbers."""
    highest, full = ((1 << depth) - 1) << 16 - depth, range != "NARROW"

    def to_ycc(red, blue):  # (Y', P_B, P_R) of (R', G', B')
        luma = np.array([red, 1 - red - blue, blue])
        return np.stack([luma, (np.array([0, 0, 1]) - luma) / (2 - 2 * blue), (np.array([1, 0, 0]) - luma) / (2 - 2 * red)])

    ours, source = to_ycc(*LUMA_WEIGHTS["BT601"]), to_ycc(*weights)
    swings = np.array([219, 224, 224]) * 256
    from_words = 1 / np.array([highest] * 3) if full else 1 / swings
    matrix = np.diag(swings) @ ours @ np.linalg.inv(source) @ np.diag(from_words)
    return np.rint(16384 * matrix).astype(np.int64), full, highest


def reference(components, sampling, depth, range, weights, field=False):
    """Y, U, V by the arithmetic that cext/kernels/planes.c states, on words: left-aligned samples of 16 bits."""
    words = [component.astype(np.int64) << 16 - depth for component in components]
    factor, full, highest = factors(depth, range, weights)

    def pairs(rows):
        if field:
            return rows, rows
        if len(rows) % 2:
            rows = np.concatenate([rows, rows[-1:]])
        return rows[0::2], rows[1::2]

    def sited(plane):
        upper, lower = pairs(plane)
        sums = np.pad((upper >> 3) + (lower >> 3), ((0, 0), (1, 1)), mode="edge")
        columns = (plane.shape[1] + 1) // 2
        return sums[:, 0::2][:, :columns] + 2 * sums[:, 1::2][:, :columns] + sums[:, 2::2][:, :columns]

    if sampling == "RGB":
        return reference_of_rgb(words, [sited(word) for word in words], full, highest)

    def clipped(result):
        return np.clip((result + 32) >> 6, 0, 255).astype(np.uint8)

    def chroma(cb, cr):
        return [clipped(8192 + share(cb - 32768, factor[row, 1]) + share(cr - 32768, factor[row, 2])) for row in (1, 2)]

    cb, y, cr = words
    added = share(cb - 32768, factor[0, 1]) + share(cr - 32768, factor[0, 2])
    if sampling != "YCbCr-4:4:4":  # of every second pixel: between them the mean, at the end the last one's
        following = np.concatenate([added[:, 1:], added[:, -1:]], axis=1)
        added = np.stack([added, (added + following) >> 1], axis=-1).reshape(len(added), -1)
    if sampling == "YCbCr-4:2:0":
        added = added.repeat(2, axis=0)
    luma = clipped((1024 if full else 0) + share(y, factor[0, 0]) + added)
    if sampling == "YCbCr-4:2:0":
        return luma, *chroma(cb, cr)
    if sampling == "YCbCr-4:2:2":
        return luma, *chroma(*((upper + lower) >> 1 for upper, lower in (pairs(cb), pairs(cr))))
    return luma, *chroma(sited(cb), sited(cr))


def reference_of_rgb(words, means, full, highest):
    red, blue = LUMA_WEIGHTS["BT601"]
    luma_gain, chroma_gain = (219 * 256 / highest, 224 * 256 / highest) if full else (1, 224 / 219)
    of_red, of_blue = round(65536 * luma_gain * red), round(65536 * luma_gain * blue)
    of_green = round(65536 * luma_gain) - of_red - of_blue
    y = (4096 if full else 0) + 1 + share(words[0], of_red) + share(words[1], of_green) + share(words[2], of_blue)
    r, g, b = means

    def difference(own, other, of_other):
        of_own = round(16384 * chroma_gain)
        return np.clip((16384 + 64 + share(own, of_own) - share(other, of_other) - share(g, of_own - of_other)) >> 7, 0, 255).astype(np.uint8)

    return (np.minimum((y + 128) >> 8, 255).astype(np.uint8), difference(b, r, round(16384 * chroma_gain * red / (1 - blue))),
            difference(r, b, round(16384 * chroma_gain * blue / (1 - red))))


def guarded(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(whole, middle): `middle` has `size` octets and noise on both sides, starting at an odd address."""
    whole = np.random.default_rng(seed).integers(0, 256, size + 2 * GUARD + 1, dtype=np.uint8)
    return whole, whole[GUARD + 1 : GUARD + 1 + size]


def check(components, sampling, depth, path, *, range="NARROW", weights=LUMA_WEIGHTS["BT601"], field=False):
    height, width = components[1].shape
    planar = FieldFormat(width, height) if field else PlanarFormat(width, height)
    converter = convert.Converter(sampling, depth, planar, range=range, luma_weights=weights, path=path)
    raw_whole, raw = guarded(converter.raw_bytes, 1)
    raw[:] = pack(wire_samples(components, sampling), depth)
    raw_before = raw_whole.copy()
    whole, target = guarded(planar.frame_bytes, 2)
    expected = whole.copy()

    converter.convert(raw, target)

    luma, u, v = reference(components, sampling, depth, range, weights, field)
    frame = expected[GUARD + 1 : GUARD + 1 + planar.frame_bytes]
    frame[: planar.u_offset].reshape(height, planar.luma_stride)[:, :width] = luma
    frame[planar.u_offset : planar.v_offset].reshape(-1, planar.chroma_stride)[:, : planar.chroma_width] = u
    frame[planar.v_offset :].reshape(-1, planar.chroma_stride)[:, : planar.chroma_width] = v
    # One comparison covers samples, stride padding and the guards on both sides.
    np.testing.assert_array_equal(whole, expected)
    np.testing.assert_array_equal(raw_whole, raw_before)


def columns_of(sampling: str, depth: int) -> int:
    return PGROUPS[sampling][depth].columns


def test_the_reference_packs_pgroups_by_hand():
    # Source: ST 2110-20 section 6.2.5; Cb = 1, Y0 = 2, Cr = 3, Y1 = 1023.
    pgroup = wire_samples([np.array([[1]]), np.array([[2, 1023]]), np.array([[3]])], "YCbCr-4:2:2")
    assert pack(pgroup, 10).tolist() == [0b00000000, 0b01000000, 0b00100000, 0b00001111, 0b11111111]
    pgroup = wire_samples([np.array([[5]]), np.array([[1, 2], [3, 4]]), np.array([[6]])], "YCbCr-4:2:0")
    assert pack(pgroup, 8).tolist() == [1, 2, 3, 4, 5, 6]
    assert pack(wire_samples([np.array([[0xABC]]), np.array([[0x123]]), np.array([[0x456]])], "RGB"), 12).tolist() == [0xAB, 0xC1, 0x23, 0x45, 0x60]


def test_scalar_is_always_there_and_first():
    assert PATHS[0] == "scalar"
    assert convert.Converter("YCbCr-4:2:2", 8, PlanarFormat(2, 2)).path == PATHS[-1]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("sampling, depth", DIRECT)
@pytest.mark.parametrize("width", WIDTHS)
def test_noise_of_every_width(width, sampling, depth, path):
    for height in (1, 2, 3, 6):
        check(noise(width, height, sampling, depth), sampling, depth, path)
        check(noise(width, height, sampling, depth), sampling, depth, path, range="FULL" if height == 3 else "NARROW", weights=LUMA_WEIGHTS["BT709"])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("sampling, depth", FORMATS)
def test_noise_in_every_format_and_range(sampling, depth, path):
    step = columns_of(sampling, depth)
    for width in sorted({step * count for count in (1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 47, 48, 49, 65)} | {1280}):
        for height in (2, 4) if sampling == "YCbCr-4:2:0" else (1, 2, 3):
            number = width // step + height
            check(noise(width, height, sampling, depth), sampling, depth, path, range=RANGES[number % 3], weights=list(LUMA_WEIGHTS.values())[number // 3 % 3])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("colorimetry", LUMA_WEIGHTS)
@pytest.mark.parametrize("range", RANGES)
def test_every_matrix_and_range(range, colorimetry, path):
    for sampling, depth in FORMATS:
        check(noise(68, 4, sampling, depth), sampling, depth, path, range=range, weights=LUMA_WEIGHTS[colorimetry])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("sampling, depth", [case for case in FORMATS if case[0] != "YCbCr-4:2:0"])
def test_a_field_has_a_row_of_chroma_for_each_row(sampling, depth, path):
    step = columns_of(sampling, depth)
    for width, height in ((step, 1), (17 * step, 3), (100 * step, 4)):
        check(noise(width, height, sampling, depth), sampling, depth, path, field=True)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("sampling, depth", FORMATS)
def test_extremes(sampling, depth, path):
    step = 1 << (depth - 8)
    for range in RANGES:
        for level in (0, (1 << depth) - 1, 16 * step, 235 * step, 128 * step, 100 * step + step // 2):
            components = [np.full_like(component, level) for component in noise(100, 4, sampling, depth)]
            check(components, sampling, depth, path, range=range, weights=LUMA_WEIGHTS["BT2020"])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("range", RANGES)
def test_corners_of_the_colour_cube(range, path):
    # Excursions exceed what an octet can say, all the more in another matrix: they are clipped, never wrapped.
    corners = np.array([[(first, second, third) for first in (0, 1023) for second in (0, 1023) for third in (0, 1023)] * 8])
    for weights in LUMA_WEIGHTS.values():
        for sampling in ("RGB", "YCbCr-4:4:4"):
            check([np.repeat(corners[..., i], 4, axis=1) for i in (0, 1, 2)], sampling, 10, path, range=range, weights=weights)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("component", range(4))
def test_every_sample_value_beside_full_neighbours(component, path):
    # Neighbours of all ones would show any stray bit that leaks into the rounding.
    for depth in (10, 12):
        values = np.arange(1 << depth)
        parts = [np.full_like(values, values[-1]) for _ in range(4)]
        parts[component] = values
        first, luma_left, third, luma_right = (np.stack([part, part]) for part in parts)
        check([first, np.stack([luma_left, luma_right], axis=-1).reshape(2, -1), third], "YCbCr-4:2:2", depth, path)


@pytest.mark.parametrize("path", PATHS)
def test_every_sum_of_two_chroma_rows(path):
    upper, lower = np.meshgrid(np.arange(0, 1024, 31), np.arange(1008, 1024), indexing="ij")
    rows = np.stack([upper.ravel(), lower.ravel()])
    check([rows, np.zeros((2, 2 * upper.size), np.int64), rows[::-1]], "YCbCr-4:2:2", 10, path)


def test_values_that_only_one_rounding_gets_right():
    # 1 + 2 = 3 quarters of a half step: the mean 1.5 is 0.375 octets. Rounded twice it would be 2, then 1.
    rows, luma = np.array([[1], [2]]), np.full((2, 2), 1020)
    y, u, _ = reference([rows, luma, rows], "YCbCr-4:2:2", 10, "NARROW", LUMA_WEIGHTS["BT601"])
    assert u.tolist() == [[0]] and y.max() == 255
    assert reference([np.full((2, 1), 512), luma, rows], "YCbCr-4:2:2", 10, "NARROW", LUMA_WEIGHTS["BT601"])[1].max() == 128


@pytest.mark.parametrize("colorimetry", LUMA_WEIGHTS)
@pytest.mark.parametrize("range", RANGES)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_reference_is_the_standards_arithmetic_to_half_a_code(sampling, range, colorimetry):
    """Against real numbers: E' of each component (ITU-R BT.709-6 items 3.2 to 3.5, BT.2100 table 9 for the full range)."""
    red, blue = weights = LUMA_WEIGHTS[colorimetry]
    for depth in (8, 10, 12, 16):
        random, highest, step = np.random.default_rng(depth), (1 << depth) - 1, 1 << depth - 8
        rgb = random.random((3, 1, 512)).repeat(2, axis=1).repeat(4, axis=2)
        luma = red * rgb[0] + (1 - red - blue) * rgb[1] + blue * rgb[2]
        components = list(rgb) if sampling == "RGB" else [(rgb[2] - luma) / (2 - 2 * blue), luma, (rgb[0] - luma) / (2 - 2 * red)]

        def code(value, signed):
            if range == "NARROW":
                return value * 224 * step + 128 * step if signed else value * 219 * step + 16 * step
            return value * highest + (1 << depth - 1) if signed else value * highest

        coded = [np.rint(code(value, sampling != "RGB" and i != 1)).clip(0, highest).astype(np.int64) for i, value in enumerate(components)]
        if sampling in ("YCbCr-4:2:2", "YCbCr-4:2:0"):
            rows = slice(0, None, 2) if sampling == "YCbCr-4:2:0" else slice(None)
            coded = [coded[0][rows, ::2], coded[1], coded[2][rows, ::2]]
        planes = reference(coded, sampling, depth, range, weights)
        luma = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
        expected = luma * 219 + 16, (rgb[2] - luma) / 1.772 * 224 + 128, (rgb[0] - luma) / 1.402 * 224 + 128
        # Each sample was rounded to its own depth before: that is what an octet may be off beyond its own rounding.
        own = 1.2 / step if range == "NARROW" else 1.1 / step
        for plane, value in zip(planes, expected):
            # Of each four equal pixels the second or its chroma, whose neighbours are equal as well.
            seen, value = (plane[:1, 1::4], value[:1, 1::4]) if plane is planes[0] else (plane[:1, 1::2], value[:1, 1::4])
            assert np.abs(seen - value).max() < 0.5 + 0.06 + own


def test_a_step_in_rgb_keeps_chroma_in_a_line_with_the_even_pixels():
    """1-2-1: half way up where the step lies between an even pixel and the next; a mean of two pixels would not see it at all."""
    for edge, expected in ((8, [0, 0, 0, 0, 3, 4]), (9, [0, 0, 0, 0, 1, 4])):
        plane = np.zeros((2, 12), np.int64)
        plane[:, edge:] = 1 << 15
        _, u, _ = reference([plane, plane * 0, plane * 0], "YCbCr-4:4:4", 16, "NARROW", LUMA_WEIGHTS["BT601"])
        assert (u[0] / 32).tolist() == expected


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_random_geometry(data):
    sampling, depth = data.draw(st.sampled_from(FORMATS))
    width = data.draw(st.integers(1, 100)) * columns_of(sampling, depth)
    height = data.draw(st.integers(1, 9)) * PGROUPS[sampling][depth].rows
    check(noise(width, height, sampling, depth, data.draw(st.integers(0, 1000))), sampling, depth, data.draw(st.sampled_from(PATHS)),
          range=data.draw(st.sampled_from(RANGES)), weights=data.draw(st.sampled_from(list(LUMA_WEIGHTS.values()))))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("sampling, depth", FORMATS)
@pytest.mark.parametrize("at_end", [True, False])
def test_nothing_is_read_beyond_the_source(sampling, depth, path, at_end):
    """The frame lies flush against a page that must not be touched: an octet read outside ends the process."""
    for width in (4, 32, 36, 64, 68, 1280):
        planar, weights = PlanarFormat(width, 2), LUMA_WEIGHTS["BT709" if at_end else "BT601"]
        converter = convert.Converter(sampling, depth, planar, luma_weights=weights, path=path)
        pages = -(-converter.raw_bytes // mmap.PAGESIZE)
        area = mmap.mmap(-1, (pages + 2) * mmap.PAGESIZE)
        whole = np.frombuffer(area, np.uint8)
        inside = whole[mmap.PAGESIZE : (pages + 1) * mmap.PAGESIZE]
        raw = inside[inside.size - converter.raw_bytes :] if at_end else inside[: converter.raw_bytes]
        components = noise(width, 2, sampling, depth)
        raw[:] = pack(wire_samples(components, sampling), depth)
        libc = ctypes.CDLL(None, use_errno=True)
        address = whole.ctypes.data
        for page in (address, address + (pages + 1) * mmap.PAGESIZE):
            assert libc.mprotect(ctypes.c_void_p(page), mmap.PAGESIZE, 0) == 0
        target = np.zeros(planar.frame_bytes, np.uint8)

        converter.convert(raw, target)

        luma, _, _ = reference(components, sampling, depth, "NARROW", weights)
        np.testing.assert_array_equal(target[: planar.u_offset].reshape(2, -1)[:, :width], luma)


class Planes:
    """A layout of planes that no PlanarFormat would have."""

    def __init__(self, width, height, luma_stride, chroma_stride, u_offset, v_offset, chroma_height=None):
        self.width, self.height, self.luma_stride, self.chroma_stride = width, height, luma_stride, chroma_stride
        self.u_offset, self.v_offset, self.chroma_height = u_offset, v_offset, chroma_height or (height + 1) // 2


@pytest.mark.parametrize("sampling, depth, arguments, complaint", [
    ("YCbCr-4:2:2", 9, (1280, 720, 1280, 640, 921600, 1152000), "8, 10, 12 or 16"),
    ("KEY", 10, (1280, 720, 1280, 640, 921600, 1152000), "got KEY"),
    ("YCbCr-4:2:2", 10, (1279, 720, 1280, 640, 921600, 1152000), "whole number of pgroups"),
    ("RGB", 10, (1278, 720, 1280, 640, 921600, 1152000), "whole number of pgroups"),
    ("YCbCr-4:2:0", 8, (1280, 719, 1280, 640, 921600, 1152000), "whole number of pgroups"),
    ("YCbCr-4:2:2", 10, (0, 720, 1280, 640, 921600, 1152000), "width"),
    ("YCbCr-4:2:2", 10, (1280, 0, 1280, 640, 921600, 1152000), "height"),
    ("YCbCr-4:2:2", 10, (1280, 720, 1216, 640, 921600, 1152000), "strides"),
    ("YCbCr-4:2:2", 10, (1280, 720, 1280, 600, 921600, 1152000), "strides"),
    ("YCbCr-4:2:2", 10, (1280, 720, 1280, 640, 921599, 1152000), "overlap"),
    ("YCbCr-4:2:2", 10, (1280, 720, 1280, 640, 921600, 1151999), "overlap"),
    ("YCbCr-4:2:0", 10, (1280, 720, 1280, 640, 921600, 2000000, 720), "rows of chroma"),
])
def test_a_geometry_that_cannot_work_is_refused(sampling, depth, arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        convert.Converter(sampling, depth, Planes(*arguments))


@pytest.mark.parametrize("options, complaint", [
    (dict(path="avx1024"), "avx1024"), (dict(range="WIDE"), "WIDE"), (dict(luma_weights=(0.5, 0.6)), "0.5 and 0.6"), (dict(luma_weights=(0.0, 0.6)), "0.0 and 0.6")])
def test_unknown_options_are_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        convert.Converter("RGB", 8, PlanarFormat(2, 2), **options)


def test_short_and_read_only_buffers_are_refused():
    converter = convert.Converter("YCbCr-4:2:2", 10, PlanarFormat(64, 2))
    raw, planar = bytearray(converter.raw_bytes), bytearray(converter.planar_bytes)
    converter.convert(raw, planar)
    with pytest.raises(ValueError, match="octets to read"):
        converter.convert(raw[:-1], planar)
    with pytest.raises(ValueError, match="octets to read"):
        converter.convert(raw, planar[:-1])
    with pytest.raises((BufferError, TypeError)):
        converter.convert(raw, bytes(planar))
