"""RTP packets that come by two paths (ST 2022-7), each once and in order: for flows of few packets, such as metadata. Video's are merged in C.

Datagrams in, datagrams out; no socket and no clock. A gap is held open for the other path, no longer than that may be late.
"""
from dataclasses import dataclass, field

HELD_PACKETS_MAX = 512
JUMP_PACKETS = 3_000
"""A step further than this is a sender that began anew, not a gap (RFC 3550 annex A.1)."""
SENDERS_MAX = 2
"""Senders that are told apart at once: the one that goes and the one that comes."""
_RTP_HEADER_BYTES = 12


@dataclass
class _Order:
    """Where one sender's packets have got to."""

    next: int
    held: dict[int, tuple[bytes, int]] = field(default_factory=dict)  # datagram and its arrival
    newest: dict[int, int] = field(default_factory=dict)


class PathMerge:
    """Merges two paths of one flow; `skew_ns`: how far they may be apart."""

    def __init__(self, skew_ns: int) -> None:
        self.skew_ns, self.redundant = skew_ns, 0
        self._orders: dict[bytes, _Order] = {}

    @property
    def holds(self) -> bool:
        """Whether something waits for the other path: then call tick() soon."""
        return any(order.held for order in self._orders.values())

    def receive(self, path: int, datagram: bytes, now_ns: int) -> list[bytes]:
        """The datagrams that go on because of this one, which came by the first path (0) or the second (1)."""
        if len(datagram) < _RTP_HEADER_BYTES:
            return [datagram]  # whoever reads it counts it
        sender, sequence = datagram[8:12], int.from_bytes(datagram[2:4], "big")
        order = self._orders.pop(sender, None)
        if order is None:
            order = _Order(sequence)
            while len(self._orders) >= SENDERS_MAX:
                self._orders.pop(next(iter(self._orders)))
        self._orders[sender] = order  # the newest sender stands last
        order.newest[path] = sequence
        ahead = _signed(sequence - order.next)
        if abs(ahead) > JUMP_PACKETS:
            released = self._release(order, order.next)
            order.next, order.newest = sequence, {path: sequence}
            order.held[sequence] = datagram, now_ns
            return released + self._drain(order)
        if ahead < 0 or sequence in order.held:
            self.redundant += 1
            return self._passed(order, now_ns)
        order.held[sequence] = datagram, now_ns
        return self._drain(order) + self._passed(order, now_ns)

    def tick(self, now_ns: int) -> list[bytes]:
        """The datagrams that have waited long enough."""
        return [datagram for order in list(self._orders.values()) for datagram in self._passed(order, now_ns)]

    def _drain(self, order: _Order) -> list[bytes]:
        released = []
        while order.next in order.held:
            released.append(order.held.pop(order.next)[0])
            order.next = order.next + 1 & 0xFFFF
        return released

    def _passed(self, order: _Order, now_ns: int) -> list[bytes]:
        """Gives a gap up once both paths have passed it, or the other one is too late."""
        released = []
        while order.held:
            first = min(order.held, key=lambda sequence: _signed(sequence - order.next))
            both = len(order.newest) == 2 and all(_signed(newest - order.next) > 0 for newest in order.newest.values())
            if not both and now_ns - order.held[first][1] <= self.skew_ns and len(order.held) <= HELD_PACKETS_MAX:
                break
            released += self._release(order, first)
        return released

    def _release(self, order: _Order, first: int) -> list[bytes]:
        order.next = first
        return self._drain(order)


def _signed(difference: int) -> int:
    return (difference + 0x8000 & 0xFFFF) - 0x8000
