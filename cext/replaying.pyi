from collections.abc import Sequence
from typing import NamedTuple

LEFT_OUT: tuple[str, ...]

class CapturedFlow(NamedTuple):
    address: str
    port: int
    packets: int
    octets: int

class Capture:
    flows: list[CapturedFlow]
    left_out: dict[str, int]
    broken: bool
    packets: int
    seconds: float
    sent: int
    refused: int
    late_ns_max: int
    def __init__(self, memory: object) -> None: ...
    def begin(self, descriptors: Sequence[int], speed: float = 1.0) -> None: ...
    def run(self, duration_ns: int) -> bool: ...
