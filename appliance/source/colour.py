"""Colours of the synthetic picture: BT.709 R'G'B' in 0..1 to the 14-bit narrow-range samples that cext/source draws with.

Called by tissue.py and instrument.py when the source starts. A 14-bit sample is a 10-bit one times 16.
"""
import numpy as np

SAMPLE_SCALE = 16
BLACK, WHITE, NEUTRAL = 64 * SAMPLE_SCALE, 940 * SAMPLE_SCALE, 512 * SAMPLE_SCALE
_CHROMA_SWING = 896 * SAMPLE_SCALE
_RED, _GREEN, _BLUE = 0.2126, 0.7152, 0.0722  # Source: ITU-R BT.709-6 item 3.2


def samples(red, green, blue) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Y, Cb, Cr as float arrays in 14-bit codes (BT.709 narrow range); arguments are numbers or equal-shaped arrays."""
    luma = _RED * np.asarray(red) + _GREEN * np.asarray(green) + _BLUE * np.asarray(blue)
    cb = (blue - luma) / (2 * (1 - _BLUE))
    cr = (red - luma) / (2 * (1 - _RED))
    return BLACK + luma * (WHITE - BLACK), NEUTRAL + cb * _CHROMA_SWING, NEUTRAL + cr * _CHROMA_SWING


def halved(chroma: np.ndarray) -> np.ndarray:
    """Every second column after a 1-2-1 filter: chroma co-sited with even luma samples, as 4:2:2 wants it."""
    left = np.concatenate([chroma[:, :1], chroma[:, :-1]], axis=1)
    right = np.concatenate([chroma[:, 1:], chroma[:, -1:]], axis=1)
    return ((left + 2 * chroma + right) / 4)[:, ::2]
