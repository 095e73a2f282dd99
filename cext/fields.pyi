from typing import Protocol

from typing_extensions import Buffer

class Planes(Protocol):
    """Planes as appliance.frame.PlanarFormat (4:2:0) or FieldFormat (4:2:2) describes them."""

    width: int
    height: int
    luma_stride: int
    chroma_stride: int
    chroma_width: int
    chroma_height: int
    luma_offset: int
    u_offset: int
    v_offset: int
    frame_bytes: int

def paths() -> tuple[str, ...]:
    """Names of the code paths that this processor runs, the fastest last: "scalar", "avx2"."""

class Bob:
    """Makes a picture of full height of every field of one stream. The first field has the even rows of the frame, the second the odd ones.

    The rows between are the other field's own where nothing moved, and the mean of their neighbours where something did or the three
    fields before are not known. Stride padding is never written.
    """

    target_bytes: int
    """Octets of a picture."""
    path: str
    """The code path in use."""

    def __init__(self, field: Planes, target: Planes, *, path: str | None = None) -> None:
        """A field of half the target's rows, the odd one included, with a row of chroma for each. ValueError if they do not fit."""

    @property
    def field(self) -> bytearray:
        """Where the planes of the next field are to be written before show()."""

    def show(self, second: bool, follows: bool, target: Buffer) -> None:
        """Writes the picture of that field to `target` (uint8, at least target_bytes). `second`: it is a second field; `follows`: the last one
        shown came just before it and was of the other kind. Without the GIL. ValueError if the buffer is too short.
        """
