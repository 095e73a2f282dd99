"""Which encoder makes a rendition: whoever really encodes a frame on this machine, hardware first. Used by the encode stage.

Invariant: what is chosen has given a keyframe with its parameter sets, at once and on demand; software in any raster, once a process.
"""
import ctypes
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

import av
import av.logging

from appliance.encode.encoder import HARDWARE_ENCODERS, Encoder, EncoderFault, EncoderSettings, one_line
from appliance.frame import Codec

SOFTWARE = {Codec.H264: "libx264", Codec.VP8: "libvpx"}
ENCODERS = (*HARDWARE_ENCODERS, *SOFTWARE.values())
PROOF = (True, False, True)  # a keyframe at once, none unasked, one on demand
_GREY = 128
_PROVING = threading.Lock()  # what FFmpeg's log lets through is the process's, and an encode stage has several threads
_SLICE_IDR, _SPS, _PPS = 5, 7, 8  # Source: ITU-T H.264 table 7-1


@dataclass(frozen=True)
class Choice:
    """The encoder chosen, open, and why others were refused just now."""

    encoder: Encoder
    refusals: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        refused = "; ".join(f"{name}: {reason}" for name, reason in self.refusals.items())
        return self.encoder.name + (f" (refused: {refused})" if refused else "")


class Encoders:
    """The encoders of this machine and what they have shown so far: a viewer who moves down waits neither for an encoder that was refused
    before nor for another proof of software. A stage that starts anew asks all of them again.
    """

    def __init__(self, configured: str) -> None:
        """`configured`: "auto" or an encoder's name, for H.264 only."""
        self.configured = configured
        self._refused: set[str] = set()
        self._proven: set[str] = set()

    def choose(self, codec: Codec, settings: EncoderSettings) -> Choice:
        """Tries what is configured, then software. EncoderFault if not even that works."""
        software = SOFTWARE[codec]
        candidates: tuple[str, ...] = ()
        if codec is Codec.H264 and self.configured != software:
            candidates = HARDWARE_ENCODERS if self.configured == "auto" else (self.configured,)
        refusals: dict[str, str] = {}
        for name in candidates:
            if name in self._refused:
                continue
            try:
                return Choice(prove(name, settings), refusals)
            except EncoderFault as fault:
                refusals[name] = str(fault)
                self._refused.add(name)
        # Hardware proves itself for every raster; what software does on demand does not depend on it.
        encoder = prove(software, settings, () if software in self._proven else PROOF)
        self._proven.add(software)
        return Choice(encoder, refusals)


def prove(name: str, settings: EncoderSettings, keyframes: Iterable[bool] = PROOF) -> Encoder:
    """Opens the encoder and encodes a frame for each of `keyframes`, which says whether it must be one. EncoderFault says what it did not do."""
    if name not in av.codecs_available:
        raise EncoderFault("not in this build of FFmpeg")
    octets = (ctypes.c_uint8 * settings.planar.frame_bytes)()
    ctypes.memset(octets, _GREY, len(octets))
    with _PROVING:
        # Caught here, what FFmpeg complains of first becomes the reason instead of lines on standard error.
        av.logging.set_level(av.logging.ERROR)
        try:
            with av.logging.Capture() as complaints:
                encoder = Encoder(name, settings)
                for keyframe in keyframes:
                    _check(name, encoder.encode(ctypes.addressof(octets), keyframe), keyframe)
        except EncoderFault as fault:
            raise EncoderFault(one_line(complaints[0][2]) if complaints else str(fault)) from fault
        finally:
            av.logging.set_level(None)
    return encoder


def _check(name: str, unit: av.Packet, keyframe: bool) -> None:
    if unit.is_keyframe != keyframe:
        raise EncoderFault("makes no keyframe on demand" if keyframe else "makes keyframes unasked")
    if keyframe and name != SOFTWARE[Codec.VP8] and not {_SPS, _PPS, _SLICE_IDR} <= _nal_types(bytes(unit)):
        raise EncoderFault("sends no parameter sets with its keyframes")


def _nal_types(unit: bytes) -> set[int]:
    """Types of the NAL units in an Annex B access unit."""
    return {part[0] & 0x1F for part in unit.split(b"\0\0\1")[1:] if part}
