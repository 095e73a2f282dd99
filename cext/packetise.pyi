PAYLOAD_MAX: int
PACKETS_MAX: int

def packetise(codec: bytes, unit: bytes, payload_bytes_max: int = ...) -> tuple[list[bytes], list[bool]]: ...
