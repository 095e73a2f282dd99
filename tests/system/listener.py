"""A WHEP player on aiortc that keeps what it gets as RTP: packets of picture and sound, and the sender reports that say when they were captured."""
import asyncio
import ssl
import urllib.parse
import urllib.request
from dataclasses import dataclass, field

import aioice.ice
import av
import numpy as np
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.codecs import h264
from aiortc.rtp import RtcpSrPacket

RATES_HZ = {"video": 90_000, "audio": 48_000}


@dataclass
class Heard:
    """What came of one kind."""

    kind: str
    packets: list = field(default_factory=list)   # (sequence number, RTP timestamp, payload)
    reports: list = field(default_factory=list)   # (NTP seconds, RTP timestamp)

    def instant_s(self, timestamp: int) -> float:
        """When that timestamp was captured, in NTP seconds, as the newest sender report says."""
        ntp_s, reported = self.reports[-1]
        return ntp_s + ((timestamp - reported + 2**31) % 2**32 - 2**31) / RATES_HZ[self.kind]

    def in_order(self) -> list:
        """The packets by sequence number, which does not wrap within a test."""
        first = self.packets[0][0]
        return sorted(self.packets, key=lambda packet: (packet[0] - first + 2**15) % 2**16)


async def play(url: str, token: str, seconds: float) -> tuple[dict[str, Heard], str]:
    """What comes within `seconds` from the first packet of sound on, by kind, and the answer's SDP."""
    aioice.ice.get_host_addresses = lambda **_: ["127.0.0.1"]
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    heard = {kind: Heard(kind) for kind in RATES_HZ}
    for kind in heard:
        _listen(peer.addTransceiver(kind, direction="recvonly").receiver, heard[kind])
    await peer.setLocalDescription(await peer.createOffer())
    location, answer = await asyncio.to_thread(_post, url, token, peer.localDescription.sdp)
    await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    try:
        async with asyncio.timeout(seconds + 20):
            while not (heard["video"].reports and heard["audio"].reports):
                await asyncio.sleep(0.05)
            await asyncio.sleep(seconds)
    finally:
        await peer.close()
        await asyncio.to_thread(_request, "DELETE", location, token)
    return heard, answer


def _listen(receiver, heard: Heard) -> None:
    async def packet(packet, arrival_time_ms):
        heard.packets.append((packet.sequence_number, packet.timestamp, packet.payload))

    async def rtcp(packet):
        if isinstance(packet, RtcpSrPacket):
            heard.reports.append((packet.sender_info.ntp_timestamp / 2**32, packet.sender_info.rtp_timestamp))

    receiver._handle_rtp_packet, receiver._handle_rtcp_packet = packet, rtcp


def _request(method: str, url: str, token: str, body: bytes | None = None, **headers: str):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return urllib.request.urlopen(urllib.request.Request(url, body, headers | {"Authorization": f"Bearer {token}"}, method=method), timeout=10, context=context)


def _post(url: str, token: str, offer: str) -> tuple[str, str]:
    with _request("POST", url, token, offer.encode(), **{"Content-Type": "application/sdp"}) as answer:
        return urllib.parse.urljoin(url, answer.headers["Location"]), answer.read().decode()


def pictures(heard: Heard) -> list[tuple[int, np.ndarray]]:
    """(RTP timestamp, luma) of every decoded picture."""
    decoder, units = av.CodecContext.create("h264", "r"), {}
    for _, timestamp, payload in heard.in_order():
        if payload:
            units.setdefault(timestamp, bytearray()).extend(h264.h264_depayload(payload))
    found = []
    for timestamp, unit in units.items():
        packet = av.Packet(bytes(unit))
        packet.pts = timestamp
        found += [(frame.pts, frame.to_ndarray(format="gray")) for frame in decoder.decode(packet)]
    return found


def sides(heard: Heard) -> tuple[int, np.ndarray]:
    """RTP timestamp of the first sample, and the decoded samples (n x 2); packets that are missing are silence."""
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout = 48_000, "stereo"
    ordered = heard.in_order()
    first = ordered[0][1]
    sound = np.zeros((((ordered[-1][1] - first) % 2**32) + 480, 2))
    for _, timestamp, payload in ordered:
        for frame in decoder.decode(av.Packet(payload)):
            at = (timestamp - first) % 2**32
            sound[at:at + frame.samples] = frame.to_ndarray().reshape(-1, 2) / 32768
    return first, sound
