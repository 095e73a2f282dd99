"""One codec through PyAV, set up so that a frame goes in and its access unit comes out at once.

Used by the encode stage and by choice. Invariant: nothing is kept back, and only what keyframe=True asked for is a keyframe.
"""
import ctypes
from dataclasses import dataclass
from fractions import Fraction

import av
import av.error
import numpy as np

from appliance.encode.signalling import Colour
from appliance.errors import ApplianceError
from appliance.frame import VBV_FRAMES, PlanarFormat

_INTRA = 1  # AV_PICTURE_TYPE_I
_NEVER = 65_535  # frames between keyframes: the schedule decides, not the codec; Intel's field for it has 16 bits

# Options of each encoder beyond rate and profile; the names are FFmpeg's (`ffmpeg -h encoder=...`).
_X264 = {"tune": "zerolatency", "forced-idr": "1", "aud": "0", "rc-lookahead": "0", "sc_threshold": "0"}
_VPX = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "error-resilient": "default", "auto-alt-ref": "0"}
_HARDWARE = {
    "h264_nvenc": {"preset": "p2", "tune": "ull", "zerolatency": "1", "delay": "0", "rc": "cbr", "forced-idr": "1", "no-scenecut": "1", "aud": "0"},
    "h264_qsv": {"preset": "veryfast", "async_depth": "1", "forced_idr": "1", "look_ahead": "0", "low_delay_brc": "1", "scenario": "livestreaming"},
    "h264_amf": {"usage": "ultralowlatency", "rc": "cbr", "forced_idr": "1", "header_insertion_mode": "idr", "aud": "0"},
    "h264_v4l2m2m": {},
}
HARDWARE_ENCODERS = tuple(_HARDWARE)
_PROFILES = {
    "libx264": {"constrained-baseline": "baseline", "high": "high"},  # x264's baseline has no FMO or ASO: it is the constrained one
    "h264_nvenc": {"constrained-baseline": "baseline", "high": "high"},
    "h264_qsv": {"constrained-baseline": "baseline", "high": "high"},
    "h264_amf": {"constrained-baseline": "constrained_baseline", "high": "high"},
    "h264_v4l2m2m": {"constrained-baseline": "66", "high": "100"},
}


@dataclass(frozen=True)
class EncoderSettings:
    """What an encoder is asked for. An odd last row or column is not coded: 4:2:0 has no half chroma sample."""

    planar: PlanarFormat
    rate: Fraction
    bitrate_bps: int
    profile: str = "constrained-baseline"
    preset: str = "superfast"
    threads: int = 1
    colour: Colour = Colour()

    @property
    def coded_width(self) -> int:
        """Columns that are coded: even."""
        return self.planar.width & ~1

    @property
    def coded_height(self) -> int:
        """Rows that are coded: even."""
        return self.planar.height & ~1

    @property
    def vbv_bits(self) -> int:
        """Size of the rate control's buffer."""
        return int(self.bitrate_bps / self.rate * VBV_FRAMES)


class EncoderFault(ApplianceError):
    """An encoder failed or kept a frame back; it must be opened anew."""


class Encoder:
    """An open encoder. EncoderFault if it cannot be opened."""

    def __init__(self, name: str, settings: EncoderSettings) -> None:
        self.name, self._settings = name, settings
        self.frames = 0  # taken so far
        try:
            self._context = _open(name, settings)
        except (av.error.FFmpegError, ValueError) as error:
            raise EncoderFault(_reason_of(error)) from error

    def encode(self, address: int, keyframe: bool) -> av.Packet:
        """The access unit of the planar frame at `address` (PlanarFormat.frame_bytes octets, only read, free afterwards).

        EncoderFault if the codec fails or does not give exactly one unit for the frame.
        """
        frame = av.VideoFrame.from_dlpack(_planes(address, self._settings), format="yuv420p")
        frame.pts = self.frames
        self.frames += 1
        if keyframe:
            frame.pict_type = _INTRA
        try:
            packets = self._context.encode(frame)
        except (av.error.FFmpegError, ValueError) as error:
            raise EncoderFault(_reason_of(error)) from error
        if len(packets) != 1:
            raise EncoderFault(f"gave {len(packets)} access units for a frame")
        return packets[0]


def one_line(text: str) -> str:
    """A message of FFmpeg, fit for the middle of a sentence."""
    return " ".join(text.split()).rstrip(".")


def _reason_of(error: Exception) -> str:
    return one_line(getattr(error, "strerror", None) or str(error))


def _open(name: str, settings: EncoderSettings) -> av.VideoCodecContext:
    context = av.CodecContext.create(name, "w")
    context.width, context.height = settings.coded_width, settings.coded_height
    # Every hardware encoder takes NV12, and converting gives it a picture of its own: it may hold on to it after encode().
    context.pix_fmt = "nv12" if name in _HARDWARE else "yuv420p"
    context.framerate = settings.rate
    context.time_base = 1 / settings.rate
    context.bit_rate = settings.bitrate_bps
    context.gop_size = _NEVER
    context.thread_count = settings.threads
    context.color_primaries, context.color_trc, context.colorspace, context.color_range = settings.colour.values()
    context.options = _options(name, settings)
    if name != "libvpx":
        context.max_b_frames = 0
    context.open()
    return context


def _options(name: str, settings: EncoderSettings) -> dict[str, str]:
    rate = {"maxrate": str(settings.bitrate_bps), "bufsize": str(settings.vbv_bits)}
    if name == "libvpx":
        return _VPX | rate | {"minrate": str(settings.bitrate_bps), "keyint_min": str(_NEVER)}
    profile = {"profile": _PROFILES[name][settings.profile]}
    if name == "libx264":
        # Slices would save time on several cores, but every slice is one more loss of prediction; one thread needs none.
        return _X264 | rate | profile | {"preset": settings.preset, "x264-params": f"sliced-threads={int(settings.threads > 1)}"}
    return _HARDWARE[name] | rate | profile


def _planes(address: int, settings: EncoderSettings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Y, U and V of a planar frame where it lies: nothing is copied."""
    planar, rows = settings.planar, settings.coded_height
    # A leased slot is read-only and NumPy lends no read-only memory through DLPack; the encoders only read it.
    octets = np.ctypeslib.as_array((ctypes.c_uint8 * planar.frame_bytes).from_address(address))
    luma = octets[: planar.u_offset].reshape(-1, planar.luma_stride)
    u = octets[planar.u_offset : planar.v_offset].reshape(-1, planar.chroma_stride)
    v = octets[planar.v_offset :].reshape(-1, planar.chroma_stride)
    columns = settings.coded_width
    return luma[:rows, :columns], u[: rows // 2, : columns // 2], v[: rows // 2, : columns // 2]
