"""The source's second path: what it sends there, what it loses on purpose, and what its SDP files say of it."""
import socket
from dataclasses import replace
from fractions import Fraction

import pytest

from appliance.errors import ConfigurationError
from appliance.protocol import sdp
from appliance.protocol.rtp import parse
from appliance.source import metadata
from appliance.source.path_options import Impairment, SecondPath
from appliance.source.sender import Sender
from tests.unit.source.test_options import asked as plan


def listener():
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 20)
    receiver.bind(("127.0.0.1", 0))
    return receiver


def received(receiver):
    packets = {}
    while True:
        try:
            packet = receiver.recv(10_000, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return packets
        packets[parse(packet).header.sequence] = packet


def sent_by(losses, skew_ms=0.0):
    """What arrived by each path of a source that sent for a moment, by sequence number."""
    with listener() as first, listener() as second:
        order = replace(plan("--group", "127.0.0.1", "--port", str(first.getsockname()[1]), "--size", "64x64", "--rate", "50", "--seconds", "0.4", "--no-metadata"),
                        second=SecondPath("127.0.0.1", second.getsockname()[1], "127.0.0.1", skew_ms), impairment=Impairment(losses, seed=3))
        sender = Sender(order)
        sender.run()
        sender.close()
        return received(first), received(second)


def test_both_paths_carry_the_same_packets():
    first, second = sent_by((0.0, 0.0))
    assert len(first) > 100 and first == second


def test_a_path_that_is_late_misses_the_end_alone():
    first, second = sent_by((0.0, 0.0), skew_ms=30)
    assert 50 < len(second) < len(first) and set(second.items()) < set(first.items())


def test_each_path_loses_its_own_packets():
    first, second = sent_by((0.2, 0.4))
    union = first.keys() | second.keys()
    assert len(first) < len(union) and len(second) < len(first) and len(first.keys() & second.keys()) < len(second)
    assert all(first[number] == second[number] for number in first.keys() & second.keys())


def test_the_sdp_files_describe_both_legs():
    order = plan("--second-path", "239.99.1.1:6000")
    sender = Sender(order)
    flow = sdp.video_flow(sdp.emit_video(sender.video_flow()), "x")
    assert flow.second == sdp.Leg(group="239.99.1.1", port=6000, source_address="127.0.0.1", payload_type=96)
    assert metadata.flow(order).second == sdp.Leg(group="239.99.1.2", port=6002, source_address="127.0.0.1", payload_type=104)
    assert "239.99.1.1:6000" in sender.describe()
    sender.close()


@pytest.mark.parametrize("given, told", [
    (["--second-path", "eth2"], "GROUP[:PORT][@INTERFACE]"), (["--second-path", "239.1.1.1:99999"], "GROUP[:PORT][@INTERFACE]"),
    (["--second-path", "239.1.1.1@nothere0"], "nothere0"), (["--second-path", "239.20.22.1"], "another group, port or interface"),
    (["--second-loss", "3"], "--second-path GROUP"), (["--loss", "101"], "0 to 100 percent"), (["--second-path", "239.1.1.1", "--second-skew-ms", "-1"], "0 to 500 ms"),
])
def test_what_cannot_be_is_refused(given, told):
    with pytest.raises(ConfigurationError) as refused:
        plan(*given)
    assert told in str(refused.value)


def test_a_second_path_keeps_the_port_and_the_interface_unless_told():
    assert plan("--second-path", "239.1.1.1").second == SecondPath("239.1.1.1", 5004, "127.0.0.1", 0)
    assert plan("--second-path", "239.1.1.1:5010@127.0.0.2").second == SecondPath("239.1.1.1", 5010, "127.0.0.2", 0)
    assert Fraction(plan().impairment.losses[0]) == 0
