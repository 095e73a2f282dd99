"""The fan-out's cost a packet: 4.2 Mbit/s at 50 access units a second, to viewers whose sockets drop RTP in the kernel.

One round is one access unit to everybody. Thread CPU a packet, and its split into packetise, encrypt and send, go to extra_info.
"""
import ctypes
import os
import socket
import struct
import threading
import time

import pytest

from appliance.frame import KEYFRAME
from cext.fanout import BATCHED, SEGMENTED, SINGLY, Fanout
from cext.ring import EVERY, Ring, RingReader, RingWriter

GCM, COUNTER_MODE = 0x0007, 0x0001
SALT_BYTES = {GCM: 12, COUNTER_MODE: 14}
UNIT_BYTES = 4_200_000 // 8 // 50
KEYFRAME_UNIT = b"\0\0\0\1\x67" + b"\x42" * 20 + b"\0\0\0\1\x68\xce\x38\x80" + b"\0\0\0\1\x65" + b"\x11" * 60_000
DELTA_UNIT = b"\0\0\0\1\x41" + b"\xa5" * (UNIT_BYTES - 5)
KEYFRAME_PACKETS, DELTA_PACKETS = 1 + 53, 10


def drop_rtp(receiver):
    """A socket filter that drops every datagram, so that receiving costs next to nothing."""
    code = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    receiver.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HxxxxxxP", 1, ctypes.addressof(code)))


class Audience:
    """A fan-out with this many viewers of one rendition."""

    def __init__(self, viewers, profile, send_way):
        self.fanout, self.sockets, self.viewers, self.number, self.expected = Fanout(send_way=send_way), [], viewers, 0, 0
        ring, doorbell = Ring.create("units", 4, 1 << 20, EVERY), os.eventfd(0)
        self.fanout.add_rendition(RingReader(ring.fd, 0, doorbell), b"h264", 1)
        self.writer = RingWriter(ring.fd, [doorbell])
        for _ in range(viewers):
            self._join(profile)
        self.thread = threading.Thread(target=self.fanout.run)
        self.thread.start()
        self.serve(KEYFRAME_UNIT, KEYFRAME, KEYFRAME_PACKETS)

    def _join(self, profile):
        receiver, sender = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        receiver.bind(("127.0.0.1", 0))
        drop_rtp(receiver)
        self.sockets += [receiver, sender]
        self.fanout.add_viewer(0, sender.fileno(), receiver.getsockname(), profile, os.urandom(16), os.urandom(SALT_BYTES[profile]),
                               102, 5, (0, 0), 1, b"0")

    def serve(self, unit=DELTA_UNIT, flags=0, packets=DELTA_PACKETS):
        """One unit to everybody; returns when it has left."""
        slot = self.writer.claim()
        slot.number, slot.rtp_timestamp, slot.flags, slot.payload_bytes = self.number, 1800 * self.number, flags, len(unit)
        with memoryview(slot) as octets:
            octets[:len(unit)] = unit
        slot.publish()
        self.number += 1
        self.expected += packets * self.viewers
        while self.fanout.rendition_stats(0).packets < self.expected:
            os.sched_yield()

    def cost(self):
        """Packets to the audience, thread CPU ns, and the fan-out's own clocks."""
        stats = self.fanout.rendition_stats(0)
        return (stats.packets, time.clock_gettime_ns(time.pthread_getcpuclockid(self.thread.ident)), stats.packetise_ns, stats.encrypt_ns,
                stats.send_ns, stats.skew_sum_ns, stats.units)

    def close(self):
        self.fanout.stop()
        self.thread.join()
        for each in self.sockets:
            each.close()


@pytest.mark.parametrize("viewers, profile, send_way", [
    (100, GCM, SEGMENTED), (300, GCM, SEGMENTED), (300, GCM, BATCHED), (300, GCM, SINGLY), (100, COUNTER_MODE, SEGMENTED)],
    ids=["100-gcm-sendmsg", "300-gcm-sendmsg", "300-gcm-sendmmsg", "300-gcm-sendto", "100-cm-sha1-sendmsg"])
def test_an_access_unit_to_all_viewers(benchmark, rounds, viewers, profile, send_way):
    audience = Audience(viewers, profile, send_way)
    try:
        before = audience.cost()
        benchmark.pedantic(audience.serve, rounds=rounds(400), warmup_rounds=rounds(20))
        packets, cpu, packetise, encrypt, send, skew, units = (after - earlier for after, earlier in zip(audience.cost(), before))
        benchmark.extra_info.update(packets=packets, cpu_ns_a_packet=cpu // packets,
                                    fastest_ns_a_packet=round(benchmark.stats.stats.min * 1e9 / viewers / DELTA_PACKETS), packetise_ns_a_unit=packetise // units,
                                    encrypt_ns_a_packet=encrypt // packets, send_ns_a_packet=send // packets, skew_us=skew // units // 1000)
        assert packets == units * viewers * DELTA_PACKETS
    finally:
        audience.close()
