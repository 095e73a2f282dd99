"""A flow's ways into the machine, one a path: a packet ring where that is possible, else, or from the moment that the ring is blind, a UDP socket.

Used by the ingest stage. The socket is there in either case: it holds the membership and the port, and beside a ring it refuses what the ring takes.
"""
import socket

from appliance.errors import ConfigurationError
from appliance.protocol.sdp import PATHS, VideoFlow
from appliance.runtime import packet_filter
from appliance.runtime.metrics import PACKET_RING, SOCKET
from appliance.runtime.multicast import SILENCE_NS_MAX, Membership, detach_filter, interface_index, open_receiver
from appliance.runtime.packet_socket import PacketSocket, RingUnavailable, open_packet_socket, ring_blocks
from appliance.runtime.timestamping import stamp_arrivals, stamps_by_hardware
from cext.reception import BLOCK_BYTES, Assembly, PacketRing, Reception, receive

# Half a second of 1280x720p50 as the kernel accounts for it: longer than the reader is ever kept from the processor.
RECEIVE_BUFFER_BYTES = 64 * 1024 * 1024
UDP_GRO = 104  # include/uapi/linux/udp.h; Python's socket module lacks it


class WayIn:
    """Datagrams of one leg of a flow into `assembly`, as that path's. `receive` is "auto", "packet-ring" or "socket"; `choice` says what runs and why, for the log.

    A ring is opened here or never: it takes CAP_NET_RAW, which a stage that works has given away. Raises ConfigurationError as open_receiver does, and if
    a ring was asked for that cannot be.
    """

    def __init__(self, flow: VideoFlow, interface: str, assembly: Assembly, receive: str, path: int, beside: str | None = None) -> None:
        """`beside`: who sends the other path to the same group, and is no stranger there."""
        self._beside = beside
        self.path, self._assembly, self._flow, self._interface = path, assembly, flow, interface
        self._index = interface_index(interface)
        self._packets, reason = self._try_ring() if receive != SOCKET else (None, "as configured")
        if self._packets is None and receive == PACKET_RING:
            raise ConfigurationError(f"reception of {flow.group}:{flow.port}", "a packet ring", f"none: {reason}", 'Set receive = "auto" of the stream.')
        try:
            program = packet_filter.socket_filter(flow, self._index) if self._packets else None
            self.receiver = open_receiver(flow, interface, RECEIVE_BUFFER_BYTES, program)
        except BaseException:
            self._close_ring()
            raise
        self._past: dict[str, int | dict[str, int]] = {}  # what backends counted that run no more
        self._membership = Membership(self.receiver, flow, interface)
        self._merging = True
        if self._packets:
            if self._packets.merged:
                merge_datagrams(self.receiver)  # refused whole: cheaper for the kernel than taken apart
            self.backend, self.choice = PACKET_RING, f"receiving by packet ring, {self.buffer_bytes >> 20} MiB"
            self.running: PacketRing | Reception = PacketRing(self._packets.socket.fileno(), self._packets.blocks, self._packets.merged, assembly, path)
        else:
            self._use_socket(reason)

    def close(self) -> None:
        """Ends reception and leaves the group."""
        self.running = None  # the ring's mapping ends before its socket
        self._close_ring()
        self.receiver.close()

    @property
    def buffer_bytes(self) -> int:
        """How much the kernel holds for us while we are kept from the processor."""
        if self._packets:
            return self._packets.blocks * BLOCK_BYTES
        return self.receiver.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2

    def statistics(self) -> dict:
        """Totals since the start: datagrams, buffers, batches, kernel_drops, hardware_merged; `refused` by reason, `stamped` by kind."""
        return _sum(self.running.statistics(), self._past)

    def keep(self, now_monotonic_ns: int) -> bool:
        """Call several times a second: renews the membership, and leaves a ring that hears nothing any more. True when the backend is another one now."""
        totals = self.statistics()
        self._membership.keep(totals["datagrams"], now_monotonic_ns)
        if totals["hardware_merged"] and self._merging:
            # The network card stamps each packet, and merging leaves one stamp for several.
            self._merging = False
            merge_datagrams(self.receiver, False)
        if self._packets is None:
            return False
        if self._membership.index != self._index:
            # A packet socket is bound to the interface that was; another would take the privilege that is given away.
            self._use_socket(f"{self._interface} was made anew; a restart of the stage brings the packet ring back")
            return True
        if self._heard_by_socket():
            self._use_socket(f"packets come that do not pass {self._interface} as Ethernet packets from outside, such as this machine's own")
            return True
        return False

    def _try_ring(self) -> tuple[PacketSocket | None, str]:
        try:
            return open_packet_socket(self._flow, self._index, ring_blocks(self._flow.format), self._beside), ""
        except RingUnavailable as error:
            return None, str(error)

    def _heard_by_socket(self) -> bool:
        try:
            self.receiver.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
        except BlockingIOError:
            return False
        return True

    def _use_socket(self, reason: str) -> None:
        if self._packets:
            self._past = _sum(self.running.statistics(), self._past)
            self.running = None
            self._close_ring()
            detach_filter(self.receiver)
        merge_datagrams(self.receiver, self._merging)
        stamp_arrivals(self.receiver, stamps_by_hardware(self._index))
        self.backend, self.choice = SOCKET, f"receiving by socket: {reason}"
        self.running = Reception(self.receiver.fileno(), self._assembly, self.path)

    def _close_ring(self) -> None:
        if self._packets:
            self._packets.socket.close()
        self._packets = None


class Intake:
    """Datagrams of `flow` into `assembly`, by each of its legs: the first on `interface`, the second on `second_interface` where it is another.

    `receive` and errors as WayIn has them. Of two legs one is enough to begin: the other is tried again, by socket, as long as it cannot be received.
    """

    def __init__(self, flow: VideoFlow, interface: str, assembly: Assembly, receive: str = "auto", second_interface: str | None = None) -> None:
        self.assembly = assembly
        self._legs = dict(enumerate(zip(flow.legs, (interface, second_interface or interface))))
        self._ways: dict[int, WayIn] = {}
        self._missing: dict[int, ConfigurationError] = {}
        self._tried_ns: int | None = None
        try:
            for path in self._legs:
                self._open(path, receive)
        except BaseException:
            self.__exit__()
            raise
        if not self._ways:
            raise ConfigurationError.of([problem for error in self._missing.values() for problem in error.problems])

    def __enter__(self) -> "Intake":
        return self

    def __exit__(self, *_: object) -> None:
        for way in self._ways.values():
            way.close()

    @property
    def ways(self) -> tuple[WayIn, ...]:
        """Those that are open, in the order of the paths."""
        return tuple(self._ways[path] for path in sorted(self._ways))

    @property
    def backends(self) -> frozenset[str]:
        """What receives."""
        return frozenset(way.backend for way in self.ways)

    @property
    def choice(self) -> str:
        """What runs and why, for the log."""
        if len(self._legs) == 1:
            return self.ways[0].choice
        told = {way.path: way.choice for way in self.ways} | {path: f"not received, trying again: {error}" for path, error in self._missing.items()}
        return "; ".join(f"path {PATHS[path]}: {told[path]}" for path in self._legs)

    @property
    def buffer_bytes(self) -> int:
        """The smallest buffer of its ways."""
        return min(way.buffer_bytes for way in self.ways)

    def run(self, duration_ns: int) -> None:
        """Receives for about so long, without the GIL. OSError if a socket fails."""
        receive([way.running for way in self.ways], duration_ns)

    def path_statistics(self) -> dict[int, dict]:
        """Totals of each path that is open."""
        return {path: way.statistics() for path, way in self._ways.items()}

    def statistics(self) -> dict:
        """Totals since the start, of all paths: datagrams, buffers, batches, kernel_drops, hardware_merged; `refused` by reason, `stamped` by kind."""
        total: dict = {}
        for totals in self.path_statistics().values():
            total = _sum(totals, total) | {name: count for name, count in total.items() if name not in totals}
        return total

    def keep(self, now_monotonic_ns: int) -> bool:
        """Call several times a second, as WayIn's. True when something is received in another way now."""
        changed = [way.keep(now_monotonic_ns) for way in self.ways]
        if self._missing and (self._tried_ns is None or now_monotonic_ns - self._tried_ns > SILENCE_NS_MAX):
            self._tried_ns = now_monotonic_ns
            changed += [self._open(path, SOCKET) for path in list(self._missing)]
        return any(changed)

    def _open(self, path: int, receive: str) -> bool:
        flow, interface = self._legs[path]
        beside = next((leg.source_address for other, (leg, _) in self._legs.items() if other != path and (leg.group, leg.port) == (flow.group, flow.port)), None)
        try:
            self._ways[path] = WayIn(flow, interface, self.assembly, receive, path, beside)
        except ConfigurationError as error:
            self._missing[path] = error
            return False
        self._missing.pop(path, None)
        return True


def merge_datagrams(receiver: socket.socket, merging: bool = True) -> None:
    """Lets the kernel hand over several datagrams of one size in one buffer (UDP_GRO, Linux 5.0), or not; an older kernel goes without."""
    try:
        receiver.setsockopt(socket.IPPROTO_UDP, UDP_GRO, int(merging))
    except OSError:
        return


def _sum(totals: dict, past: dict) -> dict:
    """Two statistics of backends added up, by name and by reason."""
    return {name: _sum(count, past.get(name, {})) if isinstance(count, dict) else count + past.get(name, 0) for name, count in totals.items()}
