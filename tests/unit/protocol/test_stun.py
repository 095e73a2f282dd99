"""STUN beside the ICE library: whom a check calls, the answer to a plain one, and questions; nothing for everything else."""
import struct
from itertools import count

import pytest
from aioice import stun
from hypothesis import given
from hypothesis import strategies as st

from appliance.protocol.stun import Answers, Questions, called_fragment


def check(username="ours:theirs", kind=stun.Class.REQUEST, **attributes):
    message = stun.Message(stun.Method.BINDING, kind)
    message.attributes.update({"SOFTWARE": "odd", "PRIORITY": 1, "USERNAME": username} | attributes)
    message.add_message_integrity(b"p" * 22)
    return bytes(message)


@pytest.mark.parametrize("fragment", ["ours", "00abcdef", "a"])
def test_a_check_calls_the_part_before_the_colon(fragment):
    assert called_fragment(check(f"{fragment}:theirs")) == fragment


@pytest.mark.parametrize("datagram", [check("nocolon"), check(kind=stun.Class.RESPONSE), check("ö:theirs"), b"", b"\x16\xfe\xfd" + bytes(60),
                                      check()[:-1], check() + b"\0", check()[:4] + bytes(4) + check()[8:]], ids=count())
def test_anything_else_calls_nobody(datagram):
    assert called_fragment(datagram) == ""


@given(st.binary(max_size=200), st.integers(0, 120))
def test_no_octets_break_it(octets, at):
    right = check()
    assert isinstance(called_fragment(octets), str)
    assert isinstance(called_fragment(right[:at] + octets + right[at + len(octets):]), str)


USERNAME, PASSWORD, ADDRESS = "ours:theirs", "p" * 22, ("192.0.2.9", 4000)
numbers_32, numbers_64, transactions = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.binary(min_size=12, max_size=12)
addresses = st.tuples(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str), st.integers(1, 65535))


def plain(transaction=None, without=(), **attributes):
    """A check as a controlling viewer sends it."""
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, transaction)
    message.attributes.update({"USERNAME": USERNAME, "ICE-CONTROLLING": 1, "PRIORITY": 1} | attributes)
    for name in without:
        del message.attributes[name]
    return message


def signed(message, password=PASSWORD):
    message.add_message_integrity(password.encode())
    return bytes(message)


def with_attribute(number, value):
    """A right check with one more attribute, of a kind that the ICE library may not know."""
    body = bytes(plain())[20:] + struct.pack("!HH", number, len(value)) + value + bytes(-len(value) % 4)
    head = lambda more: struct.pack("!HHI12s", 1, len(body) + more, 0x2112A442, b"t" * 12)  # noqa: E731
    code = stun.message_integrity(head(0) + body, PASSWORD.encode())
    datagram = head(24) + body + struct.pack("!HH", 8, 20) + code
    return head(32) + datagram[20:] + struct.pack("!HHI", 0x8028, 4, stun.message_fingerprint(datagram))


@given(addresses, transactions, numbers_32, numbers_64, st.booleans())
def test_a_plain_check_gets_the_answer_that_the_ice_library_would_give(address, transaction, priority, tie_breaker, nominates):
    request = plain(transaction, **{"PRIORITY": priority, "ICE-CONTROLLING": tie_breaker} | ({"USE-CANDIDATE": None} if nominates else {}))
    twin = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction, {"XOR-MAPPED-ADDRESS": address})
    twin.add_message_integrity(PASSWORD.encode())
    assert Answers(USERNAME, PASSWORD, address).answer(signed(request), True) == bytes(twin)


def test_a_check_without_a_fingerprint_and_one_with_something_optional_are_plain():
    whole = signed(plain())
    for datagram in (whole[:2] + struct.pack("!H", len(whole) - 28) + whole[4:-8], with_attribute(0xC057, b"abcde"), with_attribute(0x8022, b"odd")):
        assert Answers(USERNAME, PASSWORD, ADDRESS).answer(datagram, True) is not None


def test_a_nomination_is_news_where_no_data_flows():
    request = signed(plain(**{"USE-CANDIDATE": None}))
    answers = Answers(USERNAME, PASSWORD, ADDRESS)
    assert answers.answer(request, False) is None and answers.answer(request, True) is not None and answers.answer(signed(plain()), False) is not None


@pytest.mark.parametrize("datagram", [
    signed(plain(), "q" * 22), signed(plain(USERNAME="ours:others")), signed(plain(without=["USERNAME"])), signed(plain(without=["PRIORITY"])),
    signed(plain(**{"ICE-CONTROLLED": 1})), bytes(plain()), signed(plain())[:-1], signed(plain()) + bytes(4), signed(plain())[:-4] + bytes(4),
    signed(stun.Message(stun.Method.BINDING, stun.Class.INDICATION, attributes=plain().attributes)),
    signed(stun.Message(stun.Method.ALLOCATE, stun.Class.REQUEST, attributes=plain().attributes)),
    with_attribute(0x0030, b"required"), with_attribute(0x0006, USERNAME.encode())], ids=count())
def test_all_else_is_left_to_the_ice_agent(datagram):
    assert Answers(USERNAME, PASSWORD, ADDRESS).answer(datagram, True) is None


@given(st.binary(max_size=200), st.integers(0, 120))
def test_no_octets_break_the_answers_and_no_changed_check_is_answered(octets, at):
    right, answers = signed(plain()), Answers(USERNAME, PASSWORD, ADDRESS)
    changed = right[:at] + octets + right[at + len(octets):]
    assert answers.answer(octets, True) is None and (changed == right or answers.answer(changed, True) is None)


@given(transactions, numbers_32, numbers_64, st.integers(4, 60), st.booleans())
def test_a_question_is_the_ice_librarys_own_and_its_answer_is_known(transaction, priority, tie_breaker, characters, controlling):
    username = "u" * characters + ":ours"
    twin = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, transaction,
                        {"USERNAME": username, "PRIORITY": priority, "ICE-CONTROLLING" if controlling else "ICE-CONTROLLED": tie_breaker})
    questions = Questions(username, PASSWORD, priority, tie_breaker, controlling)
    request = questions.request(transaction)
    assert request == signed(twin)
    answer = signed(stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction, {"XOR-MAPPED-ADDRESS": ADDRESS}))
    assert questions.grants(answer, transaction) and not questions.grants(answer, bytes(12 - 1) + b"x") and not questions.grants(request, transaction)
