"""Arrival stamps: loopback has no network card, and a socket's packets carry the kernel's time either way."""
import socket
import struct
import time

import pytest

from appliance.runtime.timestamping import stamp_arrivals, stamps_by_hardware


def test_an_interface_without_a_card_and_one_that_is_gone_stamp_nothing():
    assert not stamps_by_hardware(socket.if_nametoindex("lo"))
    assert not stamps_by_hardware(1 << 30)


@pytest.mark.parametrize("hardware", [False, True])
def test_every_packet_carries_the_kernel_s_time_of_arrival(hardware):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(2)
        stamp_arrivals(receiver, not hardware)
        stamp_arrivals(receiver, hardware)
        control, before = [], 0
        for _ in range(1000):  # the kernel switches its stamps on by and by, and the first packets may come before
            before = time.time_ns()
            sender.sendto(b"x", receiver.getsockname())
            _, control, _, _ = receiver.recvmsg(10, 200)
            if control:
                break
        [(_, _, told)] = control
        assert len(told) == (48 if hardware else 16), "one kind of stamp, not both"
        seconds, nanoseconds = struct.unpack_from("@qq", told)
        assert before <= seconds * 10**9 + nanoseconds <= time.time_ns()
