"""Colours of the synthetic picture: R'G'B' in 0..1 to the 14-bit narrow-range Y'CbCr that cext/source draws with, and those to a flow's codes.

Called by tissue.py, instrument.py, scene.py and bars.py when the source starts. A 14-bit sample is a 10-bit one times 16. R'G'B' is taken to be in
the flow's own primaries: nothing is mapped between gamuts.
"""
import numpy as np

from appliance.frame import LUMA_WEIGHTS, VideoFormat

SAMPLE_SCALE = 16
BLACK, WHITE, NEUTRAL = 64 * SAMPLE_SCALE, 940 * SAMPLE_SCALE, 512 * SAMPLE_SCALE
_CHROMA_SWING = 896 * SAMPLE_SCALE


def samples(red, green, blue, weights=LUMA_WEIGHTS["BT709"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Y, Cb, Cr as float arrays in 14-bit codes (narrow range); colours are numbers or equal-shaped arrays."""
    kr, kb = weights
    luma = kr * np.asarray(red) + (1 - kr - kb) * np.asarray(green) + kb * np.asarray(blue)
    cb = (blue - luma) / (2 * (1 - kb))
    cr = (red - luma) / (2 * (1 - kr))
    return BLACK + luma * (WHITE - BLACK), NEUTRAL + cb * _CHROMA_SWING, NEUTRAL + cr * _CHROMA_SWING


def coding(format: VideoFormat) -> tuple[list[list[float]], float, float]:
    """What makes codes of 14-bit samples: rows for (Cb, Y, Cr) or (R, G, B) over (Y, Cb, Cr, 1); the least and the greatest code of video.

    FULLPROTECT maps as FULL does and keeps away from the codes that SDI reserves (ST 2110-20 section 7.3).
    """
    depth, (kr, kb) = format.depth, format.luma_weights
    unit, last = 2.0 ** (depth - 8), 2.0**depth - 1
    swing, chroma_swing, black = (219 * unit, 224 * unit, 16 * unit) if format.range == "NARROW" else (last, last, 0.0)
    # From codes of 14 bit to 0..1 and -0.5..0.5, over (Y, Cb, Cr, 1).
    luma, cb, cr = np.zeros((3, 4))
    luma[[0, 3]] = 1 / (WHITE - BLACK), -BLACK / (WHITE - BLACK)
    cb[[1, 3]] = cr[[2, 3]] = 1 / _CHROMA_SWING, -NEUTRAL / _CHROMA_SWING
    if format.sampling == "RGB":
        red, blue = luma + 2 * (1 - kr) * cr, luma + 2 * (1 - kb) * cb
        components = [(part * swing, black) for part in (red, (luma - kr * red - kb * blue) / (1 - kr - kb), blue)]
    else:
        components = [(cb * chroma_swing, 128 * unit), (luma * swing, black), (cr * chroma_swing, 128 * unit)]
    reserved = max(1.0, unit) if format.range != "FULL" else 0.0
    return [(row + (0, 0, 0, offset)).tolist() for row, offset in components], reserved, last - reserved


def halved(chroma: np.ndarray) -> np.ndarray:
    """Every second column after a 1-2-1 filter: chroma co-sited with even luma samples, as 4:2:2 wants it."""
    left = np.concatenate([chroma[:, :1], chroma[:, :-1]], axis=1)
    right = np.concatenate([chroma[:, 1:], chroma[:, -1:]], axis=1)
    return ((left + 2 * chroma + right) / 4)[:, ::2]
