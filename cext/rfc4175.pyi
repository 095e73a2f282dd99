from collections.abc import Buffer

Segment = tuple[int, bool, int, int, bool, int]

REASONS: tuple[str, ...]

def read(
    packet: Buffer, payload_type: int, width: int, height: int, pgroup_bytes: int, pgroup_columns: int = 2, pgroup_rows: int = 1, scan: str = "p"
) -> tuple[int, int, int, bool, list[Segment], bytes] | str: ...
