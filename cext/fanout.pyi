from collections.abc import Sequence
from typing import NamedTuple

from cext.ring import RingReader

SEGMENTED: int
BATCHED: int
SINGLY: int
LATENCY_BOUNDS_NS: tuple[int, ...]
SKEW_BOUNDS_NS: tuple[int, ...]

class ViewerStats(NamedTuple):
    packets: int
    octets: int
    last_rtp_timestamp: int
    last_capture_tai_ns: int
    first_sequence: int
    last_sequence: int
    skips: int
    waiting_keyframe: bool
    resends: int
    resends_refused: int
    send_errors: int
    send_way: int
    first_send_monotonic_ns: int
    rendition: int

class RenditionStats(NamedTuple):
    units: int
    gaps: int
    units_refused: int
    packets_made: int
    packets: int
    octets: int
    send_calls: int
    send_errors: int
    eagains: int
    gso_fallbacks: int
    skips: int
    resends: int
    resends_refused: int
    keyframes_wanted: int
    packetise_ns: int
    encrypt_ns: int
    send_ns: int
    skew_sum_ns: int
    skew_max_ns: int
    latency_sum_ns: int
    viewers: int
    latency_buckets: tuple[int, ...]
    skew_buckets: tuple[int, ...]

class Fanout:
    keyframe_fd: int
    def __init__(self, renditions_max: int = 16, viewers_max: int = 1024, *,
                 latency_bounds_ns: Sequence[int] = ..., skew_bounds_ns: Sequence[int] = ..., send_way: int = ...) -> None: ...
    def add_rendition(self, reader: RingReader, codec: bytes, ssrc: int) -> int: ...
    def set_ring(self, rendition: int, reader: RingReader | None) -> None: ...
    def remove_rendition(self, rendition: int) -> None: ...
    def add_viewer(self, rendition: int, fd: int, remote: tuple[str, int] | None, profile: int, key: bytes, salt: bytes, payload_type: int,
                   playout_delay_id: int = 0, playout_delay: tuple[int, int] = (0, 0), mid_id: int = 0, mid: bytes = b"",
                   abs_send_time_id: int = 0, bits_per_s: int = 0, timestamp_shift: int = 0) -> int: ...
    def remove_viewer(self, viewer: int) -> None: ...
    def redirect_viewer(self, viewer: int, fd: int, remote: tuple[str, int] | None) -> None: ...
    def move_viewer(self, viewer: int, rendition: int, pause: bool = False) -> None: ...
    def skip_viewer(self, viewer: int) -> None: ...
    def nack(self, viewer: int, sequence_numbers: Sequence[int]) -> int: ...
    def run(self) -> None: ...
    def stop(self) -> None: ...
    def viewer_stats(self, viewer: int) -> ViewerStats: ...
    def rendition_stats(self, rendition: int) -> RenditionStats: ...
    def take_keyframe_wanted(self, rendition: int) -> int: ...
