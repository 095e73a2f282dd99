"""The two filters of a flow, as instructions: what one takes the other refuses. The kernel runs them in tests/network/test_wire.py."""
import struct

import pytest

from appliance.protocol.sdp import MetadataFlow
from appliance.runtime.packet_filter import FOREIGN_BYTES, WHOLE_BYTES, ring_filter, socket_filter

RETURN = 0x06


def steps(program: bytes) -> list[tuple[int, int, int, int]]:
    """(code, jump if true, jump if false, value) each."""
    return list(struct.iter_unpack("@HBBI", program))


def flow(group: str, source_address: str | None = None) -> MetadataFlow:
    return MetadataFlow(group=group, port=5004, source_address=source_address, payload_type=96)


def returns(program: bytes) -> list[int]:
    """How much of a packet each end of the program takes."""
    return [value for code, _, _, value in steps(program) if code == RETURN]


@pytest.mark.parametrize("build", [ring_filter, socket_filter, lambda flow, index: ring_filter(flow, index, "fd00::2" if ":" in flow.group else "10.0.0.2")])
@pytest.mark.parametrize("given", [flow("239.1.2.3"), flow("239.1.2.3", "10.0.0.1"), flow("ff15::1"), flow("ff15::1", "fd00::1"), flow("10.0.0.2")], ids=str)
def test_every_jump_ends_within_the_program_and_so_does_the_program(build, given):
    program = steps(build(given, 3))
    assert program[-1][0] == RETURN
    for place, (_, true, false, _) in enumerate(program):
        assert place + 1 + max(true, false) < len(program) or program[place][0] == RETURN


def test_the_filters_part_the_packets_of_a_flow():
    assert returns(ring_filter(flow("239.1.2.3"), 3)) == [WHOLE_BYTES, 0]
    assert returns(socket_filter(flow("239.1.2.3"), 3))[:2] == [0, WHOLE_BYTES]


def test_an_octet_of_a_strangers_packet_passes_and_none_of_the_other_paths():
    assert returns(ring_filter(flow("239.1.2.3", "10.0.0.1"), 3)) == [WHOLE_BYTES, FOREIGN_BYTES, 0]
    assert returns(ring_filter(flow("239.1.2.3", "10.0.0.1"), 3, "10.0.0.2")) == [WHOLE_BYTES, 0, FOREIGN_BYTES, 0]


def test_interface_group_port_and_source_are_asked_for():
    values = [value for *_, value in steps(ring_filter(flow("239.1.2.3", "10.0.0.1"), 7))]
    for wanted in (7, 0xEF010203, 0x0A000001, 5004):
        assert wanted in values


def test_the_source_of_a_unicast_flow_is_not_asked_for():
    """The flow's socket does not ask for it either."""
    assert ring_filter(flow("10.0.0.2", "10.0.0.1"), 7) == ring_filter(flow("10.0.0.2"), 7)
