"""Consent: asked for every 4 to 6 turns with a number of its own each time, prolonged by the viewer's own answer only, and over in the end."""
from aioice import stun
from hypothesis import given
from hypothesis import strategies as st

from appliance.fanout.consent import CONSENT_S, TURNS_MAX, TURNS_MIN, Consent
from appliance.protocol.stun import Questions

PASSWORD = "p" * 22


def consent(now_s=0.0):
    return Consent(Questions("theirs:ours", PASSWORD, 1, 2), now_s)


def asked(kept):
    """The next request, and after how many turns it came."""
    for turn in range(1, TURNS_MAX + 1):
        request = kept.turn()
        if request is not None:
            return stun.parse_message(request), turn
    raise AssertionError("it did not ask")


def answer(request, password=PASSWORD, kind=stun.Class.RESPONSE):
    message = stun.Message(stun.Method.BINDING, kind, request.transaction_id, {"XOR-MAPPED-ADDRESS": ("192.0.2.1", 9)})
    message.add_message_integrity(password.encode())
    return bytes(message)


def test_it_asks_at_irregular_times_and_never_twice_with_one_number():
    kept = consent()
    found = [asked(kept) for _ in range(200)]
    assert {turns for _, turns in found} == set(range(TURNS_MIN, TURNS_MAX + 1))
    assert len({request.transaction_id for request, _ in found}) == 200


def test_an_answer_prolongs_it_and_counts_once():
    kept = consent()
    request, _ = asked(kept)
    assert kept.hear(answer(request), 20.0) and not kept.hear(answer(request), 25.0)
    assert not kept.expired(20.0 + CONSENT_S - 1) and kept.expired(20.0 + CONSENT_S)


def test_no_other_answer_prolongs_it():
    kept = consent()
    assert not kept.hear(answer(stun.Message(stun.Method.BINDING, stun.Class.REQUEST)), 1.0), "nothing was asked yet"
    before, _ = asked(kept)
    request, _ = asked(kept)
    for wrong in (answer(before), answer(request, "q" * 22), answer(request, kind=stun.Class.ERROR), answer(request)[:-1], bytes(request), b""):
        assert not kept.hear(wrong, 20.0)
    assert kept.expired(CONSENT_S)


@given(st.binary(max_size=100))
def test_no_octets_break_it(octets):
    kept = consent()
    asked(kept)
    assert not kept.hear(octets, 1.0)
