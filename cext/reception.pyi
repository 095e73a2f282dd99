from collections.abc import Buffer

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
    ) -> None: ...
    def packet(self, packet: Buffer, tai_ns: int, monotonic_ns: int, kind: str = "kernel") -> None: ...
    def tick(self, monotonic_ns: int) -> None: ...
    def statistics(self) -> dict[str, int | dict[str, int]]: ...
    def flag_frames(self, flags: int) -> None: ...
    def take_latencies_ns(self) -> list[int]: ...

class Reception:
    assembly: Assembly
    def __init__(self, fd: int, assembly: Assembly) -> None: ...
    def run(self, duration_ns: int) -> None: ...
    def statistics(self) -> dict[str, int | dict[str, int]]: ...

class PacketRing:
    assembly: Assembly
    def __init__(self, fd: int, blocks: int, merged: bool, assembly: Assembly) -> None: ...
    def run(self, duration_ns: int) -> None: ...
    def statistics(self) -> dict[str, int | dict[str, int]]: ...
