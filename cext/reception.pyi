from collections.abc import Buffer
from typing import Any

from cext.ring import RingWriter

BLOCK_BYTES: int
BLOCK_TIMEOUT_MS: int
STAMP_KINDS: tuple[str, ...]

class Assembly:
    writer: RingWriter
    def __init__(
        self,
        writer: RingWriter,
        *,
        width: int,
        height: int,
        pgroup_bytes: int,
        pgroup_columns: int,
        pgroup_rows: int,
        scan: str,
        payload_type: int,
        neutral_pgroup: bytes,
        rate_hz: int = 90000,
        mediaclk_offset: int = 0,
        frame_interval_ns: int = 0,
        second_payload_type: int | None = None,
        second_ssrc_difference: int = 0,
        skew_ns: int = 0,
        frames_open: int = 2,
    ) -> None: ...
    def packet(self, packet: Buffer, tai_ns: int, monotonic_ns: int, kind: str = "kernel", path: int = 0) -> None: ...
    def tick(self, monotonic_ns: int) -> None: ...
    @property
    def path_count(self) -> int: ...
    def statistics(self) -> dict[str, Any]: ...
    def take_skews_ns(self) -> list[int]: ...
    transit_ns: int
    def measure(self, schedule: object) -> None: ...
    def take_timing(self, path: int = 0) -> dict[str, object]: ...
    def believe(self, early_ns_max: int, late_ns_max: int) -> None: ...
    def flag_frames(self, flags: int) -> None: ...
    def take_latencies_ns(self) -> list[int]: ...

class Inlet:
    assembly: Assembly
    def run(self, duration_ns: int) -> None: ...
    def statistics(self) -> dict[str, int | dict[str, int]]: ...

def receive(inlets: list[Inlet], duration_ns: int) -> None: ...

class Reception(Inlet):
    def __init__(self, fd: int, assembly: Assembly, path: int = 0) -> None: ...

class PacketRing(Inlet):
    def __init__(self, fd: int, blocks: int, merged: bool, assembly: Assembly, path: int = 0) -> None: ...
