"""cext.fields on every CPU path: equal to slow, obvious NumPy to the bit; still pictures stand still, moving edges have no comb."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.frame import FieldFormat, PlanarFormat
from cext.fields import Bob, paths

GUARD = 192
PATHS = paths()


def planes(octets, planar):
    """Views of Y, U and V without the strides' padding."""
    octets = np.frombuffer(octets, np.uint8) if isinstance(octets, bytearray) else octets
    parts = (0, planar.u_offset, planar.luma_stride, planar.width), (planar.u_offset, planar.v_offset, planar.chroma_stride, planar.chroma_width), \
        (planar.v_offset, planar.frame_bytes, planar.chroma_stride, planar.chroma_width)
    return [octets[first:end].reshape(-1, stride)[:, :width] for first, end, stride, width in parts]


class Scene:
    """A bob with guards around its target, and the fields that it was given, as arrays."""

    def __init__(self, width, height, path):
        self.format, self.target = FieldFormat(width, (height + 1) // 2), PlanarFormat(width, height)
        self.bob, self.height, self.past = Bob(self.format, self.target, path=path), height, []

    def show(self, field, second, follows=True):
        """Gives it the planes of a field; the planes of its picture."""
        for there, here in zip(planes(self.bob.field, self.format), field):
            there[: len(here)] = here
        whole = np.random.default_rng(1).integers(0, 256, self.target.frame_bytes + 2 * GUARD, dtype=np.uint8)
        expected = whole.copy()
        self.bob.show(second, follows, whole[GUARD:-GUARD])
        self.past = [field] + (self.past[:3] if follows else [])
        picture = planes(whole[GUARD:-GUARD], self.target)
        for there, here in zip(planes(expected[GUARD:-GUARD], self.target), picture):
            there[:] = here
        np.testing.assert_array_equal(whole, expected)  # nothing but samples was written
        return picture

    def expected(self, second):
        """The picture of the last field by NumPy."""
        made = []
        for plane in range(3):
            now, *past = [field[plane].astype(int) for field in self.past]
            own = (self.height + 1) // 2 if not second else self.height // 2
            frame = np.zeros((self.height, now.shape[1]), int)
            frame[second::2] = now[:own]
            for row in range(1 - second, self.height, 2):
                above, below = max((row - 1 - second) // 2, 0), min((row + 1 - second) // 2, own - 1)
                mean = between(now[above], now[below])
                if len(past) == 3:
                    there, before = past[0][row // 2], past[1]
                    moved = np.max([abs(now[above] - before[above]), abs(now[below] - before[below]), abs(there - past[2][row // 2])], axis=0)
                    mean = np.clip(mean, np.maximum(there - moved, 0), np.minimum(there + moved, 255))
                frame[row] = mean
            if plane:
                rows = [frame[row : row + 2] for row in range(0, self.height, 2)]
                frame = np.stack([(pair.sum(axis=0) + 1) >> 1 if len(pair) == 2 else pair[0] for pair in rows])
            made.append(frame)
        return made


def between(above, below):
    """The row between two: straight, or up to two samples aslant where three samples differ less."""
    made, width = (above + below + 1) >> 1, len(above)
    for i in range(3, width - 3):
        def misfit(slant):
            left, here, right = (abs(above[i + k + slant] - below[i + k - slant]) for k in (-1, 0, 1))
            return ((left + right + 1) // 2 + here + 1) // 2
        least, chosen = misfit(0), 0
        for side in (-1, 1):
            for slant in (side, 2 * side):
                if misfit(slant) >= least:
                    break
                least, chosen = misfit(slant), slant
        made[i] = (above[i + chosen] + below[i - chosen] + 1) >> 1
    return made


def fields_of(picture):
    """Both fields of a frame whose chroma has all rows."""
    return [[plane[second::2] for plane in picture] for second in (0, 1)]


def noise(width, height, seed):
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, (height, columns), dtype=np.uint8) for columns in (width, (width + 1) // 2, (width + 1) // 2)]


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 200), height=st.integers(2, 13), path=st.sampled_from(PATHS), seed=st.integers(0, 1000))
def test_every_field_is_shown_to_the_bit(width, height, path, seed):
    scene, still = Scene(width, height, path), noise(width, height, seed)
    for number in range(6):
        # Half of it stands still, so that both ways are taken; an interruption makes it forget.
        moving = noise(width, height, seed + number)
        picture = [np.concatenate([a[:, : a.shape[1] // 2], b[:, a.shape[1] // 2 :]], axis=1) for a, b in zip(still, moving)]
        shown = scene.show(fields_of(picture)[number % 2], number % 2, follows=number not in (0, seed % 6))
        for here, there in zip(shown, scene.expected(number % 2)):
            np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("height", [486, 35])
def test_a_still_picture_stands_still(height, path):
    """Lines of one row would flicker 25 times a second if rows between were always made of their neighbours."""
    scene, picture = Scene(128, height, path), noise(128, height, 5)
    shown = [[plane.copy() for plane in scene.show(fields_of(picture)[number % 2], number % 2)] for number in range(6)]
    for later in shown[4:]:
        for here, there in zip(later, shown[3]):
            np.testing.assert_array_equal(here, there)
    np.testing.assert_array_equal(shown[3][0], picture[0])


@pytest.mark.parametrize("path", PATHS)
def test_the_first_fields_of_a_smooth_picture_do_not_jump(path):
    """Before anything of the past is known: rows lie where the field's are, so that both fields show the same slope."""
    slope = np.repeat(np.arange(100, dtype=np.uint8)[:, None] * 2, 64, axis=1)
    first, second = fields_of([slope, slope[:, ::2], slope[:, ::2]])
    shown = [scene.show(field, number, follows=False) for number, field in enumerate((first, second)) for scene in [Scene(64, 100, path)]]
    for here, there in zip(*shown):
        assert np.abs(here.astype(int) - there.astype(int))[1:-1].max() <= 1


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("speed", [1, 3, 8, 20])
def test_a_moving_edge_has_no_comb(speed, path):
    """A bright bar that moves `speed` pixels a field: each picture shows it at one place, in all rows."""
    scene = Scene(256, 40, path)
    for number in range(8):
        luma = np.full((40, 256), 30, np.uint8)
        luma[:, 20 + number * speed : 40 + number * speed] = 220
        chroma = np.full((40, 128), 128, np.uint8)
        shown = scene.show(fields_of([luma, chroma, chroma])[number % 2], number % 2, follows=number > 0)
        np.testing.assert_array_equal(shown[0], luma)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("slope", [0.5, 1, 1.5, -1, -1.5])
def test_a_slanting_edge_has_no_steps(slope, path):
    """The edge of a moving instrument: `slope` pixels a row, smooth over three pixels, as a lens shows it."""
    column, row = np.meshgrid(np.arange(256), np.arange(40))
    luma = np.clip(30 + 63 * (column - 128 - slope * (row - 20) + 1.5), 30, 220).astype(np.uint8)
    chroma = np.full((40, 128), 128, np.uint8)
    shown = Scene(256, 40, path).show(fields_of([luma, chroma, chroma])[0], 0, follows=False)[0]
    straight = (luma[0:38:2].astype(int) + luma[2::2] + 1) >> 1
    wrong, plain = np.abs(shown[1:39:2].astype(int) - luma[1:39:2]), np.abs(straight - luma[1:39:2])
    assert wrong.max() <= 40 and wrong.sum() <= plain.sum()
    if abs(slope) >= 1.5:
        assert wrong.sum() < 0.7 * plain.sum()


@pytest.mark.parametrize("field, target", [((64, 18), (64, 38)), ((62, 18), (64, 36)), ((64, 17), (64, 36))])
def test_planes_that_do_not_fit_are_refused(field, target):
    with pytest.raises(ValueError, match="is none of"):
        Bob(FieldFormat(*field), PlanarFormat(*target))
    with pytest.raises(ValueError, match="is none of"):
        Bob(PlanarFormat(64, 18), PlanarFormat(64, 36))


def test_a_short_buffer_is_refused():
    bob = Bob(FieldFormat(64, 18), PlanarFormat(64, 36))
    with pytest.raises(ValueError, match="octets to write"):
        bob.show(False, False, bytearray(bob.target_bytes - 1))
