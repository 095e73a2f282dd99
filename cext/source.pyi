"""The synthetic source's two native parts: the picture and the paced sending."""
from collections.abc import Sequence

import numpy as np

from appliance.frame import VideoFormat

STRIPS_MAX: int
DISCS_MAX: int
PROFILE_STEPS: int
NOISE_SAMPLES: int
STAMP_ROWS: int
STAMP_CELLS: int
STAMP_CELL_PIXELS: int

Coding = tuple[Sequence[Sequence[float]], float, float]
"""Rows of four that make the codes of (Cb, Y, Cr) or (R, G, B) of 14-bit (Y, Cb, Cr, 1), and the least and the greatest code that video may use."""

class Picture:
    """What Pacing sends, and what makes it ready to be sent."""

class Still(Picture):
    """A picture that does not move: the pgroups of the whole frame, or of its two fields or segments (uint8)."""

    def __init__(self, parts: Sequence[np.ndarray]) -> None: ...

class Scene(Picture):
    """Draws frames, or the fields or segments of frames, into `frame`, packed pgroups (uint8), row by row when they are needed."""

    frame: np.ndarray

    def __init__(self, format: VideoFormat, coding: Coding, texture: Sequence[np.ndarray], margin: int, light: np.ndarray, light_chroma: np.ndarray,
                 view: np.ndarray, noise: np.ndarray, profiles: np.ndarray, stamped: bool = False) -> None:
        """With width W, height H and margin M (even): texture int16 Y (H+2M, W+2M), Cb, Cr (H+2M, (W+2M)/2), 14-bit; light uint8 (H, W) and
        light_chroma (H, W/2), of 256; view uint32 (H, 2), columns in fours; noise int16 (NOISE_SAMPLES + W,); profiles float32 (n, 3, PROFILE_STEPS).
        """
    def begin(self, shift: np.ndarray, strips: Sequence[tuple], discs: Sequence[tuple], noise_seed: int, second_part: bool = False) -> None:
        """Sets the next frame up, or its second field or segment. shift float (H, 2): x, y in pixels of each row's texture; strips and discs: the fields of struct scene_strip
        and struct scene_disc in order."""
    def finish(self) -> np.ndarray:
        """Draws the rows that are still missing; returns `frame`. About 1 ms at 1280x720."""
    def stamp(self, microseconds: int) -> None:
        """Burns 48 bits and the sync pattern into the top rows of the frame."""
    def pack(self, upper: Sequence[np.ndarray], lower: Sequence[np.ndarray], simd: bool) -> np.ndarray:
        """A row of 14-bit int16 samples (Y, Cb, Cr), or the two of a 4:2:0 pgroup, as pgroups (uint8, raw_row_bytes); for tests of both code paths."""

class Detour:
    """A further way for the packets of Pacing, over the connected UDP socket `fd`: `late_ns` later, and without a share `loss` (0 to 1) of them that follows
    from `seed`. Holds `capacity` packets of at most `maxudp` octets, UDP's header included."""

    def __init__(self, fd: int, loss: float, late_ns: int, seed: int, capacity: int, maxudp: int) -> None: ...
    @property
    def packets_sent(self) -> int: ...
    @property
    def packets_lost(self) -> int:
        """Packets that were to be lost."""

class Pacing:
    """Sends a picture's frames, or its first or second field or segment, over a connected UDP socket, evenly over `span_ns`."""

    def __init__(self, picture: Picture, format: VideoFormat, fd: int, span_ns: int, payload_type: int, ssrc: int, sequence: int,
                 segmented: bool = True, second_part: bool = False, maxudp: int = 1460, detours: tuple[Detour, ...] = ()) -> None:
        """`fd` -1: every packet goes by the detours alone. Packing is the format's; `maxudp` is the largest UDP datagram, its header included. `sequence`: the 32-bit extended sequence number of the first packet. `segmented`: let the kernel cut runs of equal packets."""
    def send(self, clock_ns: int, rtp_timestamp: int) -> None:
        """Sends what the picture has begun, the first burst at `clock_ns` of the kernel's CLOCK_TAI; blocks for the span without
        the GIL. Raises OSError for what will not pass by itself."""
    def take_late_ns(self) -> int:
        """The latest start of a burst against its time since the last call, nanoseconds."""
    @property
    def packet_count(self) -> int:
        """Packets of the part that it sends."""
    @property
    def packets_sent(self) -> int: ...
    @property
    def packets_refused(self) -> int:
        """Packets that the kernel did not take."""
    @property
    def segmented(self) -> bool:
        """False once kernel or network card have refused to cut runs."""
    sequence: int
    """Extended sequence number of the next packet."""

def wait_until(clock_ns: int) -> bool:
    """Sleeps without the GIL until the kernel's CLOCK_TAI shows `clock_ns`; False if a signal came first."""
