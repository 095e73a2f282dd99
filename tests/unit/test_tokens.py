"""Tokens: what a role may see, every way in which a token fails, and the key file that two processes share."""
import argparse
import stat
import threading
from pathlib import Path

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import config, tokens
from appliance.errors import ConfigurationError
from appliance.frame import Audience

KEY = b"k" * 32
NOW_S = 1_800_000_000.0
CLAIMS = {"sub": "ana", "role": "expert", "stream": "endoscope", "iat": int(NOW_S), "exp": int(NOW_S) + 60, "iss": "appliance"}


def refusal(token: str, now_s: float = NOW_S) -> str:
    with pytest.raises(tokens.TokenError) as caught:
        tokens.verify(KEY, token, now_s)
    return str(caught.value)


def test_a_token_gives_what_was_issued():
    grant = tokens.verify(KEY, tokens.issue(KEY, "student", "endoscope", 2, "class-3b", NOW_S), NOW_S)
    assert grant == tokens.Grant("class-3b", tokens.Role.STUDENT, "endoscope", int(NOW_S) + 7200)
    assert grant.allows("endoscope") and not grant.allows("microscope") and not grant.allows("*")


def test_only_experts_are_the_expert_audience():
    assert {role: role.audience for role in tokens.Role} == {tokens.Role.EXPERT: Audience.EXPERT, tokens.Role.STUDENT: Audience.CLASS}


def test_a_star_allows_every_stream():
    grant = tokens.verify(KEY, tokens.issue(KEY, "expert", "*", now_s=NOW_S), NOW_S)
    assert grant.allows("endoscope") and grant.allows("microscope")


def test_subjects_differ_unless_named():
    subjects = {tokens.verify(KEY, tokens.issue(KEY, "expert", "s", now_s=NOW_S), NOW_S).subject for _ in range(8)}
    assert len(subjects) == 8


def test_a_token_ends_at_its_time_and_does_not_begin_before_its_issue():
    token = tokens.issue(KEY, "expert", "endoscope", 1, now_s=NOW_S)
    assert tokens.verify(KEY, token, NOW_S + 3599).role is tokens.Role.EXPERT
    assert "expired" in refusal(token, NOW_S + 3600)
    assert tokens.verify(KEY, token, NOW_S - tokens.CLOCK_TOLERANCE_S)
    assert "future" in refusal(token, NOW_S - tokens.CLOCK_TOLERANCE_S - 1)


@pytest.mark.parametrize("hours", [0, -1, tokens.HOURS_MAX + 1, float("nan"), float("inf")])
def test_a_lifetime_out_of_range_is_refused(hours):
    with pytest.raises(ConfigurationError, match="--hours"):
        tokens.issue(KEY, "expert", "endoscope", hours)


@pytest.mark.parametrize("missing", sorted(CLAIMS))
def test_every_claim_is_required(missing):
    claims = {name: value for name, value in CLAIMS.items() if name != missing}
    assert "malformed" in refusal(jwt.encode(claims, KEY, "HS256"))


@pytest.mark.parametrize("change, reason", [
    ({"iss": "elsewhere"}, "not signed by this appliance"),
    ({"role": "surgeon"}, "role"),
    ({"role": ["expert"]}, "role"),
    ({"stream": ["endoscope"]}, "claims"),
    ({"stream": None}, "malformed"),
    ({"iat": True}, "claims"),
    ({"exp": 1e300}, "claims"),
])
def test_claims_that_are_not_ours_give_nothing(change, reason):
    assert reason in refusal(jwt.encode(CLAIMS | change, KEY, "HS256"))


def test_another_key_another_algorithm_and_no_signature_give_nothing():
    for token in (jwt.encode(CLAIMS, b"x" * 32, "HS256"), jwt.encode(CLAIMS, KEY * 2, "HS512"), jwt.encode(CLAIMS, None, "none"),
                  jwt.encode(CLAIMS, KEY, "HS256").rpartition(".")[0] + "."):
        assert "not signed by this appliance" in refusal(token)
    assert "too long" in refusal("a" * (tokens.TOKEN_CHARACTERS_MAX + 1))


@given(st.one_of(st.text(max_size=100), st.from_regex(r"[A-Za-z0-9_=-]{0,40}\.[A-Za-z0-9_=-]{0,40}\.[A-Za-z0-9_=-]{0,40}", fullmatch=True)))
def test_any_text_is_refused_without_another_error(text):
    assert refusal(text)


def test_the_key_is_made_once_and_is_private(tmp_path):
    state = tmp_path / "a" / "state"
    keys: list[bytes] = []
    threads = [threading.Thread(target=lambda: keys.append(tokens.signing_key(state))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8 and len(set(keys)) == 1 and len(keys[0]) == tokens.KEY_BYTES
    assert stat.S_IMODE((state / "token.key").stat().st_mode) == 0o600
    assert [path.name for path in state.iterdir()] == ["token.key"]


@pytest.mark.parametrize("content", [b"", b"abcd", b"zz" * 32, b"\xff" * 64])
def test_a_damaged_key_is_refused_with_the_remedy(tmp_path, content):
    (tmp_path / "token.key").write_bytes(content)
    with pytest.raises(ConfigurationError, match="Remove the file"):
        tokens.signing_key(tmp_path)


def test_a_state_dir_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "state").write_text("")
    with pytest.raises(ConfigurationError, match="token.key"):
        tokens.signing_key(tmp_path / "state")


def configuration(listen: str) -> config.Config:
    text = f'[server]\nlisten = "{listen}"\n[[stream]]\nname = "endoscope"\ninterface = "lo"\nvideo = "a.sdp"\n'
    return config.parse(text, Path("/etc/appliance/appliance.toml"))


def test_an_address_holds_the_token_in_its_fragment():
    assert tokens.address(configuration("10.0.0.5:8443"), "endoscope", "a.b.c") == "https://10.0.0.5:8443/?stream=endoscope#token=a.b.c"
    assert tokens.address(configuration("[::1]:8443"), "endoscope", "t").startswith("https://[::1]:8443/")
    assert "0.0.0.0" not in tokens.address(configuration("0.0.0.0:8443"), "endoscope", "t")


def test_the_command_prints_a_token_or_a_link(tmp_path, capsys):
    path = tmp_path / "appliance.toml"
    path.write_text('[[stream]]\nname = "endoscope"\ninterface = "lo"\nvideo = "a.sdp"\n')
    options = argparse.Namespace(config=path, role="student", stream="endoscope", hours=1, name="class-3b", link=False)
    assert tokens.run(options) == 0
    grant = tokens.verify(tokens.signing_key(tmp_path / "state"), capsys.readouterr().out.strip())
    assert (grant.subject, grant.role, grant.stream) == ("class-3b", tokens.Role.STUDENT, "endoscope")
    options.link, options.stream = True, "*"
    tokens.run(options)
    assert capsys.readouterr().out.startswith("https://127.0.0.1:8443/?stream=endoscope#token=ey")
    options.stream = "endoscop"
    with pytest.raises(ConfigurationError, match="Did you mean 'endoscope'"):
        tokens.run(options)


@pytest.mark.parametrize("name", ["x" * 81, "a\nb", "bell\a"])
def test_a_name_that_would_spoil_the_log_is_refused(name):
    with pytest.raises(ConfigurationError, match="--name"):
        tokens.issue(bytes(32), "expert", "endoscope", subject=name)
