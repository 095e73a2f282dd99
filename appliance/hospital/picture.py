"""A raw frame's pgroups to RGB samples, as DICOM Pixel Data holds them. Called by image.py, off the event loop; written to be right, not fast.

Source: ITU-R BT.601, BT.709 and BT.2020 for matrices and ranges; ST 2110-20 section 6 for pgroups. Works in bands of rows, so that a 4K frame
takes its own memory once and little more.
"""
import numpy as np

from appliance.frame import VideoFormat

BAND_ROWS = 64


def to_rgb(octets: bytes, video: VideoFormat, bits: int, second_field: bool = False) -> np.ndarray:
    """RGB, full range, `bits` a sample: shape (height, width, 3), uint8 for 8 bits, else uint16. `octets`: one raw frame.

    A field is shown as the viewers see it: at its rows, with the mean of their neighbours between them.
    """
    lines = video.pgroup.rows  # of the picture in a raw row
    rows = video.height // 2 if video.by_fields and second_field else video.raw_rows
    rgb = np.empty((rows * lines, video.width, 3), np.uint8 if bits == 8 else np.uint16)
    raw = np.frombuffer(octets, np.uint8, video.frame_bytes)
    top = (1 << bits) - 1
    for first in range(0, rows, BAND_ROWS):
        count = min(BAND_ROWS, rows - first)
        band = _band(raw, video, first, count)
        np.multiply(band, top, out=band)
        np.rint(band, out=band)
        rgb[first * lines:(first + count) * lines] = np.clip(band, 0, top, out=band)
    return _bobbed(rgb, video.height, second_field) if video.by_fields else rgb


def _bobbed(field: np.ndarray, height: int, second: bool) -> np.ndarray:
    place = np.clip((np.arange(height) - int(second)) / 2, 0, len(field) - 1)
    above, below = field[np.floor(place).astype(int)], field[np.ceil(place).astype(int)]
    return ((above.astype(np.uint32) + below + 1) >> 1).astype(field.dtype)


def _band(raw: np.ndarray, video: VideoFormat, first: int, rows: int) -> np.ndarray:
    """R'G'B' from 0 to 1, float32, of `rows` raw rows from `first` on."""
    samples = _samples(raw[first * video.raw_row_bytes:][:rows * video.raw_row_bytes], video.depth)
    layout = video.sampling.rpartition("-")[2]
    if layout == "RGB":
        return _scaled(samples.reshape(rows, -1, 3), video, 0)
    if layout == "4:4:4":
        blue, luma, red = np.moveaxis(samples.reshape(rows, -1, 3), 2, 0)
    elif layout == "4:2:2":
        groups = samples.reshape(rows, -1, 4)
        luma = groups[..., 1::2].reshape(rows, -1)
        blue, red = _between(groups[..., 0]), _between(groups[..., 2])
    elif layout == "4:2:0":
        groups = samples.reshape(rows, -1, 6)  # four of luma, two rows of two; then Cb and Cr, which lie between the rows
        luma = groups[..., :4].reshape(rows, -1, 2, 2).swapaxes(1, 2).reshape(2 * rows, -1)
        blue, red = (np.repeat(_between(groups[..., index]), 2, axis=0) for index in (4, 5))
    else:
        raise ValueError(f"no picture can be made of {video.sampling}")
    return _matrix(_scaled(luma, video, 0), _scaled(blue, video, 1), _scaled(red, video, 1), video.luma_weights)


def _samples(octets: np.ndarray, depth: int) -> np.ndarray:
    """The samples in order, float32; packed with the most significant bit first (ST 2110-20 section 6.1.5)."""
    if depth == 8:
        return octets.astype(np.float32)
    if depth == 16:
        return octets.view(">u2").astype(np.float32)
    per_group, group_bytes = {10: (4, 5), 12: (2, 3)}[depth]
    groups = octets.reshape(-1, group_bytes).astype(np.uint64)
    word = np.zeros(len(groups), np.uint64)
    for index in range(group_bytes):
        word = word << np.uint64(8) | groups[:, index]
    shifts = np.arange(per_group - 1, -1, -1, dtype=np.uint64) * np.uint64(depth)
    return (word[:, None] >> shifts & np.uint64((1 << depth) - 1)).astype(np.float32).reshape(-1)


def _between(chroma: np.ndarray) -> np.ndarray:
    """Chroma of half the width at every pixel: it lies at the even ones (BT.601, BT.709, BT.2020), between them goes their mean."""
    full = np.repeat(chroma, 2, axis=1)
    full[:, 1:-1:2] = (chroma[:, :-1] + chroma[:, 1:]) / 2
    return full


def _scaled(samples: np.ndarray, video: VideoFormat, is_chroma: int) -> np.ndarray:
    """Code values to 0..1, or -0.5..0.5 for a colour difference."""
    scale = 1 << video.depth - 8
    if video.range == "NARROW":
        offset, span = (128, 224) if is_chroma else (16, 219)
        return (samples - offset * scale) / np.float32(span * scale)
    return (samples - (128 * scale if is_chroma else 0)) / np.float32((1 << video.depth) - 1)


def _matrix(luma: np.ndarray, blue: np.ndarray, red: np.ndarray, luma_weights: tuple[float, float]) -> np.ndarray:
    of_red, of_blue = luma_weights
    rgb = np.empty((*luma.shape, 3), np.float32)
    rgb[..., 0] = luma + 2 * (1 - of_red) * red
    rgb[..., 2] = luma + 2 * (1 - of_blue) * blue
    rgb[..., 1] = (luma - of_red * rgb[..., 0] - of_blue * rgb[..., 2]) / (1 - of_red - of_blue)
    return rgb
