"""What a PACS is to the stage, whichever language it speaks: DICOMweb (dicomweb.py) or DIMSE (dimse.py). Values and limits only.

Invariant: whatever a PACS answers, an archive gives bounded, printable values and pictures that were decoded here, or raises PeerFailed.
"""
import io
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels import apply_voi_lut, pixel_array

from appliance.hospital.problem import PeerFailed

STUDIES_MAX, SERIES_MAX, INSTANCES_MAX, FRAMES_MAX = 100, 200, 1000, 10_000
TEXT_CHARACTERS_MAX = 256
PICTURE_BYTES_MAX = 64 << 20
PICTURE_PIXELS_MAX = 40_000_000
THUMBNAIL_SIDE, PICTURE_SIDE = 192, 2048
JPEG_QUALITY = {THUMBNAIL_SIDE: 75, PICTURE_SIDE: 92}
_UID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")
_PICTURE_FORMATS = ("JPEG", "PNG", "GIF")

# Pillow warns at this size, and refuses twice of it: a picture that unpacks to more than memory holds.
Image.MAX_IMAGE_PIXELS = PICTURE_PIXELS_MAX


@dataclass(frozen=True)
class Study:
    """A study of the patient."""

    uid: str
    date: str = ""
    time: str = ""
    description: str = ""
    modalities: str = ""
    accession_number: str = ""
    instances: int = 0
    patient_id: str = ""
    issuer: str = ""


@dataclass(frozen=True)
class Series:
    """A series of a study."""

    uid: str
    number: int = 0
    modality: str = ""
    description: str = ""


@dataclass(frozen=True)
class Instance:
    """An instance of a series that may be a picture."""

    uid: str
    class_uid: str = ""
    number: int = 0
    frames: int = 1


class Archive(Protocol):
    """Each method takes at most the peer's time limit, or raises PeerFailed."""

    async def verify(self) -> None:
        """Whether it answers at all."""

    async def studies(self, patient_id: str) -> list[Study]:
        """The patient's studies, the newest first."""

    async def series(self, study: str) -> list[Series]:
        """A study's series."""

    async def instances(self, study: str, series: str) -> list[Instance]:
        """A series' instances, by number."""

    async def picture(self, study: str, series: str, instance: Instance, frame: int, side: int) -> bytes:
        """A frame (from 1) as JPEG, at most `side` pixels wide and high."""

    async def store(self, path: Path, uid: str) -> None:
        """Gives it a picture; returns when it has confirmed that it keeps it. NotStored if it will not."""

    async def close(self) -> None:
        """Lets go of its connections."""


def is_uid(text: str) -> bool:
    """Whether it may stand in a URL or a query as a UID (PS3.5 section 9.1)."""
    return len(text) <= 64 and bool(_UID.fullmatch(text))


def clean(text: object) -> str:
    """A value of somebody else's as one line that can be shown: without control characters, and never long."""
    return "".join(letter for letter in str(text if text is not None else "") if letter.isprintable()).strip()[:TEXT_CHARACTERS_MAX]


def number(value: object, most: int = 1 << 31) -> int:
    """A count of somebody else's; 0 for nonsense."""
    try:
        return max(0, min(int(str(value)), most))
    except ValueError:
        return 0


def of_patient(studies: list[Study], patient_id: str) -> list[Study]:
    """Those that are the patient's, letter for letter, whatever the PACS found alike; the newest first."""
    own = [replace(study, patient_id="") for study in studies if study.patient_id == patient_id and is_uid(study.uid)]
    return sorted(own, key=lambda study: (study.date, study.time), reverse=True)[:STUDIES_MAX]


def jpeg(octets: bytes, side: int) -> bytes:
    """A picture of a PACS, decoded and coded anew: what reaches a browser is ours. PeerFailed if it is none."""
    try:
        with Image.open(io.BytesIO(octets), formats=_PICTURE_FORMATS) as picture:
            if picture.width * picture.height > PICTURE_PIXELS_MAX:
                raise PeerFailed("malformed", f"The PACS sent a picture of {picture.width} x {picture.height} pixels, which is too large to show.")
            picture.draft("RGB", (side, side))
            return encode(picture.convert("RGB"), side)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PeerFailed("malformed", "The PACS sent something that is no picture.") from error


def encode(picture: Image.Image, side: int) -> bytes:
    """As JPEG, no larger than asked for."""
    picture.thumbnail((side, side))
    output = io.BytesIO()
    picture.save(output, "JPEG", quality=JPEG_QUALITY[side])
    return output.getvalue()


def render(dataset: Dataset, frame: int, side: int) -> bytes:
    """A frame (from 1) as JPEG, as its window says. PeerFailed for what is no picture, or none that can be decoded here."""
    try:
        samples = int(dataset.SamplesPerPixel)
        if int(dataset.Rows) * int(dataset.Columns) > PICTURE_PIXELS_MAX:
            raise PeerFailed("malformed", "The PACS sent a picture that is too large to show.")
        pixels = pixel_array(dataset, index=frame - 1)
        if samples == 1:
            shown = apply_voi_lut(pixels, dataset).astype("float32")
            low, high = float(shown.min()), float(shown.max())
            shown = (shown - low) * (255 / (high - low or 1))
            picture = Image.fromarray((255 - shown if dataset.PhotometricInterpretation == "MONOCHROME1" else shown).astype("uint8"))
        else:
            picture = Image.fromarray((pixels >> max(0, int(dataset.BitsStored) - 8)).astype("uint8"))
    except PeerFailed:
        raise
    except Exception as error:  # decoders raise whatever they like at what a stranger sent
        raise PeerFailed("malformed", "This object of the PACS is no picture that can be shown here.") from error
    return encode(picture.convert("RGB"), side)
