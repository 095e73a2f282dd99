from typing import Protocol

from typing_extensions import Buffer

class Planes(Protocol):
    """I420 as appliance.frame.PlanarFormat describes it."""

    width: int
    height: int
    luma_stride: int
    chroma_stride: int
    luma_offset: int
    u_offset: int
    v_offset: int
    frame_bytes: int

def paths() -> tuple[str, ...]:
    """Names of the code paths that this processor runs, the fastest last: "scalar", "avx2"."""

class Scaler:
    """Scales I420 frames of one geometry: halved as often as the target allows, each sample the mean of two by two, rounded once; then, if it
    is not reached, by area (each sample the mean of what it covers, in 128ths, rows first).

    Halving leaves out what of its source lies beyond a multiple of four columns or rows. Stride padding is never written.
    """

    source_bytes: int
    """Octets of a frame to read."""
    target_bytes: int
    """Octets of a frame to write."""
    path: str
    """The code path in use."""

    def __init__(self, source: Planes, target: Planes, *, path: str | None = None) -> None:
        """Even width and height of the target, and a source that is not smaller, of nearly the same shape. ValueError if they do not fit."""

    def scale(self, source: Buffer, target: Buffer) -> None:
        """Reads `source` (uint8, at least source_bytes), writes `target` (uint8, at least target_bytes); they must not overlap.

        Without the GIL, one thread at a time. Measured: 1280x720 by avx2 0.07 ms, by scalar 0.15 ms (2026-11-22). ValueError if a buffer is too short.
        """
