"""Load of metadata: N WHEP viewers set up by aiortc, whose data channels are then read and acknowledged in C (metaload.c); RTP is dropped in the kernel.

    python -m tests.bench.metaload URL N SECONDS PID[,PID..] [--token T] [--no-channel] [--no-video]

Prints one JSON line: viewers, messages that reached them a second, and the CPU seconds a second of the processes and of this load.
"""
import argparse
import asyncio
import ctypes
import json
import os
import select
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

import aiohttp
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from cryptography.hazmat.bindings._rust import _openssl

from tests.bench.fanload import drop_rtp
from tests.bench.process import cpu_s

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "cext" / "kernels"
JOINING_AT_ONCE = 8
SETTLE_S = 3
OTHER = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.POINTER(ctypes.c_uint8), ctypes.c_int)


def native(folder):
    """metaload.c as a library that calls the libssl of cryptography."""
    target = Path(folder) / "metaload.so"
    subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-shared", "-fPIC", f"-I{KERNELS}", HERE / "metaload.c", KERNELS / "crc32c.c", "-o", target],
                   check=True)
    library = ctypes.CDLL(str(target))
    library.metaload_messages.restype = ctypes.c_uint64
    functions = [pointer(_openssl.ffi.addressof(_openssl.lib, name)).value for name in ("SSL_write", "SSL_read", "BIO_write", "BIO_read")]
    library.metaload_open((ctypes.c_void_p * 4)(*functions))
    return library


def pointer(object):
    """A pointer of cffi as one of ctypes."""
    return ctypes.c_void_p(int(_openssl.ffi.cast("uintptr_t", object)))


class Load:
    """The viewers of one run, on one event loop."""

    def __init__(self, library, options):
        self.library, self.options, self.viewers, self.filters, self.protocols = library, options, [], [], []
        self.epoll, self.gate = select.epoll(), asyncio.Semaphore(JOINING_AT_ONCE)
        self.other = OTHER(self._pass_on)

    async def join(self, http):
        """One viewer: an offer, an answer, connected, and then its socket is C's."""
        async with self.gate:
            peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
            if not self.options.no_video:
                codecs = [codec for codec in RTCRtpReceiver.getCapabilities("video").codecs if codec.mimeType == "video/H264"]
                peer.addTransceiver("video", direction="recvonly").setCodecPreferences(codecs)
            channel = None if self.options.no_channel else peer.createDataChannel("metadata", ordered=False, maxRetransmits=0)
            await peer.setLocalDescription(await peer.createOffer())
            headers = {"Content-Type": "application/sdp"} | ({"Authorization": f"Bearer {self.options.token}"} if self.options.token else {})
            async with http.post(self.options.url, data=peer.localDescription.sdp, headers=headers) as response:
                assert response.status == 201, await response.text()
                await peer.setRemoteDescription(RTCSessionDescription(await response.text(), "answer"))
            async with asyncio.timeout(30):
                while peer.connectionState != "connected" or (channel and channel.readyState != "open"):
                    await asyncio.sleep(0.02)
            self._take_over(peer, channel)
            self.viewers.append(peer)

    def _take_over(self, peer, channel):
        dtls = peer.sctp.transport if channel else peer.getTransceivers()[0].receiver.transport
        [pair] = dtls.transport._connection._nominated.values()
        opened = pair.protocol.transport.get_extra_info("socket")
        self.filters.append(drop_rtp(opened))
        if channel is None:
            return
        asyncio.get_running_loop()._remove_reader(opened.fileno())
        association, connection = peer.sctp, dtls._ssl
        head = (association._local_port.to_bytes(2, "big") + association._remote_port.to_bytes(2, "big")
                + association._remote_verification_tag.to_bytes(4, "big"))
        self.protocols.append((pair.protocol, pair.remote_addr))
        error = self.library.metaload_add(self.epoll.fileno(), len(self.protocols) - 1, opened.fileno(), pointer(connection._ssl),
                                          pointer(connection._into_ssl), pointer(connection._from_ssl), head,
                                          ctypes.c_uint32(association._last_received_tsn))
        assert not error

    def drain(self):
        """The viewers' sockets have something."""
        self.library.metaload_drain(self.epoll.fileno(), self.other)

    def _pass_on(self, number, octets, count):
        protocol, remote = self.protocols[number]
        protocol.datagram_received(ctypes.string_at(octets, count), remote)


async def measure(library, options):
    """Joins all, lets them settle, and reads the clocks around `seconds`."""
    load = Load(library, options)
    asyncio.get_running_loop().add_reader(load.epoll.fileno(), load.drain)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http:
        joined = await asyncio.gather(*(load.join(http) for _ in range(options.viewers)), return_exceptions=True)
        failed = [repr(each) for each in joined if isinstance(each, Exception)]
        await asyncio.sleep(SETTLE_S)
        pids = [int(pid) for pid in options.pids.split(",")]
        before, begun = (cpu_s(*pids), cpu_s(os.getpid()), library.metaload_messages()), time.monotonic()
        await asyncio.sleep(options.seconds)
        elapsed = time.monotonic() - begun
        busy, own, heard = (now - then for now, then in zip((cpu_s(*pids), cpu_s(os.getpid()), library.metaload_messages()), before))
        print(json.dumps(dict(viewers=len(load.viewers), failed=len(failed), why=failed[:2], cores=busy / elapsed, load_cores=own / elapsed,
                              messages_s=heard / elapsed, seconds=elapsed)), flush=True)
        os._exit(0)  # the server sees the viewers' consent expire; telling 300 of them costs a minute


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("viewers", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("pids")
    parser.add_argument("--token", default="")
    parser.add_argument("--no-channel", action="store_true")
    parser.add_argument("--no-video", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="metaload-") as folder:
        asyncio.run(measure(native(folder), options))


main()
