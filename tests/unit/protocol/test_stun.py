"""Whom a STUN check calls: right for what the ICE library makes, and nothing for everything else."""
import pytest
from aioice import stun
from hypothesis import given
from hypothesis import strategies as st

from appliance.protocol.stun import called_fragment


def check(username="ours:theirs", kind=stun.Class.REQUEST, **attributes):
    message = stun.Message(stun.Method.BINDING, kind)
    message.attributes.update({"SOFTWARE": "odd", "PRIORITY": 1, "USERNAME": username} | attributes)
    message.add_message_integrity(b"p" * 22)
    return bytes(message)


@pytest.mark.parametrize("fragment", ["ours", "00abcdef", "a"])
def test_a_check_calls_the_part_before_the_colon(fragment):
    assert called_fragment(check(f"{fragment}:theirs")) == fragment


@pytest.mark.parametrize("datagram", [check("nocolon"), check(kind=stun.Class.RESPONSE), check("ö:theirs"), b"", b"\x16\xfe\xfd" + bytes(60),
                                      check()[:-1], check() + b"\0", check()[:4] + bytes(4) + check()[8:]])
def test_anything_else_calls_nobody(datagram):
    assert called_fragment(datagram) == ""


@given(st.binary(max_size=200), st.integers(0, 120))
def test_no_octets_break_it(octets, at):
    right = check()
    assert isinstance(called_fragment(octets), str)
    assert isinstance(called_fragment(right[:at] + octets + right[at + len(octets):]), str)
