from typing import Protocol

from typing_extensions import Buffer

class Planes(Protocol):
    """Planes as appliance.frame.PlanarFormat (4:2:0) or FieldFormat (4:2:2) describes them."""

    width: int
    height: int
    luma_stride: int
    chroma_stride: int
    chroma_height: int
    u_offset: int
    v_offset: int

def paths() -> tuple[str, ...]:
    """Names of the code paths that this processor runs, the fastest last: "scalar", "avx2"."""

class Converter:
    """Converts frames of one geometry: packed pgroups (ST 2110-20 section 6.2) to Y'CbCr of 8 bits, narrow range, BT.601 matrix.

    Samples are rounded to the nearest octet and clipped. A full range becomes a narrow one, and another matrix or R'G'B' that of BT.601;
    chroma of R'G'B' and of 4:4:4 is filtered 1-2-1 across, so that it is sited where 4:2:2 has it. Chroma is the mean of two rows, rounded
    once; the last row of an odd height has a chroma row of its own. Stride padding is never written.
    """

    raw_bytes: int
    """Octets of a raw frame: rows of whole pgroups without padding."""
    planar_bytes: int
    """Octets of a planar frame."""
    path: str
    """The code path in use."""

    def __init__(
        self, sampling: str, depth: int, planes: Planes, *, range: str = "NARROW", luma_weights: tuple[float, float] = (0.299, 0.114), path: str | None = None
    ) -> None:
        """`sampling` and `range` as the SDP says them, depth 8, 10, 12 or 16; luma_weights: of red and blue in the source's Y' (ITU-T H.273:
        K_R, K_B), for RGB of no effect. With planes that have a row of chroma for each row of luma it converts a field. ValueError if they cannot work."""

    def convert(self, raw: Buffer, planar: Buffer) -> None:
        """Reads `raw` (uint8, at least raw_bytes), writes `planar` (uint8, at least planar_bytes); they must not overlap.

        Without the GIL; one thread at a time. ValueError if a buffer is too short.
        """
