"""The two filters of a flow, as instructions: what one takes the other refuses. The kernel runs them in tests/network/test_wire.py."""
import struct

import pytest

from appliance.protocol.sdp import MetadataFlow
from appliance.runtime.packet_filter import WHOLE_BYTES, ring_filter, socket_filter

RETURN = 0x06


def steps(program: bytes) -> list[tuple[int, int, int, int]]:
    """(code, jump if true, jump if false, value) each."""
    return list(struct.iter_unpack("@HBBI", program))


def flow(group: str, source_address: str | None = None) -> MetadataFlow:
    return MetadataFlow(group=group, port=5004, source_address=source_address, payload_type=96)


@pytest.mark.parametrize("build", [ring_filter, socket_filter])
@pytest.mark.parametrize("given", [flow("239.1.2.3"), flow("239.1.2.3", "10.0.0.1"), flow("ff15::1"), flow("ff15::1", "fd00::1"), flow("10.0.0.2")], ids=str)
def test_every_jump_ends_at_a_return_or_the_next_step(build, given):
    program = steps(build(given, 3))
    assert [code == RETURN for code, *_ in program[-2:]] == [True, True]
    for place, (_, true, false, _) in enumerate(program[:-2]):
        assert {place + 1 + true, place + 1 + false} <= {place + 1, len(program) - 1}


def test_the_filters_part_the_packets_of_a_flow():
    assert [value for *_, value in steps(ring_filter(flow("239.1.2.3"), 3))[-2:]] == [WHOLE_BYTES, 0]
    assert [value for *_, value in steps(socket_filter(flow("239.1.2.3"), 3))[-2:]] == [0, WHOLE_BYTES]


def test_interface_group_port_and_source_are_asked_for():
    values = [value for *_, value in steps(ring_filter(flow("239.1.2.3", "10.0.0.1"), 7))]
    for wanted in (7, 0xEF010203, 0x0A000001, 5004):
        assert wanted in values


def test_the_source_of_a_unicast_flow_is_not_asked_for():
    """The flow's socket does not ask for it either."""
    assert ring_filter(flow("10.0.0.2", "10.0.0.1"), 7) == ring_filter(flow("10.0.0.2"), 7)
