"""Packed pgroups as pictures: the slow, obvious way, for the source's tests."""
import numpy as np

STAMP_SYNC = "1010010111000011"


def planes(frame, format) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Y (rows, columns), Cb, Cr (rows, columns / 2) of a raw frame, in codes of its depth."""
    octets = np.asarray(frame).reshape(format.height, -1, format.pgroup.octets).astype(np.uint64)
    bits = sum(octets[..., index] << np.uint64(8 * (format.pgroup.octets - 1 - index)) for index in range(format.pgroup.octets))
    cb, first, cr, second = ((bits >> np.uint64(format.depth * place)) & np.uint64((1 << format.depth) - 1) for place in (3, 2, 1, 0))
    return np.stack([first, second], axis=-1).reshape(format.height, -1).astype(int), cb.astype(int), cr.astype(int)


def samples(frame, format) -> np.ndarray:
    """The codes of a raw frame or part in the order of the wire, (raw rows, samples)."""
    bits = np.unpackbits(np.asarray(frame, np.uint8)).reshape(-1, format.depth)
    codes = bits.astype(int) @ (1 << np.arange(format.depth - 1, -1, -1))
    return codes.reshape(-1, format.raw_row_bytes * 8 // format.depth)


def components(frame, format) -> np.ndarray:
    """Cb Y Cr or R G B of every pixel, (rows of the frame or part, width, 3); chroma as it is sent, repeated."""
    codes, sampling = samples(frame, format), "4:4:4" if format.sampling == "RGB" else format.sampling[-5:]
    if sampling == "4:4:4":
        return codes.reshape(codes.shape[0], -1, 3)
    if sampling == "4:2:2":
        cb, first, cr, second = np.moveaxis(codes.reshape(codes.shape[0], -1, 4), 2, 0)
        luma = np.stack([first, second], axis=2).reshape(codes.shape[0], -1)
        return np.stack([np.repeat(cb, 2, axis=1), luma, np.repeat(cr, 2, axis=1)], axis=2)
    y00, y01, y10, y11, cb, cr = np.moveaxis(codes.reshape(codes.shape[0], -1, 6), 2, 0)
    luma = np.stack([np.stack([y00, y01], axis=2).reshape(y00.shape[0], -1), np.stack([y10, y11], axis=2).reshape(y00.shape[0], -1)], axis=1)
    wide = [np.repeat(np.repeat(plane, 2, axis=1), 2, axis=0) for plane in (cb, cr)]
    return np.stack([wide[0], luma.reshape(-1, format.width), wide[1]], axis=2)


def greenness(luma, cb, cr, full: int) -> np.ndarray:
    """How much brighter than red and blue the green of each pixel is; planes of equal size, `full` is the code range (256, 1024)."""
    y, u, v = ((plane / full - offset) for plane, offset in ((luma, 16 / 256), (cb, 0.5), (cr, 0.5)))
    red, green, blue = y + 1.5 * v, y - 0.2 * u - 0.45 * v, y + 1.8 * u
    return np.clip(green - np.maximum(red, blue) - 0.15, 0, None)


def centroid(weight: np.ndarray) -> tuple[float, float]:
    """Column and row of the centre of gravity."""
    rows, columns = np.indices(weight.shape)
    return (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()


def stamped_microseconds(luma: np.ndarray, white: int, black: int) -> int:
    """The burnt-in stamp, read in the middle of each cell; the sync pattern is checked."""
    middle = luma[8, 8:1024:16]
    bits = "".join("1" if value > (white + black) / 2 else "0" for value in middle)
    assert bits[48:] == STAMP_SYNC
    return int(bits[:48], 2)
