"""Planar pictures that move: smooth shapes, fine texture and sensor noise, like tissue under an endoscope."""
import numpy as np

from appliance.frame import PlanarFormat


def _smooth(random: np.random.Generator, height: int, width: int, grain: int) -> np.ndarray:
    coarse = random.standard_normal((height // grain + 2, width // grain + 2))
    return np.kron(coarse, np.ones((grain, grain)))[:height, :width]


def tissue(planar: PlanarFormat, count: int, seed: int = 1, noise: float = 1.0) -> list[np.ndarray]:
    """`count` planar frames (uint8, frame_bytes each) that pan over one texture."""
    random = np.random.default_rng(seed)
    height, width = planar.height + 2 * count, planar.width + 4 * count
    texture = 115 + 25 * _smooth(random, height, width, 48) + 8 * _smooth(random, height, width, 8) + 3 * _smooth(random, height, width, 2)
    blood = 140 + 10 * _smooth(random, height, width, 32)
    frames = []
    for i in range(count):
        down, right = 2 * i, 4 * i
        luma = texture[down : down + planar.height, right : right + planar.width] + noise * random.standard_normal((planar.height, planar.width))
        chroma = np.clip(blood[down : down + planar.height : 2, right : right + planar.width : 2], 16, 240)
        frame = np.zeros(planar.frame_bytes, np.uint8)
        frame[: planar.u_offset].reshape(planar.height, -1)[:, : planar.width] = np.clip(luma, 16, 235)
        frame[planar.u_offset : planar.v_offset].reshape(planar.chroma_height, -1)[:, : planar.chroma_width] = 240 - chroma / 2
        frame[planar.v_offset :].reshape(planar.chroma_height, -1)[:, : planar.chroma_width] = chroma
        frames.append(frame)
    return frames


def luma_of(frame: np.ndarray, planar: PlanarFormat) -> np.ndarray:
    """Luma (height, width) of a planar frame."""
    return frame[: planar.u_offset].reshape(planar.height, -1)[:, : planar.width]


def psnr_db(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal to noise ratio of two 8-bit planes."""
    return 10 * np.log10(255**2 / max(1e-9, np.mean((one.astype(float) - other) ** 2)))
