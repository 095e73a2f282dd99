"""A class that starts, for the row "joins": viewers that watch already, then many that join within seconds.

    joinload.py URL TOKEN WATCHING JOINING SPREAD_S PID[,PID..]

Watching viewers drop RTP in the kernel, but for the first, whose packets keep the kernel's arrival times. Prints "watching", waits for a
line, lets the others join, prints one line of JSON.
"""
import asyncio
import ctypes
import json
import os
import socket
import ssl
import struct
import sys
import threading
import time
from pathlib import Path

import aioice.ice
import aiohttp
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.rtp import is_rtcp

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.bench.process import cpu_s, percentile  # noqa: E402

CONNECT_LIMIT_S, TRIES_MAX = 20, 5
STAGGER_S = 0.04  # between two of those who only have to be there
SO_ATTACH_FILTER, SO_DETACH_FILTER, SO_TIMESTAMPNS = 26, 27, 35
# Behind the 8 octets of the UDP header: STUN and DTLS (first octet < 128) and RTCP (second 192..223) pass, RTP does not.
DROP_RTP = ((0x30, 0, 0, 8), (0x35, 0, 3, 128), (0x30, 0, 0, 9), (0x35, 0, 2, 192), (0x35, 1, 0, 224), (0x06, 0, 0, 65535), (0x06, 0, 0, 0))


class Viewer:
    """One load viewer."""

    def __init__(self, http, url, token):
        self._http, self._url, self._token = http, url, token
        self.refused = 0
        self.posted_s = self.first_packet_s = self.keyframe_s = None
        self._first_timestamp = None
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self.transceiver = self.peer.addTransceiver("video", direction="recvonly")
        self.transceiver.setCodecPreferences([codec for codec in RTCRtpReceiver.getCapabilities("video").codecs if codec.mimeType == "video/H264"])
        ice = self.transceiver.receiver.transport.transport
        self._take, ice._recv = ice._recv, self._datagram

    async def join(self):
        """From the offer to the first whole keyframe."""
        await self.peer.setLocalDescription(await self.peer.createOffer())
        headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {self._token}"}
        for _ in range(TRIES_MAX):
            self.posted_s = time.monotonic()
            async with self._http.post(self._url, data=self.peer.localDescription.sdp, headers=headers) as response:
                answer = await response.text()
                if response.status == 201:
                    break
                self.refused += 1
                await asyncio.sleep(float(response.headers.get("Retry-After", 1)))
        else:
            raise RuntimeError(f"{response.status} {answer[:200]}")
        await self.peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        async with asyncio.timeout(CONNECT_LIMIT_S):
            while self.keyframe_s is None:
                await asyncio.sleep(0.005)

    async def _datagram(self):
        """Everything but RTP, which nobody here decodes; notes when the first of it came."""
        while True:
            data = await self._take()
            if not 128 <= data[0] < 192 or is_rtcp(data):
                return data
            if self.keyframe_s is None:
                self._note(data, time.monotonic())

    def _note(self, packet, now_s):
        if self._first_timestamp is None:
            self.first_packet_s, self._first_timestamp = now_s, packet[4:8]
        if packet[1] & 0x80 and packet[4:8] == self._first_timestamp:  # the marker ends the first picture, which is a keyframe
            self.keyframe_s = now_s
            drop_rtp(self.socket)

    @property
    def protocol(self):
        [pair] = self.transceiver.receiver.transport.transport._connection._nominated.values()
        return pair.protocol

    @property
    def socket(self):
        return self.protocol.transport.get_extra_info("socket")


def drop_rtp(transport_socket):
    program = b"".join(struct.pack("HBBI", *step) for step in DROP_RTP)
    kept = ctypes.create_string_buffer(program)
    transport_socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(DROP_RTP), ctypes.addressof(kept)))


class Witness(threading.Thread):
    """Takes a viewer's socket over: notes when the kernel got each RTP packet, whatever this process was doing, and gives the rest back."""

    def __init__(self, viewer, loop):
        super().__init__(daemon=True)
        self._protocol, self._loop = viewer.protocol, loop
        self._socket = socket.socket(fileno=os.dup(viewer.socket.fileno()))
        loop._remove_reader(viewer.socket.fileno())
        self._socket.setblocking(True)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.arrivals_s = []

    def run(self):
        while True:
            data, control, _, address = self._socket.recvmsg(2048, 64)
            if 128 <= data[0] < 192 and not is_rtcp(data):
                seconds, nanoseconds = struct.unpack("qq", control[0][2][:16])
                self.arrivals_s.append(seconds + nanoseconds / 1e9)
            else:
                self._loop.call_soon_threadsafe(self._protocol.datagram_received, data, address)

    def longest_gap_s(self, begun_s, ended_s):
        """Between two packets, within a span of time."""
        seen = [at for at in self.arrivals_s if begun_s <= at <= ended_s]
        return max((after - before for before, after in zip(seen, seen[1:])), default=float("nan"))


async def later(viewer, delay_s):
    await asyncio.sleep(delay_s)
    await viewer.join()
    return viewer


async def everybody(viewers, stagger_s):
    """(those who joined, what kept the others)."""
    ended = await asyncio.gather(*(later(viewer, i * stagger_s) for i, viewer in enumerate(viewers)), return_exceptions=True)
    return [one for one in ended if isinstance(one, Viewer)], [repr(one) for one in ended if not isinstance(one, Viewer)]


async def main(url, token, watching, joining, spread_s, pids):
    aioice.ice.get_host_addresses = lambda **_: ["127.0.0.1"]
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting, limit=0)) as http:
        watchers, failed = await everybody([Viewer(http, url, token) for _ in range(watching)], STAGGER_S)
        witness = Witness(watchers[0], asyncio.get_running_loop())
        witness.start()
        joiners = [Viewer(http, url, token) for _ in range(joining)]
        print("watching", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        calm_from_s, calm_cpu_s, calm_begun_s = time.time(), cpu_s(*pids), time.monotonic()
        await asyncio.sleep(spread_s)
        calm_cpu_s, calm_s = cpu_s(*pids) - calm_cpu_s, time.monotonic() - calm_begun_s
        begun_s, begun_cpu_s, begun = time.time(), cpu_s(*pids), time.monotonic()
        joined, why = await everybody(joiners, spread_s / joining)
        storm_s = time.monotonic() - begun
        storm_cpu_s = cpu_s(*pids) - begun_cpu_s - calm_cpu_s / calm_s * storm_s
        first = [(viewer.first_packet_s - viewer.posted_s) * 1e3 for viewer in joined]
        whole = [(viewer.keyframe_s - viewer.posted_s) * 1e3 for viewer in joined]
        print(json.dumps(dict(
            watching=len(watchers), joined=len(joined), failed=len(failed) + len(why), why=(failed + why)[:3], refused=sum(one.refused for one in joiners),
            first_packet_ms=[percentile(first, share) for share in (0.5, 0.95)], keyframe_ms=[percentile(whole, share) for share in (0.5, 0.95)],
            storm_s=storm_s, join_cpu_ms=storm_cpu_s * 1e3 / max(1, len(joined)), gap_calm_ms=witness.longest_gap_s(calm_from_s, begun_s) * 1e3,
            gap_storm_ms=witness.longest_gap_s(begun_s, begun_s + storm_s) * 1e3)), flush=True)
        await asyncio.gather(*(viewer.peer.close() for viewer in (*watchers, *joined)), return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]), [int(pid) for pid in sys.argv[6].split(",")]))
