"""PCM sound over RTP (RFC 3190, ST 2110-30): payloads from samples and samples from payloads, the readable twin of cext/kernels/pcm.c.

The synthetic source writes, tests read. Keeps no state: who is followed, and what is lost, the tape decides.
"""
from collections.abc import Sequence

import numpy as np

from appliance.errors import ProtocolError

REASONS = ("truncated", "version", "payload_type", "extension", "padding", "length", "ssrc", "sequence", "timestamp", "samples")
"""Why a packet is not used, as cext/kernels/pcm.h orders them."""
TICKS_MAX = 2048
"""Samples of each channel in one packet."""
DEPTHS = (16, 24)


def write(samples: np.ndarray, depth: int) -> bytes:
    """The payload of samples (ticks x channels, full scale is 1): big-endian, interleaved, most significant octets first."""
    full = 1 << depth - 1
    values = np.clip(np.rint(samples * full), -full, full - 1).astype(">i4")
    return np.ascontiguousarray(values.view(np.uint8).reshape(*samples.shape, 4)[:, :, 4 - depth // 8:]).tobytes()


def read(payload: bytes, depth: int, channels: int) -> np.ndarray:
    """Samples (ticks x channels, full scale is 1) of a payload. ProtocolError("length") if it is none of whole samples."""
    tick_bytes = channels * depth // 8
    ticks, rest = divmod(len(payload), tick_bytes)
    if rest or not 0 < ticks <= TICKS_MAX:
        raise ProtocolError("length", f"{len(payload)} octets are not 1 to {TICKS_MAX} samples of {channels} channels of {depth} bit")
    octets = np.zeros((ticks, channels, 4), np.uint8)
    octets[:, :, :depth // 8] = np.frombuffer(payload, np.uint8).reshape(ticks, channels, depth // 8)
    return (octets.reshape(-1).view(">i4").astype(np.float64) / 2**31).reshape(ticks, channels)


def mix(samples: np.ndarray, gains: Sequence[tuple[float, float]]) -> np.ndarray:
    """Samples (ticks x channels) as left and right (ticks x 2)."""
    return samples @ np.asarray(gains)
