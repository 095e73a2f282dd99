"""The impairment relay keeps its word: what it loses, delays, doubles and queues is what it was told to, the same for the same seed."""
import socket
from contextlib import ExitStack, suppress

import pytest

from tests.network.relay import Impairment, Relay, build_relay

PATIENCE_S = 5.0
PACKETS = 2000


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return build_relay(tmp_path_factory.mktemp("relay"))


class Line:
    """An appliance's socket and a viewer's with the relay between them."""

    def __init__(self, program, seed=1, **impairment):
        self._stack = ExitStack()
        self.relay = self._stack.enter_context(Relay(program, seed))
        self.box, self.viewer = self.socket(), self.socket()
        self.viewer.connect(("127.0.0.1", self.relay.place(*self.box.getsockname())))
        self.viewer.send(b"hello")
        _, self.back = self.box.recvfrom(100)
        self.relay.impair(down=Impairment(**impairment))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stack.close()

    def socket(self):
        made = self._stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        made.bind(("127.0.0.1", 0))
        made.settimeout(PATIENCE_S)
        return made

    def down(self, count=PACKETS, octets=50, pace=20):
        """The numbers that reach the viewer of `count` packets sent to it, in order of arrival."""
        found = []
        for number in range(count):
            self.box.sendto(number.to_bytes(4) + bytes(octets - 4), self.back)
            if number % pace == pace - 1:
                # What was refused or passed on is counted once it is decided, so no socket buffer can overflow.
                while self.relay.tally()["down"]["packets"] <= number - pace:
                    pass
                found += self.arrived()
        while self.unsettled(count):
            found += self.arrived()
        return found + self.arrived()

    def arrived(self):
        """The numbers that wait at the viewer."""
        found = []
        self.viewer.settimeout(0)
        with suppress(BlockingIOError):
            while True:
                found.append(int.from_bytes(self.viewer.recv(2048)[:4]))
        self.viewer.settimeout(PATIENCE_S)
        return found

    def unsettled(self, count):
        """Whether the relay still holds packets, or has not yet seen `count`."""
        tally = self.relay.tally()
        return tally["waiting"] > 0 or tally["down"]["packets"] < count


def test_a_perfect_line_changes_nothing(program):
    with Line(program) as line:
        assert line.down() == list(range(PACKETS))
        tally = line.relay.tally()
        assert tally["down"]["delivered"] == PACKETS and tally["down"]["octets"] == 50 * PACKETS
        assert tally["up"]["delivered"] == 1 and tally["flows"] == 1


def test_the_same_seed_loses_the_same_packets(program):
    runs = []
    for seed in (7, 7, 8):
        with Line(program, seed, loss_percent=5) as line:
            runs.append(line.down())
            assert line.relay.tally()["down"]["lost"] == PACKETS - len(runs[-1])
    assert runs[0] == runs[1] != runs[2]
    assert 0.03 < 1 - len(runs[0]) / PACKETS < 0.07


def test_losses_come_in_runs_of_the_length_asked_for(program):
    with Line(program, 3, loss_percent=10, burst_packets=8) as line:
        found = set(line.down(8000))
    lost = [number for number in range(8000) if number not in found]
    runs = sum(number - 1 not in lost for number in lost)
    assert 0.05 < len(lost) / 8000 < 0.15
    assert 5 < len(lost) / runs < 12


def test_jitter_alone_keeps_the_order(program):
    with Line(program, delay_ms=5, jitter_ms=5) as line:
        assert line.down() == list(range(PACKETS))


def test_packets_held_back_are_overtaken(program):
    with Line(program, held_percent=5, held_ms=10) as line:
        found = line.down()
        assert line.relay.tally()["down"]["held"] > 0
    assert sorted(found) == list(range(PACKETS)) and found != sorted(found)


def test_jitter_with_reordering_lets_packets_overtake(program):
    with Line(program, delay_ms=5, jitter_ms=5, reorder=1) as line:
        found = line.down()
    assert sorted(found) == list(range(PACKETS)) and found != sorted(found)


def test_duplicates_arrive_beside_their_packet(program):
    with Line(program, duplicate_percent=10) as line:
        found = line.down()
        assert len(found) - PACKETS == line.relay.tally()["down"]["duplicated"] > 0
    assert sorted(set(found)) == list(range(PACKETS)) and found == sorted(found)


def test_a_full_queue_drops_its_tail(program):
    """2 Mbit/s carry a packet of 1,000 octets and its headers in 4.1 ms: 100 at once fill a queue of 100 ms with a quarter of them."""
    with Line(program, bits_per_second=2e6, queue_ms=100) as line:
        found = line.down(100, 1000, pace=1000)
        tally = line.relay.tally()["down"]
    assert found[:24] == list(range(24)) and found == sorted(found)
    assert tally["overrun"] == 100 - len(found) > 0
    assert 90 < tally["queue_ms_max"] <= 100


def test_nothing_passes_a_cut_line_and_what_was_under_way_is_gone(program):
    with Line(program, delay_ms=200) as line:
        line.box.sendto(b"under way", line.back)
        while not line.relay.tally()["waiting"]:
            pass
        line.relay.cut(True)
        while line.unsettled(1):
            pass
        line.box.sendto(b"too late", line.back)
        while line.relay.tally()["down"]["cut"] < 2:
            pass
        line.relay.cut(False)
        line.relay.impair()
        line.box.sendto(b"again", line.back)
        assert line.viewer.recv(100) == b"again"


def test_each_viewer_is_a_flow_of_its_own(program):
    with Line(program) as line:
        other = line.socket()
        other.connect(line.viewer.getpeername())
        other.send(b"other")
        heard, back = line.box.recvfrom(100)
        assert heard == b"other" and back != line.back
        line.box.sendto(b"for the other", back)
        assert other.recv(100) == b"for the other"
        line.box.sendto(b"for the first", line.back)
        assert line.viewer.recv(100) == b"for the first"
        assert line.relay.tally()["flows"] == 2


def test_a_closed_appliance_costs_the_packets_alone(program):
    with Line(program) as line:
        line.box.close()
        for _ in range(3):
            line.viewer.send(b"anybody?")
        while line.relay.tally()["up"]["packets"] < 4:
            pass
        assert line.relay.tally()["flows"] == 1


def test_an_unknown_setting_is_refused(program):
    with Relay(program) as relay, pytest.raises(AssertionError, match="no setting"):
        relay._command("down los_percent=5")
