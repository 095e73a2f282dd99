"""Opus from frames of two sides, by libopus through PyAV. Used by the sound stage."""
from fractions import Fraction

import av
import numpy as np

from appliance.sound.timeline import FRAME_NS, FRAME_SAMPLES, RATE_HZ

BITRATE_BPS = 96_000
LOOKAHEAD_SAMPLES = 120
"""What a decoder gives out for a frame begins so much before the frame: Opus without SILK looks 2.5 ms ahead (RFC 6716 section 2.1.3)."""
# No in-band FEC and no DTX: both belong to SILK, which looks 6.5 ms ahead and does not code music or alarms well. A lost packet is 10 ms that
# the browser conceals; in silence the packets have a few octets.
_OPTIONS = {"application": "lowdelay", "frame_duration": str(FRAME_NS // 1_000_000), "vbr": "constrained"}


class OpusEncoder:
    """One encoder: frames in, packets out, each of its own frame."""

    def __init__(self) -> None:
        self._codec = av.CodecContext.create("libopus", "w")
        self._codec.sample_rate, self._codec.layout, self._codec.format = RATE_HZ, "stereo", "flt"
        self._codec.bit_rate, self._codec.options = BITRATE_BPS, _OPTIONS
        self._codec.time_base = Fraction(1, RATE_HZ)
        self._pts = 0
        self._codec.open()

    def encode(self, sides: np.ndarray) -> bytes:
        """The packet of FRAME_SAMPLES x 2 samples (float32, full scale is 1)."""
        frame = av.AudioFrame.from_ndarray(sides.reshape(1, -1), format="flt", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, self._pts, self._codec.time_base
        self._pts += FRAME_SAMPLES
        [packet] = self._codec.encode(frame)
        return bytes(packet)
