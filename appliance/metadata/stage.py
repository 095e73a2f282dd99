"""The metadata stage: every metadata flow of a stream, from sockets and WebSockets, each to a relay of its own.

Started as `stage metadata.STREAM`. The first flow describes the picture, the others its sound or what belongs together. Waits for all at once;
decides nothing about a grain.
"""
import selectors
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from appliance import clock
from appliance.errors import ConfigurationError
from appliance.frame import Audience
from appliance.metadata.relay import MetadataRelay
from appliance.protocol.duplication import PathMerge
from appliance.protocol.sdp import MetadataFlow
from appliance.runtime.belief import Belief
from appliance.runtime.counters import Counters
from appliance.runtime.log import GoodNews, tell
from appliance.runtime.multicast import Membership, open_receiver
from appliance.runtime.stage import Stage
from appliance.runtime.websocket import WebSocketReceiver

RECEIVE_BUFFER_BYTES = 256 * 1024
"""Two seconds of grains."""
DATAGRAM_BYTES_MAX = 65_536
WAIT_S = 0.25
MERGE_WAIT_S = 0.005
"""While a packet waits for the other path."""


def run(stage: Stage) -> None:
    """Receives until told to stop."""
    stream = stage.stream.name
    flows = stage.flows[stream].metadata
    writers = {audience: [writer for name, writer in stage.writers.items() if name.startswith(f"records.{stream}.{audience.value}.")]
               for audience in Audience}
    class_clock = stage.clock_of(stream, Audience.CLASS)
    relays = [MetadataRelay(flow, writers, stage.counters, class_clock, of_picture=flow is flows[0]) for flow in flows]
    belief = Belief(stage.counters, stream, stage.flows[stream].video.format.frame_ns)
    concord = Concord(relays, stage.counters)
    with ExitStack() as opened, selectors.DefaultSelector() as selector:
        entrances = [entrance for relay in relays for entrance in _enter(relay, stage, opened)]
        for entrance in entrances:
            selector.register(entrance.socket, selectors.EVENT_READ, entrance)
        stage.ready()
        while stage.running():
            wait_s = MERGE_WAIT_S if any(entrance.merge.holds for entrance in entrances if entrance.merge) else WAIT_S
            for key, _ in selector.select(wait_s):
                for datagram in key.data.waiting():
                    key.data.relay.receive(datagram, clock.tai_ns())
            if belief.changed():
                for relay in relays:
                    relay.window_ns = belief.window_ns
            now_ns = clock.monotonic_ns()
            for entrance in entrances:
                entrance.keep(now_ns)
            if remark := concord.tick(now_ns):
                tell(stage.log, [remark])


class Entrance:
    """Where one flow comes in, or one of its two paths: a socket and what keeps it open. Both paths share their `merge`."""

    def __init__(self, relay: MetadataRelay, entrance: socket.socket, membership: Membership | None = None, path: int = 0,
                 merge: PathMerge | None = None) -> None:
        self.relay, self.socket, self._membership = relay, entrance, membership
        self._path, self.merge, self._datagrams = path, merge, 0
        self.socket.setblocking(False)

    def waiting(self) -> Iterator[bytes]:
        """The datagrams that are there; those of two paths each once and in order."""
        while True:
            try:
                datagram = self.socket.recv(DATAGRAM_BYTES_MAX)
            except BlockingIOError:
                return
            self._datagrams += 1
            if self.merge is None:
                yield datagram
            else:
                yield from self.merge.receive(self._path, datagram, clock.monotonic_ns())

    def keep(self, now_monotonic_ns: int) -> None:
        """Call several times a second."""
        if self._membership is not None:
            self._membership.keep(self._datagrams, now_monotonic_ns)
        for datagram in self.merge.tick(now_monotonic_ns) if self.merge else ():
            self.relay.receive(datagram, clock.tai_ns())


def _enter(relay: MetadataRelay, stage: Stage, opened: ExitStack) -> list[Entrance]:
    flow: MetadataFlow = relay.flow
    for note in flow.notes:
        stage.log.warning("%s: %s", flow.title or flow.place, note)
    if flow.url is not None:
        receiver = WebSocketReceiver(flow.url, stage.stream.metadata_authority)
        opened.callback(receiver.close)
        relay.connection = receiver
        return [Entrance(relay, receiver.socket)]
    merge = PathMerge(stage.stream.path_skew_ms * 1_000_000) if flow.second else None
    entrances, refused = [], []
    for path, leg in enumerate(flow.legs):
        interface = stage.stream.interface_of(path)
        try:
            plain = opened.enter_context(open_receiver(leg, interface, RECEIVE_BUFFER_BYTES))
        except ConfigurationError as error:
            refused.append(error)  # of two paths one is enough
            continue
        entrances.append(Entrance(relay, plain, Membership(plain, leg, interface), path, merge))
    if not entrances:
        raise refused[0]
    for error in refused:
        stage.log.warning("one path of the metadata is not received until the stage restarts: %s", error)
    return entrances


class Concord:
    """What the flows of a stream say together: which of them are silent, and whether they name one patient."""

    def __init__(self, relays: Sequence[MetadataRelay], counters: Counters) -> None:
        self._relays, self._silent = relays, counters.gauge("appliance_metadata_flows_silent")
        self._conflict = counters.gauge("appliance_metadata_subject_conflict")
        self._conflicting = False

    def tick(self, now_monotonic_ns: int) -> str:
        """Brings counters and gauges up to date; a sentence for the log when the flows begin or cease to contradict each other, else ""."""
        for relay in self._relays:
            relay.tick(now_monotonic_ns)
        self._silent.set(sum(relay.silent for relay in self._relays))
        conflicting = len({relay.subject for relay in self._relays if relay.subject is not None and not relay.silent}) > 1
        changed, self._conflicting = conflicting != self._conflicting, conflicting
        self._conflict.set(int(conflicting))
        if not changed:
            return ""
        return ("the metadata flows of this stream name different patients or studies; the picture's own is shown" if conflicting
                else GoodNews("the metadata flows of this stream name one patient again"))
