"""A viewer built on aiortc, which shares no code with what it tests beyond the library: joins through the control socket, receives, reports."""
import asyncio
import time
from dataclasses import dataclass, field

import aiohttp
import aioice.ice
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtp import is_rtcp

LIMIT_S = 10.0


@dataclass
class Packet:
    """An RTP packet as it came."""

    sequence_number: int
    timestamp: int
    ssrc: int
    marker: int
    payload_type: int
    at_s: float = field(default_factory=time.monotonic)


class Control:
    """The gateway's place at the worker's control socket. Use as an async context manager."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def __aenter__(self) -> "Control":
        self._client = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=self._path))
        return self

    async def __aexit__(self, *_) -> None:
        await self._client.close()

    async def ask(self, method: str, path: str, json=None, data=None) -> tuple[int, dict]:
        """Status and JSON body of a request."""
        async with self._client.request(method, "http://fanout" + path, json=json, data=data) as response:
            return response.status, await response.json() if response.content_type == "application/json" else {}

    async def viewers(self) -> int:
        """Sessions that the worker has."""
        return (await self.ask("GET", "/sessions"))[1]["viewers"]


class Viewer:
    """One peer connection with a data channel and a receiving video transceiver."""

    def __init__(self, control: Control, session: str, audience: str = "expert", label: str = "metadata", codec: str | None = None,
                 lifetime_s: float = 3600) -> None:
        # aioice leaves loopback out of the addresses that it offers; here there is nothing else.
        aioice.ice.get_host_addresses = lambda **_: ["127.0.0.1"]
        self.session, self.audience, self._control, self._lifetime_s = session, audience, control, lifetime_s
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self.transceiver = self.peer.addTransceiver("video", direction="recvonly")
        if codec:
            self.transceiver.setCodecPreferences([c for c in self.transceiver.receiver.getCapabilities("video").codecs if c.name == codec])
        self.channel = self.peer.createDataChannel(label, ordered=False, maxRetransmits=0)
        self.messages: list[bytes] = []
        self.channel.on("message", self.messages.append)
        self.packets: list[Packet] = []
        self.reports: list = []
        self.lose = lambda sequence_number: False  # on the wire: what was decrypted once is a replay when it comes again
        self._listen()

    def _listen(self) -> None:
        receiver = self.transceiver.receiver
        take_packet, take_rtcp = receiver._handle_rtp_packet, receiver._handle_rtcp_packet

        async def packet(packet, arrival_time_ms):
            self.packets.append(Packet(packet.sequence_number, packet.timestamp, packet.ssrc, packet.marker, packet.payload_type))
            await take_packet(packet, arrival_time_ms)

        async def rtcp(packet):
            self.reports.append(packet)
            await take_rtcp(packet)

        async def datagram():
            while True:
                data = await take_datagram()
                if not 128 <= data[0] < 192 or is_rtcp(data) or not self.lose(int.from_bytes(data[2:4], "big")):
                    return data

        ice = receiver.transport.transport
        take_datagram = ice._recv
        receiver._handle_rtp_packet, receiver._handle_rtcp_packet, ice._recv = packet, rtcp, datagram

    async def offer(self) -> str:
        """The SDP of this viewer's offer."""
        await self.peer.setLocalDescription(await self.peer.createOffer())
        return self.peer.localDescription.sdp

    async def join(self, change=lambda sdp: sdp) -> "Viewer":
        """Posts the offer, as `change` alters it, and takes the answer."""
        request = {"stream": "scope", "audience": self.audience, "expires_s": int(time.time() + self._lifetime_s),
                   "sdp": change(await self.offer()), "session": self.session}
        status, body = await self._control.ask("POST", "/sessions", json=request)
        assert status == 201, body
        self.answer = body["sdp"]
        await self.peer.setRemoteDescription(RTCSessionDescription(body["sdp"], "answer"))
        return self

    async def watching(self) -> "Viewer":
        """Waits for the first packet and for the open channel."""
        await until(lambda: self.packets and self.channel.readyState == "open")
        return self

    async def leave(self) -> None:
        """Closes the peer connection, as a page that goes away does."""
        await self.peer.close()


async def until(happened, limit_s: float = LIMIT_S) -> None:
    """Waits for something that the other process brings about."""
    deadline = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)
