"""Load of metadata: N WHEP viewers set up by aiortc, whose data channels are then read and acknowledged in C (metaload.c); RTP is dropped in the kernel.

    python -m tests.bench.metaload URL N SECONDS PID[,PID..] [--token T] [--metrics URL] [--no-channel] [--no-video]

Prints one JSON line: viewers, why others failed, messages a second that arrived, the share of what was sent that did (by SCTP's own numbers), what
the server skipped, CPU of the processes and of this load.
"""
import argparse
import asyncio
import ctypes
import json
import os
import select
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from cryptography.hazmat.bindings._rust import _openssl

from tests.bench.fanload import Viewer, join_all, stay_on_loopback, trusting_session
from tests.bench.process import cpu_s

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "cext" / "kernels"
SETTLE_S = 3
LATE_ROUND_S = 0.05
SKIPPED = "appliance_fanout_metadata_messages_skipped_total"
OTHER = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.POINTER(ctypes.c_uint8), ctypes.c_int)


def native(folder):
    """metaload.c as a library that calls the libssl of cryptography."""
    target = Path(folder) / "metaload.so"
    subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-shared", "-fPIC", f"-I{KERNELS}", HERE / "metaload.c", KERNELS / "crc32c.c", "-o", target],
                   check=True)
    library = ctypes.CDLL(str(target))
    for count in (library.metaload_messages, library.metaload_chunks, library.metaload_chunks_sent):
        count.restype = ctypes.c_uint64
    functions = [pointer(_openssl.ffi.addressof(_openssl.lib, name)).value for name in ("SSL_write", "SSL_read", "BIO_write", "BIO_read")]
    library.metaload_open((ctypes.c_void_p * 4)(*functions))
    return library


def pointer(object):
    """A pointer of cffi as one of ctypes."""
    return ctypes.c_void_p(int(_openssl.ffi.cast("uintptr_t", object)))


class MetadataViewer(Viewer):
    """A load viewer that has opened the metadata channel before it counts as connected."""

    def __init__(self, http, options):
        super().__init__(http, options.url, options.token, janus_made=False)
        self._options, self.channel = options, None

    @property
    def connected(self):
        return super().connected and (self.channel is None or self.channel.readyState == "open")

    def ask(self):
        if not self._options.no_video:
            super().ask()
        if not self._options.no_channel:
            self.channel = self.peer.createDataChannel("metadata", ordered=False, maxRetransmits=0)

    async def join(self, delay_s):
        await super().join(delay_s)
        if self.channel is not None:
            self._options.reader.take(self)
        return self


class Reader:
    """Reads the sockets of all viewers in C, on the event loop."""

    def __init__(self, library):
        self._library, self._paths, self._epoll = library, [], select.epoll()
        self._other = OTHER(self._pass_on)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), lambda: library.metaload_drain(self._epoll.fileno(), self._other))
        self._acknowledge_late()

    def _acknowledge_late(self):
        self._library.metaload_late()
        self._loop.call_later(LATE_ROUND_S, self._acknowledge_late)

    def take(self, viewer):
        """From now on the viewer's socket is C's. AssertionError if there are too many."""
        assert len(self._paths) < self._library.metaload_viewers_max(), "metaload.c has no room for one more viewer"
        self._loop._remove_reader(viewer.socket.fileno())
        association, connection = viewer.peer.sctp, viewer.dtls._ssl
        head = (association._local_port.to_bytes(2, "big") + association._remote_port.to_bytes(2, "big")
                + association._remote_verification_tag.to_bytes(4, "big"))
        self._paths.append(viewer.path)
        error = self._library.metaload_add(self._epoll.fileno(), len(self._paths) - 1, viewer.socket.fileno(), pointer(connection._ssl),
                                           pointer(connection._into_ssl), pointer(connection._from_ssl), head,
                                           ctypes.c_uint32(association._last_received_tsn))
        assert not error

    def _pass_on(self, number, octets, count):
        """ICE's consent stays aiortc's."""
        protocol, remote = self._paths[number]
        protocol.datagram_received(ctypes.string_at(octets, count), remote)


def messages_skipped(url):
    """What the server had for its viewers and did not send, for want of room."""
    if not url:
        return 0
    with urllib.request.urlopen(url, timeout=5) as answer:
        samples = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines()]
    return sum(float(value) for name, value in samples if name.split("{")[0] == SKIPPED)


async def measure(library, options):
    """Joins all, lets them settle, and reads the clocks around `seconds`."""
    stay_on_loopback()
    options.reader = Reader(library)
    async with trusting_session() as http:
        viewers = [MetadataViewer(http, options) for _ in range(options.viewers)]
        watching, failed = await join_all(viewers)
        await asyncio.sleep(SETTLE_S)
        pids = [int(pid) for pid in options.pids.split(",")]
        skipped = messages_skipped(options.metrics)
        library.metaload_begin()
        before, begun = (cpu_s(*pids), cpu_s(os.getpid())), time.monotonic()
        await asyncio.sleep(options.seconds)
        elapsed, heard = time.monotonic() - begun, library.metaload_messages()
        arrived, sent = library.metaload_chunks(), library.metaload_chunks_sent()
        busy, own = (now - then for now, then in zip((cpu_s(*pids), cpu_s(os.getpid())), before))
        skipped = messages_skipped(options.metrics) - skipped
        print(json.dumps(dict(viewers=len(watching), failed=len(failed), why=failed[:2], cores=busy / elapsed, load_cores=own / elapsed,
                              messages_s=heard / elapsed, arrived_share=arrived / max(1, sent), skipped=skipped, seconds=elapsed)), flush=True)
        os._exit(0)  # the server sees the viewers' consent expire; telling 300 of them costs a minute


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("viewers", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("pids")
    parser.add_argument("--token", default="")
    parser.add_argument("--metrics", default="")
    parser.add_argument("--no-channel", action="store_true")
    parser.add_argument("--no-video", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="metaload-") as folder:
        asyncio.run(measure(native(folder), options))


main()
