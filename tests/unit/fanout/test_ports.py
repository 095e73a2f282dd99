"""Ports of viewers: chosen by the system or of a range, and what happens when none is left."""
import errno
import socket

import pytest

from appliance.config import MediaPorts
from appliance.fanout.ports import MediaAddresses, OwnPorts, bound

LOOPBACK = "127.0.0.1"


def free_range(count):
    """Ports that were free one after the other a moment ago."""
    for first in range(30_000, 32_000, count):
        try:
            probes = [bound(LOOPBACK, port) for port in range(first, first + count)]
        except OSError:
            continue
        for probe in probes:
            probe.close()
        return MediaPorts(first, first + count - 1)
    raise AssertionError("no free ports below the system's own")


def test_without_a_range_the_system_chooses_for_each_viewer():
    ports = OwnPorts(MediaAddresses((LOOPBACK,)), None)
    with ports.open(LOOPBACK) as one, ports.open(LOOPBACK) as other:
        assert one.getsockname()[1] != other.getsockname()[1]


def test_every_port_of_a_range_is_used_once_and_then_there_is_none():
    chosen = free_range(4)
    ports = OwnPorts(MediaAddresses((LOOPBACK,)), chosen)
    opened = [ports.open(LOOPBACK) for _ in range(4)]
    assert {one.getsockname()[1] for one in opened} == set(range(chosen.first, chosen.last + 1))
    with pytest.raises(OSError) as refusal:
        ports.open(LOOPBACK)
    assert refusal.value.errno == errno.EADDRINUSE and str(chosen) in ports.shortage
    opened.pop(2).close()
    opened.append(ports.open(LOOPBACK))
    for one in opened:
        one.close()


def test_an_address_that_is_not_ours_does_not_try_every_port():
    with pytest.raises(OSError) as refusal:
        OwnPorts(MediaAddresses(("192.0.2.77",)), MediaPorts(1024, 65_535)).open("192.0.2.77")
    assert refusal.value.errno == errno.EADDRNOTAVAIL


def test_all_addresses_are_looked_up_where_none_is_configured():
    found = MediaAddresses(()).now()
    assert LOOPBACK in found and len(set(found)) == len(found)


def test_a_shared_port_is_shared_and_never_waits():
    with bound(LOOPBACK, 0, shared=True) as one, bound(LOOPBACK, one.getsockname()[1], shared=True) as other:
        assert isinstance(other, socket.socket) and not other.getblocking()
