"""ICE of one viewer where all viewers share a UDP port: it calls us, and a right check gives it a connected socket. Made by fanout.session.

We never check an address from which nothing came: an answer to that could reach any worker. Whoever is behind a NAT calls first anyway.
"""
from aioice.ice import StunProtocol
from aioice.stun import Message

from appliance.fanout.hooks.ice import ADDRESSES_MAX, IceAgent
from appliance.fanout.hooks.peer import Peer
from appliance.fanout.offer import RemoteCandidate
from appliance.fanout.one_port import ConnectedSocket, OnePort


class _StunFace(StunProtocol):
    """What aioice takes for a socket of one viewer. It ends when the agent closes; sockets are the port's to open and close."""

    def take_stun(self, data: bytes, address: tuple[str, int]) -> None:
        """Hands a datagram to the STUN parser."""
        super().datagram_received(data, address)

    def send_stun(self, message: Message, address: tuple[str, int]) -> None:
        """aioice sends its checks and answers by this."""
        self.transmit(bytes(message), address)


class SharedFace(_StunFace):
    """The shared socket of one of our addresses: checks come, answers go, and nothing else."""

    def __init__(self, agent: "OnePortAgent", port: OnePort, host: str) -> None:
        super().__init__(agent)
        self._port, self._host = port, host

    def transmit(self, data: bytes, address: tuple[str, int]) -> None:
        """Sends a datagram."""
        self._port.send(self._host, data, address)

    async def close(self) -> None:
        """The socket stays: it is everybody's."""


class ConnectedFace(_StunFace):
    """The viewer's own socket towards one of its addresses."""

    def __init__(self, agent: "OnePortAgent", connected: ConnectedSocket) -> None:
        super().__init__(agent)
        self.connected = connected

    def transmit(self, data: bytes, address: tuple[str, int]) -> None:
        """Sends a datagram; the socket knows where to."""
        self.connected.send(data)

    def fileno(self) -> int:
        """Descriptor of the socket."""
        return self.connected.fileno()

    async def close(self) -> None:
        """Closes the socket."""
        self.connected.close()


class OnePortAgent(IceAgent):
    """The ICE agent of one viewer on the shared port."""

    def __init__(self, port: OnePort, peer: Peer) -> None:
        self._port, self._fragment = port, port.admit(self._take)
        self._shared_faces: dict[str, SharedFace] = {}
        self._connected_faces: dict[tuple[str, tuple[str, int]], ConnectedFace] = {}
        super().__init__(port, peer, self._fragment)

    async def gather_candidates(self) -> None:
        """Offers the port on each of our addresses."""
        for host, number in self._port.places():
            self._shared_faces[host] = SharedFace(self, self._port, host)
            self.adopt(self._shared_faces[host], host, number)
        self._local_candidates_start = self._local_candidates_end = True

    async def offer_candidate(self, candidate: RemoteCandidate) -> None:
        """Passes over what the viewer says of its addresses: they show when it calls."""

    @property
    def media_path(self) -> tuple[int, tuple[str, int] | None]:
        """The connected socket: the kernel then looks up no route for every send."""
        return self.path[0], None

    def check_incoming(self, message: Message, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """aioice calls this with a check whose credentials were right: from here on that address has a socket of its own."""
        host = protocol.local_candidate.host
        face = self._connected_faces.get((host, addr))
        if face is None:
            if len(self._connected_faces) == ADDRESSES_MAX:
                return
            try:
                connected = self._port.connect(host, addr, self._fragment, self._lost)
            except OSError:
                return  # out of descriptors, or no route: the viewer checks again
            face = ConnectedFace(self, connected)
            face.local_candidate = protocol.local_candidate
            self._connected_faces[host, addr] = face
            self._protocols.append(face)
        super().check_incoming(message, addr, face)

    async def close(self) -> None:
        """Closes the viewer's sockets."""
        self._port.dismiss(self._fragment)
        await super().close()

    def _take(self, connected: ConnectedSocket | None, host: str, data: bytes, address: tuple[str, int]) -> None:
        """A datagram for this viewer, by whichever socket it came."""
        face = self._connected_faces.get((host, address)) if connected else self._shared_faces.get(host)
        if face is not None and not self._closing:
            self.sort(face, data, address)

    def _lost(self, connected: ConnectedSocket) -> None:
        """Another viewer calls from this address now: what we had there is over."""
        face = self._connected_faces.pop((connected.host, connected.remote))
        self._protocols.remove(face)
        self._answers.pop((face, connected.remote), None)
        connected.close()
        if self._selected is not None and self._selected.protocol is face:
            self._peer.path_lost()
