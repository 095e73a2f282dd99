"""The fan-out over loopback sockets, for its tests: a real ring in front, libsrtp behind each viewer.

A viewer's datagrams are read until the marker. That the last viewer got unit n + 1 means that unit n was served to everybody.
"""
import os
import socket
import threading

from pylibsrtp import Policy, Session

from appliance.clock import tai_ns
from appliance.frame import KEYFRAME
from appliance.protocol import h264
from cext.fanout import Fanout
from cext.ring import EVERY, Ring, RingReader, RingWriter

GCM, COUNTER_MODE = 0x0007, 0x0001
SALT_BYTES = {GCM: 12, COUNTER_MODE: 14}
READER_PROFILES = {GCM: Policy.SRTP_PROFILE_AEAD_AES_128_GCM, COUNTER_MODE: Policy.SRTP_PROFILE_AES128_CM_SHA1_80}
SSRC = 0x0DD0_CAFE
WAIT_S = 20.0  # only a broken fan-out waits so long
SLOT_BYTES = 1_500_000
KEYFRAME_NALS = [b"\x67" + b"\x42" * 20, b"\x68\xce\x38\x80", b"\x65" + b"\x11" * 20_000]
NO_CHECKSUM = 11  # SO_NO_CHECK: the kernel then refuses UDP_SEGMENT with EINVAL


def annex_b(nals):
    return b"".join(b"\0\0\0\1" + nal for nal in nals)


def delta(number, size=9000):
    return [b"\x41" + bytes([1 + number % 255]) * (size - 1)]


class Viewer:
    """A receiver: its socket, keys and what came."""

    def __init__(self, fanout, rendition=0, profile=GCM, family=socket.AF_INET, fd=None, no_checksum=False, connected=False, **options):
        host = "127.0.0.1" if family == socket.AF_INET else "::1"
        self.receiver, self.sender = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_DGRAM)
        self.receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sender.setsockopt(socket.SOL_SOCKET, NO_CHECKSUM, int(no_checksum))
        self.receiver.bind((host, 0))
        self.receiver.settimeout(WAIT_S)
        self.remote = self.receiver.getsockname()[:2]
        if connected:
            self.sender.connect(self.remote)
        self.key, self.salt = os.urandom(16), os.urandom(SALT_BYTES[profile])
        self.session = Session(Policy(self.key + self.salt, Policy.SSRC_ANY_INBOUND, srtp_profile=READER_PROFILES[profile]))
        self.fanout = fanout
        self.options = {"payload_type": 102, **options}
        self.identifier = fanout.add_viewer(rendition, self.sender.fileno() if fd is None else fd, None if connected else self.remote,
                                            profile, self.key, self.salt, **self.options)
        self.datagrams, self.sequences, self.timestamps = [], [], []

    def packets(self):
        """The next access unit's RTP packets, decrypted."""
        packets = []
        while not packets or not packets[-1][1] & 0x80:
            self.datagrams.append(self.receiver.recv(2048))
            packets.append(self.session.unprotect(self.datagrams[-1]))
            self.sequences.append(int.from_bytes(packets[-1][2:4], "big"))
        self.timestamps.append(int.from_bytes(packets[-1][4:8], "big"))
        return packets

    def payloads(self):
        """The next access unit's payloads, without headers and extensions."""
        return [packet[12 + (4 + 4 * int.from_bytes(packet[14:16], "big") if packet[0] & 0x10 else 0):] for packet in self.packets()]

    def nals(self):
        return h264.depacketise(self.payloads())

    def stats(self):
        return self.fanout.viewer_stats(self.identifier)

    def resent(self):
        """The next datagram, which libsrtp would call a replay, as it is."""
        return self.receiver.recv(2048)

    def gapless(self):
        return self.sequences == [(self.sequences[0] + i) & 0xFFFF for i in range(len(self.sequences))]

    def close(self):
        self.receiver.close()
        self.sender.close()


class Theatre:
    """A fan-out at work with a writer in front of each of its renditions."""

    def __init__(self, codecs=(b"h264",), before_run=lambda: None, one_ssrc=False, **options):
        self.fanout = Fanout(**options)
        self.writers, self.numbers, self.viewers, self.descriptors = [], [], [], []
        for codec in codecs:
            ring, doorbell = Ring.create("units", 8, SLOT_BYTES, EVERY, codec), os.eventfd(0)
            self.descriptors += [ring.fd, doorbell]
            self.fanout.add_rendition(RingReader(ring.fd, 0, doorbell, codec), codec, SSRC + (0 if one_ssrc else len(self.writers)))
            self.writers.append(RingWriter(ring.fd, [doorbell], codec))
            self.numbers.append(1)
        self.before_run = before_run
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        self.before_run()
        self.fanout.run()

    def viewer(self, **options):
        self.viewers.append(Viewer(self.fanout, **options))
        return self.viewers[-1]

    def publish(self, unit, rendition=0, keyframe=False, lost_before=0, payload_bytes=None, timestamp=None):
        """Publishes an access unit (octets, or NAL units); `lost_before` units before it never found a slot. Its RTP timestamp."""
        unit = unit if isinstance(unit, bytes) else annex_b(unit)
        slot = self.writers[rendition].claim()
        self.numbers[rendition] += lost_before
        slot.number = self.numbers[rendition]
        slot.rtp_timestamp = 0xFFFF_F000 + 1800 * slot.number & 0xFFFF_FFFF if timestamp is None else timestamp
        slot.capture_tai_ns, slot.flags = tai_ns(), KEYFRAME if keyframe else 0
        slot.payload_bytes = len(unit) if payload_bytes is None else payload_bytes
        with memoryview(slot) as octets:
            octets[:len(unit)] = unit
        timestamp = slot.rtp_timestamp
        slot.publish()
        self.numbers[rendition] += 1
        return timestamp

    def stats(self, rendition=0):
        return self.fanout.rendition_stats(rendition)

    def close(self):
        self.fanout.stop()
        self.thread.join(WAIT_S)
        for viewer in self.viewers:
            viewer.close()
        for descriptor in self.descriptors:
            os.close(descriptor)
