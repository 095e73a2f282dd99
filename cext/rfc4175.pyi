from collections.abc import Buffer

Segment = tuple[int, bool, int, int, bool]

REASONS: tuple[str, ...]

def read(
    packet: Buffer, payload_type: int, width: int, height: int, pgroup_bytes: int, pgroup_pixels: int = 2
) -> tuple[int, int, int, bool, list[Segment], bytes] | str: ...
