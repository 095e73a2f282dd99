"""Receivers on loopback: their own group and sender only, errors that name what is wrong, and the group left at the end."""
import logging
import socket
import struct

import pytest

from appliance.errors import ConfigurationError
from appliance.protocol.sdp import MetadataFlow
from appliance.runtime.multicast import SILENCE_NS_MAX, Membership, interface_index, open_receiver

GROUP, OTHER_GROUP = "239.83.14.7", "239.83.14.8"
BUFFER_BYTES = 65_536
WAIT_S = 2.0


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def flow(port: int, group: str = GROUP, source_address: str | None = None) -> MetadataFlow:
    return MetadataFlow(group=group, port=port, source_address=source_address, payload_type=104)


def send(payload: bytes, group: str, port: int, source_address: str = "127.0.0.1") -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((source_address, 0))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        sender.sendto(payload, (group, port))


def memberships(group: str) -> int:
    """How many sockets of this machine are in the group, as /proc/net/igmp counts them."""
    octets = "".join(f"{int(part):02X}" for part in reversed(group.split(".")))
    with open("/proc/net/igmp", encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if line.split()[0] == octets)


def test_a_group_is_received_on_an_interface_given_by_name_or_address(port):
    for interface in ("lo", "127.0.0.1"):
        with open_receiver(flow(port), interface, BUFFER_BYTES) as receiver:
            receiver.settimeout(WAIT_S)
            send(b"grain", GROUP, port)
            assert receiver.recv(100) == b"grain"


def test_a_receiver_gets_its_own_group_only(port):
    with open_receiver(flow(port), "lo", BUFFER_BYTES) as first, open_receiver(flow(port, OTHER_GROUP), "lo", BUFFER_BYTES) as second:
        first.settimeout(WAIT_S)
        send(b"to the other", OTHER_GROUP, port)
        send(b"to the first", GROUP, port)
        assert first.recv(100) == b"to the first"
        assert second.recv(100, socket.MSG_DONTWAIT) == b"to the other"


def test_only_the_sender_that_the_flow_names_is_received(port):
    with open_receiver(flow(port, source_address="127.0.0.2"), "lo", BUFFER_BYTES) as receiver:
        receiver.settimeout(WAIT_S)
        send(b"stranger", GROUP, port, "127.0.0.3")
        send(b"camera", GROUP, port, "127.0.0.2")
        assert receiver.recv(100) == b"camera"


def test_two_receivers_of_one_group_both_get_it(port):
    with open_receiver(flow(port), "lo", BUFFER_BYTES) as first, open_receiver(flow(port), "lo", BUFFER_BYTES) as second:
        first.settimeout(WAIT_S), second.settimeout(WAIT_S)
        send(b"grain", GROUP, port)
        assert first.recv(100) == second.recv(100) == b"grain"


def test_closing_leaves_the_group(port):
    group = "239.83.14.9"
    with open_receiver(flow(port, group), "lo", BUFFER_BYTES):
        assert memberships(group) == 1
    assert memberships(group) == 0


def test_an_address_of_this_machine_is_received(port):
    with open_receiver(flow(port, "127.0.0.1"), "lo", BUFFER_BYTES) as receiver:
        receiver.settimeout(WAIT_S)
        send(b"grain", "127.0.0.1", port)
        assert receiver.recv(100) == b"grain"


def test_a_missing_interface_is_named_with_those_that_exist():
    with pytest.raises(ConfigurationError) as caught:
        interface_index("eth99")
    assert '"eth99"' in str(caught.value) and "lo (127.0.0.1" in str(caught.value)


def test_a_port_in_use_is_named(port):
    with open_receiver(flow(port, "127.0.0.1"), "lo", BUFFER_BYTES):
        with pytest.raises(ConfigurationError, match=f"port {port}: expected a free UDP port"):
            open_receiver(flow(port, "127.0.0.1"), "lo", BUFFER_BYTES)


def test_an_address_of_another_machine_is_refused(port):
    with pytest.raises(ConfigurationError, match="192.0.2.77"):
        open_receiver(flow(port, "192.0.2.77"), "lo", BUFFER_BYTES)


def test_the_receive_buffer_is_as_large_as_asked(port):
    with open_receiver(flow(port), "lo", BUFFER_BYTES) as receiver:
        assert receiver.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2 >= BUFFER_BYTES


def test_a_smaller_receive_buffer_than_asked_is_a_warning_that_says_how_to_mend_it(port, caplog):
    with open_receiver(flow(port), "lo", 2**30):  # more than any kernel grants
        pass
    assert "sysctl -w net.core.rmem_max=1073741824" in caplog.text


def lose_membership(receiver: socket.socket, group: str) -> None:
    """What the kernel does, without a word to the socket, when the interface is deleted."""
    receiver.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, struct.pack("@4s4si", socket.inet_aton(group), bytes(4), interface_index("lo")))


@pytest.mark.parametrize("source_address", [None, "127.0.0.1"], ids=["any source", "one source"])
def test_a_membership_that_was_lost_is_renewed_after_silence(port, source_address):
    group = "239.83.14.10"
    lost = flow(port, group, source_address)
    with open_receiver(lost, "lo", BUFFER_BYTES) as receiver:
        receiver.settimeout(WAIT_S)
        membership = Membership(receiver, lost, "lo")
        membership.keep(0, 0)
        lose_membership(receiver, group)
        membership.keep(7, 1)  # what had come before
        membership.keep(7, 1 + SILENCE_NS_MAX)
        assert memberships(group) == 0
        membership.keep(7, 2 + SILENCE_NS_MAX)
        assert memberships(group) == 1
        send(b"grain", group, port)
        assert receiver.recv(100) == b"grain"


def test_a_silent_group_is_joined_again_without_harm_and_without_a_word(port, caplog):
    group = "239.83.14.11"
    with caplog.at_level(logging.DEBUG), open_receiver(flow(port, group), "lo", BUFFER_BYTES) as receiver:
        receiver.settimeout(WAIT_S)
        membership = Membership(receiver, flow(port, group), "lo")
        for number in range(50):
            membership.keep(0, number * (SILENCE_NS_MAX + 1))
            assert memberships(group) == 1
        send(b"grain", group, port)
        assert receiver.recv(100) == b"grain"
    assert caplog.text == ""


def test_an_interface_that_is_missing_is_logged_once_and_tried_until_it_is_back(port, caplog):
    caplog.set_level(logging.INFO)
    group = "239.83.14.12"
    with open_receiver(flow(port, group), "lo", BUFFER_BYTES) as receiver:
        membership = Membership(receiver, flow(port, group), "lo")
        lose_membership(receiver, group)
        membership.interface = "eth99"
        for number in range(5):
            membership.keep(0, number * (SILENCE_NS_MAX + 1))
        assert caplog.text.count('"eth99"') == 1 and len(caplog.records) == 1
        membership.interface = "lo"
        membership.keep(0, 5 * (SILENCE_NS_MAX + 1))
        assert memberships(group) == 1
        assert caplog.records[-1].getMessage() == f"{group} can be received again: lo is back"


def test_an_address_of_this_machine_has_no_membership_to_renew(port, caplog):
    here = flow(port, "127.0.0.1")
    with open_receiver(here, "lo", BUFFER_BYTES) as receiver:
        membership = Membership(receiver, here, "lo")
        for number in range(3):
            membership.keep(0, number * (SILENCE_NS_MAX + 1))
    assert caplog.text == ""
