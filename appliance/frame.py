"""What a frame is: formats, audiences, codecs and the flags of a slot header. Plain values, read by every stage."""
import struct
from dataclasses import dataclass, replace
from enum import Enum, IntFlag
from fractions import Fraction

VBV_FRAMES = 3
"""How far the rate control may run ahead, in mean frames: it bounds a keyframe.

Measured: 720p50 tissue at 6 Mbit/s, 13.5 KB a frame. 2: a keyframe of 27 KB that looks 6 dB worse than its neighbours; 3: 39 KB,
3.4 dB; 4: 45 KB, 2.5 dB; 12: 64 KB, nothing to be seen (2026-11-22).
"""
RATE_KEPT_MAX = 30
"""Frames a second up to which a stream is shown at its own rate on every level."""
SIDE_HALVED_MIN = 32
"""A raster with a shorter side is not halved: a codec's smallest block has 16 pixels."""
_STRIDE_ALIGNMENT = 64  # one cache line and one AVX-512 register


class Audience(str, Enum):
    """Who sees a stream; decides what leaves the box."""

    EXPERT = "expert"
    CLASS = "class"


class Codec(str, Enum):
    """Coding of a rendition."""

    H264 = "h264"
    VP8 = "vp8"


class Level(str, Enum):
    """How much of a stream a rendition shows, from the best to the humblest."""

    FULL = "full"    # the stream's raster, or the largest that the encoders may have, and its rate
    HALF = "half"    # its raster, every second frame
    SMALL = "small"  # half its width and height, every second frame

    def frame_step(self, rate: Fraction) -> int:
        """1: every frame of a stream of that rate is coded, 2: those with an even number. Slower than 25 a second nobody wants to watch."""
        return 1 if self is Level.FULL or rate <= RATE_KEPT_MAX else 2

    def raster_of(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) that is coded of the best level's raster; the small one is even, as 4:2:0 wants it."""
        if self is not Level.SMALL or min(width, height) < SIDE_HALVED_MIN:
            return width, height
        return width // 4 * 2, height // 4 * 2


LEVELS = tuple(Level)
"""From the best to the humblest: one step to the right is one step down for a viewer."""


@dataclass(frozen=True)
class Rendition:
    """One coding of a stream for one audience."""

    audience: Audience
    codec: Codec
    level: Level = Level.FULL

    @property
    def name(self) -> str:
        """"expert", "expert.half", "expert.small" (H.264), "expert.vp8", "expert.vp8.half", ...; "class" likewise."""
        words = [self.audience.value]
        words += [] if self.codec is Codec.H264 else [self.codec.value]
        words += [] if self.level is Level.FULL else [self.level.value]
        return ".".join(words)

    @property
    def levels(self) -> tuple["Rendition", ...]:
        """This audience's renditions in this codec, from the best to the humblest: a viewer moves among them."""
        return tuple(replace(self, level=level) for level in LEVELS)

    @property
    def coding(self) -> "Rendition":
        """The rendition whose encoder makes this one's access units: one picture is coded once, whoever looks at it.

        Nothing is masked yet, so a class is shown the experts' pixels. A mask for the class makes each of its renditions a coding of its own.
        """
        return replace(self, audience=Audience.EXPERT)

    @property
    def serves(self) -> tuple["Rendition", ...]:
        """The renditions that are made of this one's access units, experts' first; none if it is another one's coding that makes it."""
        return tuple(rendition for rendition in RENDITIONS if rendition.coding == self)

    @classmethod
    def named(cls, name: str) -> "Rendition":
        """The rendition of that name; ValueError if there is none."""
        for rendition in RENDITIONS:
            if rendition.name == name:
                return rendition
        raise ValueError(f"there is no rendition {name!r}")


RENDITIONS = tuple(Rendition(audience, codec, level) for codec in Codec for audience in Audience for level in Level)
CODINGS = tuple(rendition for rendition in RENDITIONS if rendition.serves)
"""The renditions that have an encoder."""


class Flag(IntFlag):
    """Flags of a ring slot's header (struct slot_header in cext/kernels/ring.h)."""

    KEYFRAME = 1
    INCOMPLETE = 2
    STATIC = 4
    DISCONTINUITY = 8
    MISMATCH = 16  # what arrives is not what the SDP describes: shown to nobody
    SECOND_FIELD = 32  # of an interlaced frame: its rows lie below the first field's
    DEIDENTIFIED = 64  # of a record: it went through protocol/deidentification
    COMPANION = 128  # of a record: it describes no frame of the picture, but its sound, another picture, or what belongs together


KEYFRAME, INCOMPLETE, STATIC, DISCONTINUITY, MISMATCH, SECOND_FIELD, DEIDENTIFIED, COMPANION = Flag


@dataclass(frozen=True)
class Pgroup:
    """The smallest unit of samples on the wire, whole octets, most significant bit first (ST 2110-20 section 6.2)."""

    octets: int
    columns: int
    """Pixels of one row that it covers."""
    rows: int = 1
    """Rows that it covers: two of 4:2:0."""

    @property
    def pixels(self) -> int:
        """Pixels that it covers in all, as the standard's tables count them."""
        return self.columns * self.rows


# Source: ST 2110-20 tables 1 to 3, by depth. Order of samples: Cb Y0 Cr Y1; Cb Y Cr or R G B; Y00 Y01 Y10 Y11 Cb Cr.
_PGROUPS_422 = {8: Pgroup(4, 2), 10: Pgroup(5, 2), 12: Pgroup(6, 2), 16: Pgroup(8, 2)}
_PGROUPS_444 = {8: Pgroup(3, 1), 10: Pgroup(15, 4), 12: Pgroup(9, 2), 16: Pgroup(6, 1)}
_PGROUPS_420 = {8: Pgroup(6, 2, 2), 10: Pgroup(15, 4, 2), 12: Pgroup(9, 2, 2), 16: Pgroup(12, 2, 2)}
PGROUPS = {f"{colours}-{sampling}": pgroups for colours in ("YCbCr", "CLYCbCr", "ICtCp")
           for sampling, pgroups in (("4:2:2", _PGROUPS_422), ("4:4:4", _PGROUPS_444), ("4:2:0", _PGROUPS_420))} | {"RGB": _PGROUPS_444}
"""Pgroups by sampling and depth."""


LUMA_WEIGHTS = {"BT601": (0.299, 0.114), "BT709": (0.2126, 0.0722), "BT2020": (0.2627, 0.0593)}
"""Weights of red and blue in luma, by colorimetry. Source: ITU-T H.273 table 4, K_R and K_B."""


@dataclass(frozen=True)
class VideoFormat:
    """An uncompressed ST 2110-20 raster as the SDP describes it (ST 2110-20 section 7.2)."""

    width: int
    height: int
    sampling: str = "YCbCr-4:2:2"
    depth: int = 10
    rate: Fraction = Fraction(50)
    interlaced: bool = False
    segmented: bool = False
    colorimetry: str = "BT709"
    transfer: str = "SDR"
    range: str = "NARROW"
    packing: str = "2110GPM"
    pixel_aspect: Fraction = Fraction(1)
    """Width of a pixel by its height (PAR): not 1 in standard definition."""

    @property
    def pgroup(self) -> Pgroup:
        """Its unit on the wire. KeyError for a sampling or depth that has none here (`sdp.SUPPORTED` refuses those)."""
        return PGROUPS[self.sampling][self.depth]

    @property
    def by_fields(self) -> bool:
        """Whether each field is a raw frame of its own, with its own RTP timestamp; the segments of a PsF frame are woven on arrival."""
        return self.interlaced and not self.segmented

    @property
    def picture_rate(self) -> Fraction:
        """Raw frames, and so pictures, a second: twice the frame rate where every field becomes a picture."""
        return self.rate * 2 if self.by_fields else self.rate

    @property
    def raw_rows(self) -> int:
        """Rows of pgroups in a raw frame: of a field the first one's; the second field of an odd height has one row less."""
        return -(-self.height // 2) if self.by_fields else self.height // self.pgroup.rows

    def wire_rows(self, second_field: bool = False) -> int:
        """Row numbers in packets are below this: in those of the frame, or of this field or PsF segment of it."""
        return (self.height + (not second_field)) // 2 if self.interlaced else self.height

    @property
    def raw_row_bytes(self) -> int:
        """Octets of one row of packed pgroups."""
        return self.width // self.pgroup.columns * self.pgroup.octets

    @property
    def frame_bytes(self) -> int:
        """Octets of a raw frame, which is what a slot holds: rows of pgroups one after another without padding."""
        return self.raw_row_bytes * self.raw_rows

    @property
    def frame_ns(self) -> int:
        """Nanoseconds from one frame to the next, rounded down."""
        return int(1_000_000_000 / self.rate)

    def to_bytes(self) -> bytes:
        """32 octets that two processes compare before they share a raw ring."""
        text = f"{self.sampling} {self.depth} {self.scan}"
        return struct.pack("<4sHH24s", b"RAW1", self.width, self.height, text.encode())

    @property
    def luma_weights(self) -> tuple[float, float]:
        """Weights of red and blue in its Y'; BT709's where the SDP names none that Y'CbCr has."""
        return LUMA_WEIGHTS.get("BT2020" if self.colorimetry == "BT2100" else self.colorimetry, LUMA_WEIGHTS["BT709"])

    @property
    def scan(self) -> str:
        """"p", "i" or "PsF"."""
        return "PsF" if self.segmented else "i" if self.interlaced else "p"

    def __str__(self) -> str:
        rate = f"{float(self.picture_rate):.2f}".rstrip("0").rstrip(".")
        shape = "" if self.pixel_aspect == 1 else f", pixels {self.pixel_aspect.numerator}:{self.pixel_aspect.denominator}"
        return f"{self.width}x{self.height}{self.scan}{rate} {self.sampling} {self.depth} bit{shape}"


@dataclass(frozen=True)
class PlanarFormat:
    """I420, 8 bit, narrow range, BT.601 matrix: a luma plane, then U, then V, each row padded to a multiple of 64 (luma) or 32 (chroma) octets."""

    width: int
    height: int

    @property
    def luma_stride(self) -> int:
        """Octets between luma rows."""
        return -(-self.width // _STRIDE_ALIGNMENT) * _STRIDE_ALIGNMENT

    @property
    def chroma_stride(self) -> int:
        """Octets between rows of U and of V."""
        return self.luma_stride // 2

    @property
    def chroma_width(self) -> int:
        """Chroma samples in a row."""
        return (self.width + 1) // 2

    @property
    def chroma_height(self) -> int:
        """Rows of U and of V; an odd last luma row has a chroma row of its own."""
        return (self.height + 1) // 2

    @property
    def luma_offset(self) -> int:
        """Where luma begins in the slot."""
        return 0

    @property
    def u_offset(self) -> int:
        """Where U begins in the slot."""
        return self.luma_stride * self.height

    @property
    def v_offset(self) -> int:
        """Where V begins in the slot."""
        return self.u_offset + self.chroma_stride * self.chroma_height

    @property
    def frame_bytes(self) -> int:
        """Octets of the whole planar frame."""
        return self.v_offset + self.chroma_stride * self.chroma_height

    def to_bytes(self) -> bytes:
        """32 octets that two processes compare before they share a planar ring."""
        return struct.pack("<4sHHII16x", b"I420", self.width, self.height, self.luma_stride, self.frame_bytes)


def planar_within(video: VideoFormat, height_max: int) -> PlanarFormat:
    """The picture that is made of a stream: as it is up to `height_max` rows (even), else that high, as wide as keeps its shape, and even.

    Its pixels are square, since no browser looks at their shape: others are made wider or higher, so that no sample is lost.
    """
    shape = video.pixel_aspect
    if shape == 1 and video.height <= height_max:
        return PlanarFormat(video.width, video.height)
    height = min(round(video.height / min(shape, 1) / 2) * 2, height_max)
    return PlanarFormat(round(video.width * shape * height / video.height / 2) * 2, height)


@dataclass(frozen=True)
class FieldFormat(PlanarFormat):
    """The planes of one field before it is a picture: each of its `height` rows of luma has a row of U and of V of its own."""

    @property
    def chroma_height(self) -> int:
        """Rows of U and of V."""
        return self.height
