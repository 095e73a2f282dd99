"""ICE of one viewer, on aioice: its own sockets, datagrams sorted before they are parsed, and no waiting once a pair is nominated.

Made by fanout.session (one_port_ice.py: all viewers on one port). Sends and receives at once: no task and no queue for a datagram after the
handshake. What a browser checks again and again is answered here (protocol.stun, fanout.consent); aioice sees all that is news.
"""
import asyncio
import secrets
import time

from aioice.candidate import Candidate, candidate_foundation, candidate_priority
from aioice.ice import CandidatePair, Connection, StunProtocol
from aioice.stun import Message

from appliance.fanout.consent import Consent
from appliance.fanout.hooks.peer import Peer
from appliance.fanout.offer import RemoteCandidate
from appliance.fanout.ports import OwnPorts
from appliance.protocol.stun import Answers, Questions

COMPONENT = 1  # RTP and RTCP share it (rtcp-mux)

_FRAGMENT_BYTES, _PASSWORD_BYTES = 4, 16  # RFC 8445 section 5.3 asks for 24 and 128 random bits

# A viewer moves between networks now and then; whoever shows more addresses than this is not one.
ADDRESSES_MAX = 16
# Datagrams that may wait while the DTLS handshake is busy: a flight is four at most.
INBOX_DATAGRAMS_MAX = 32


class MediaSocket(StunProtocol):
    """A viewer's UDP socket on one of our addresses. Sorts datagrams by their first octet (RFC 7983) before anything parses them."""

    def datagram_received(self, data: bytes, addr: tuple) -> None:
        self.receiver.sort(self, data, (addr[0], addr[1]))

    def take_stun(self, data: bytes, address: tuple[str, int]) -> None:
        """Hands a datagram to the STUN parser."""
        super().datagram_received(data, address)

    def transmit(self, data: bytes, address: tuple[str, int]) -> None:
        """Sends a datagram."""
        self.transport.sendto(data, address)

    def fileno(self) -> int:
        """Descriptor of the socket."""
        return self.transport.get_extra_info("socket").fileno()


class IceAgent(Connection):
    """The ICE agent of one viewer: controlled, host candidates only, and quick to see that the viewer has nominated a pair.

    Also the `transport` of RTCDtlsTransport, which asks of one no more than _recv, _send and role.
    """

    role = "controlled"

    def __init__(self, ports: OwnPorts, peer: Peer, fragment: str | None = None) -> None:
        # aioice would ask the system for each character's randomness: a quarter of a millisecond a viewer.
        super().__init__(ice_controlling=False, local_username=fragment or secrets.token_hex(_FRAGMENT_BYTES),
                         local_password=secrets.token_hex(_PASSWORD_BYTES))
        self._ports, self._peer = ports, peer
        self._known: set[tuple[str, int]] = set()
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue(INBOX_DATAGRAMS_MAX + 1)
        self._selected: CandidatePair | None = None
        self._answers: dict[tuple[StunProtocol, tuple[str, int]], Answers] = {}
        self._consent: Consent | None = None
        self.on_datagram = self._keep

    async def gather_candidates(self) -> None:
        """Opens a socket on each address, without aioice's own look at every interface for every viewer."""
        for address in self._ports.addresses.now():
            try:
                opened = self._ports.open(address)
            except OSError:
                continue  # an address that is gone for the moment, or without a free port; the others serve
            host, port = opened.getsockname()[:2]
            _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(lambda: MediaSocket(self), sock=opened)
            self.adopt(protocol, host, port)
        self._local_candidates_start = self._local_candidates_end = True

    def adopt(self, protocol: StunProtocol, host: str, port: int) -> None:
        """Offers the viewer a socket of ours, as a host candidate (RFC 8445 section 5.1.1)."""
        protocol.local_candidate = Candidate(candidate_foundation("host", "udp", host), COMPONENT, "udp", candidate_priority(COMPONENT, "host"),
                                             host, port, "host")
        self._protocols.append(protocol)
        self._local_candidates.append(protocol.local_candidate)

    async def offer_candidate(self, candidate: RemoteCandidate) -> None:
        """Adds an address that the viewer says it has."""
        await self.add_remote_candidate(Candidate(candidate.foundation, COMPONENT, "udp", candidate.priority, candidate.host, candidate.port,
                                                  candidate.kind))

    def sort(self, socket: MediaSocket, data: bytes, address: tuple[str, int]) -> None:
        """A datagram came: STUN from anybody, DTLS and SRTCP only from where a check with our password came from."""
        first = data[0] if data else 0xFF
        if first < 4:
            try:
                if not self._settled(socket, data, address):
                    socket.take_stun(data, address)
            except Exception:  # aioice lets struct.error, KeyError and others out on attributes that lie; the port is open to all
                self._peer.malformed("stun")
        elif address in self._known and (20 <= first < 64 or 128 <= first < 192):
            self.on_datagram(data)
        else:
            self._peer.malformed("stranger")

    def data_received(self, data: bytes, component: int) -> None:
        """aioice calls this with what looked like STUN and was not."""
        self._peer.malformed("stun")

    def check_incoming(self, message: Message, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """aioice calls this with a check whose credentials were right."""
        if addr not in self._known:
            if len(self._known) == ADDRESSES_MAX:
                return
            self._known.add(addr)
        super().check_incoming(message, addr, protocol)

    def check_complete(self, pair: CandidatePair) -> None:
        """aioice calls this when a pair succeeded, failed or was nominated: the moment to see which pair carries data now."""
        super().check_complete(pair)
        if pair.state == CandidatePair.State.SUCCEEDED:
            username = f"{self.local_username}:{self.remote_username}"
            self._answers[pair.protocol, pair.remote_addr] = Answers(username, self.local_password, pair.remote_addr)
        nominated = self._nominated.get(COMPONENT)
        if nominated is not None and nominated is not self._selected:
            self._selected = nominated
            questions = Questions(f"{self.remote_username}:{self.local_username}", self.remote_password, candidate_priority(COMPONENT, "prflx"),
                                  self._tie_breaker, self.ice_controlling)
            self._consent = Consent(questions, time.monotonic())
            self._peer.path_selected()

    async def query_consent(self) -> None:
        """aioice starts this as a task for each viewer; turn() does it for less."""

    def turn(self, now_s: float) -> None:
        """Call once a second: asks for the viewer's consent when that is due; path_lost() if it has expired."""
        if self._consent is None or self._closing:
            return
        if self._consent.expired(now_s):
            self._consent = None
            self._peer.path_lost()
            return
        request = self._consent.turn()
        if request is not None:
            self.transmit(request)

    async def close(self) -> None:
        """Closes the sockets."""
        await super().close()
        self.end()
        self._peer.path_lost()

    @property
    def path(self) -> tuple[int, tuple[str, int]]:
        """Descriptor of the socket and address of the viewer on the selected pair."""
        assert self._selected is not None
        return self._selected.protocol.fileno(), self._selected.remote_addr

    @property
    def media_path(self) -> tuple[int, tuple[str, int] | None]:
        """The same for media; None in place of the address where the socket is connected to it."""
        return self.path

    def transmit(self, data: bytes) -> None:
        """Sends a datagram on the selected pair; ConnectionError without one."""
        if self._selected is None or self._closing:
            raise ConnectionError("no path to the viewer")
        self._selected.protocol.transmit(data, self._selected.remote_addr)

    def end(self) -> None:
        """Wakes whoever waits for a datagram, with the news that none will come."""
        if not self._inbox.full():
            self._inbox.put_nowait(None)

    def waiting(self) -> list[bytes]:
        """Takes the datagrams that nobody has read yet."""
        return [data for data in (self._inbox.get_nowait() for _ in range(self._inbox.qsize())) if data]

    def _settled(self, socket: MediaSocket, data: bytes, address: tuple[str, int]) -> bool:
        """Whether a STUN datagram was an answer to a request for consent, or a plain check on a pair that is known to work, answered now."""
        if data[0]:
            return self._consent is not None and socket is self._selected.protocol and self._consent.hear(data, time.monotonic())
        answers = self._answers.get((socket, address))
        if answers is None or self._closing or self.ice_controlling:
            return False
        selected = self._selected is not None and socket is self._selected.protocol and address == self._selected.remote_addr
        response = answers.answer(data, selected)
        if response is None:
            return False
        socket.transmit(response, address)
        return True

    def _keep(self, data: bytes) -> None:
        if self._inbox.qsize() < INBOX_DATAGRAMS_MAX:
            self._inbox.put_nowait(data)

    async def _recv(self) -> bytes:
        data = await self._inbox.get()
        if data is None:
            raise ConnectionError("the path to the viewer is closed")
        return data

    async def _send(self, data: bytes) -> None:
        self.transmit(data)
