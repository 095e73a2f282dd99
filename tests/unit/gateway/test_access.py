"""Session names: they say to whom a session belongs, and nobody makes one up."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.frame import Audience
from appliance.gateway.access import SESSION_NAME_CHARACTERS_MAX, Doorkeeper
from appliance.gateway.problem import Problem

KEEPER = Doorkeeper(b"k" * 32)


def status(session: str, stream: str = "scope", audience: Audience = Audience.EXPERT, keeper: Doorkeeper = KEEPER) -> int:
    with pytest.raises(Problem) as caught:
        keeper.worker_of(session, stream, audience)
    return caught.value.status


@pytest.mark.parametrize("worker", [0, 1, 63])
@pytest.mark.parametrize("audience", Audience)
def test_a_name_leads_back_to_its_worker(worker, audience):
    session = KEEPER.name_session(worker, "scope", audience)
    assert session.startswith(f"{worker}.") and len(session) <= SESSION_NAME_CHARACTERS_MAX
    assert Doorkeeper(b"k" * 32).worker_of(session, "scope", audience) == worker


def test_a_name_is_of_one_stream_one_audience_and_one_key():
    session = KEEPER.name_session(0, "scope", Audience.EXPERT)
    assert status(session, audience=Audience.CLASS) == 403
    assert status(session, stream="other") == 404
    assert status(session, keeper=Doorkeeper(b"x" * 32)) == 404
    assert status("1" + session[1:]) == 404


def test_names_differ_and_have_one_spelling_each():
    names = {KEEPER.name_session(0, "scope", Audience.EXPERT) for _ in range(64)}
    assert len(names) == 64
    name = names.pop()
    for spelling in (name + "=", name + "A", name[:-1], "0" + name, "+" + name, "٠" + name[1:], name.replace(".", ".."), name.upper() + " "):
        assert status(spelling) == 404


@given(st.text(max_size=80))
def test_no_text_is_a_name(text):
    assert status(text) == 404


@given(st.integers(min_value=0, max_value=42), st.integers(min_value=0, max_value=63))
def test_a_name_changed_in_one_character_is_none(place, replacement):
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    session = KEEPER.name_session(0, "scope", Audience.EXPERT)
    changed = session[:2 + place] + alphabet[replacement] + session[3 + place:]
    assert changed == session or status(changed) == 404


def test_an_entity_tag_is_strong_constant_and_of_one_session():
    first, second = (KEEPER.name_session(0, "scope", Audience.EXPERT) for _ in range(2))
    assert KEEPER.etag(first) == Doorkeeper(b"k" * 32).etag(first) != KEEPER.etag(second)
    assert KEEPER.etag(first).startswith('"') and KEEPER.etag(first).endswith('"')
