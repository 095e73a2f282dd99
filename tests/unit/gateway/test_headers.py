"""Headers: what may come from where, which media types are taken, how ICE servers are told."""
import pytest

from appliance.config import IceServer
from appliance.gateway import headers


def test_hsts_comes_only_with_a_certificate_that_browsers_trust():
    assert "Strict-Transport-Security" not in headers.security(trusted_certificate=False)
    assert headers.security(trusted_certificate=True)["Strict-Transport-Security"].startswith("max-age=")


def test_an_allowed_origin_is_named_and_caches_are_told():
    allowed = headers.cross_origin("https://a.example", ("https://a.example", "https://b.example"))
    assert (allowed["Access-Control-Allow-Origin"], allowed["Vary"]) == ("https://a.example", "Origin")
    assert headers.cross_origin("https://c.example", ("https://a.example",)) == {"Vary": "Origin"}
    assert headers.cross_origin(None, ("https://a.example",)) == {"Vary": "Origin"}
    assert headers.cross_origin("https://a.example", ()) == {}


@pytest.mark.parametrize("accept, admitted", [
    (None, True), ("", True), ("*/*", True), ("application/sdp", True), ("application/*", True), ("text/html, application/sdp;q=0.1", True),
    ("APPLICATION/SDP", True), ("text/html", False), ("application/sdp;q=0", False), ("application/sdp;q=0, */*", False),
    ("*/*;q=0", False), ("application/sdp;q=x", False), ("text/html, */*;q=0.5", True),
])
def test_accept_as_http_means_it(accept, admitted):
    assert headers.accepts(accept, "application/sdp") is admitted


@pytest.mark.parametrize("if_match, tags", [
    ('"a"', ['"a"']), ('"a", "b"', ['"a"', '"b"']), ('W/"a", "b"', ['"b"']), ("", []), (" , ", []),
])
def test_only_strong_tags_match(if_match, tags):
    assert headers.entity_tags(if_match) == tags


def test_links_name_the_channel_and_the_ice_servers():
    servers = (IceServer("stun:s.example:3478"), IceServer("turn:t.example?transport=tcp", "u", "c"))
    channel, stun, turn = headers.links("/whep/scope/0.x", servers)
    assert channel == f'</whep/scope/0.x>; rel="{headers.METADATA_EXTENSION}"; channel="metadata"'
    assert stun == '<stun:s.example:3478>; rel="ice-server"'
    assert turn == '<turn:t.example?transport=tcp>; rel="ice-server"; username="u"; credential="c"; credential-type="password"'
