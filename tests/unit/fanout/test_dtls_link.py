"""C on pyOpenSSL's own connection: what it sends a viewer can read, what it hears goes where it belongs, and an end is told apart from a break."""
import socket

import pytest
from aiortc.rtcsctptransport import SackChunk, serialize_packet
from google_crc32c import value
from OpenSSL import SSL

from appliance.fanout.hooks.dtls import SRTP_PROFILES, Certificate, _address, library_functions
from cext.messages import Link, Sender, crc32c

FLIGHTS_MAX = 10


def _pump(source, target):
    try:
        target.bio_write(source.bio_read(65536))
    except SSL.WantReadError:
        pass


class Pair:
    """A link and the viewer's end, shaken hands, with sockets between."""

    def __init__(self):
        context = Certificate.make()._create_ssl_context(SRTP_PROFILES)
        self.ours, self.viewer = SSL.Connection(context), SSL.Connection(context)
        self.ours.set_accept_state()
        self.viewer.set_connect_state()
        for _ in range(FLIGHTS_MAX):
            for source, target in ((self.viewer, self.ours), (self.ours, self.viewer)):
                try:
                    source.do_handshake()
                except SSL.WantReadError:
                    pass
                _pump(source, target)
        self.socket, self.remote = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self.remote.bind(("127.0.0.1", 0))
        self.remote.settimeout(5)
        self.link = Link(library_functions(), *(_address(part) for part in (self.ours._ssl, self.ours._into_ssl, self.ours._from_ssl)), self.ours)

    def redirect(self):
        self.link.redirect(self.socket.fileno(), self.remote.getsockname())

    def heard(self):
        self.viewer.bio_write(self.remote.recv(2048))
        return self.viewer.recv(2048)

    def say(self, message, sender=None):
        self.viewer.send(message)
        return self.link.receive(self.viewer.bio_read(2048), sender, 1)

    def close(self):
        self.socket.close()
        self.remote.close()


@pytest.fixture
def pair():
    pair = Pair()
    yield pair
    pair.close()


def test_what_is_sent_arrives_and_goes_on_arriving_after_the_socket_was_closed_by_its_owner(pair):
    pair.redirect()
    pair.socket.close()
    assert all(pair.link.send(b"%d" % i) for i in range(3)) and [pair.heard() for _ in range(3)] == [b"0", b"1", b"2"]


def test_without_a_path_nothing_is_sent(pair):
    assert pair.link.send(b"nowhere") is False


def test_messages_come_back_and_plain_acknowledgements_go_to_the_sender(pair):
    pair.redirect()
    sender = Sender(7, 1000, pair.link)
    sender.open(5000, 5000, 1, 2, 1 << 20, 0)
    assert sender.send(b"grain", 0, 53, False, 0, 1) and sender.chunks == 1 and b"grain" in pair.heard()
    sack = SackChunk()
    sack.cumulative_tsn, sack.advertised_rwnd = 7, 1 << 20
    assert pair.say(serialize_packet(5000, 5000, 1, sack), sender) is None and sender.chunks == 0 and sender.due_ns == 0
    assert pair.say(b"something else", sender) == [b"something else"] and pair.say(b"no sender") == [b"no sender"]


@pytest.mark.parametrize("datagram", [b"", b"\x17", b"\x17" + bytes(60), bytes(range(20, 64)), bytes(3000)])
def test_a_datagram_that_is_no_record_changes_nothing(pair, datagram):
    pair.redirect()
    assert not pair.link.receive(datagram, None, 1)
    assert pair.say(b"still here") == [b"still here"] and pair.link.send(b"and we") and pair.heard() == b"and we"


def test_a_viewer_that_closes_is_told_apart(pair):
    pair.redirect()
    pair.viewer.shutdown()
    with pytest.raises(ConnectionResetError):
        pair.link.receive(pair.viewer.bio_read(2048), None, 1)


@pytest.mark.parametrize("size", [*range(40), 1188])
def test_the_checksum_is_googles_by_instruction_and_by_table(size):
    octets = bytes(i * 37 % 256 for i in range(size))
    assert crc32c(octets) == crc32c(octets, by_table=True) == value(octets)
