"""The rings as stages use them; the protocol is cext/kernels/ring.c, the memory is made by the supervisor."""
from cext.ring import EVERY, LATEST, Ring, RingReader, RingWriter, Slot

__all__ = ["EVERY", "LATEST", "Ring", "RingReader", "RingWriter", "Slot"]
