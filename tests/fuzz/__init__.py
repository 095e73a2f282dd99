"""Every parser that reads what strangers send, with input that is nearly right. `make fuzz` gives each ten times as much of it."""
import os


def scale() -> int:
    """How many times the tests' amount of input to try."""
    return int(os.environ.get("FUZZ_SCALE", "1"))
