"""Each viewer has a password of its own where the TURN server shares a secret with us; a configured one goes out as it is."""
from appliance.config import IceServer
from appliance.gateway.ice_servers import servers_for
from appliance.tokens import Grant, Role

TURN = IceServer("turn:t.example", secret="north")


def grant(role=Role.STUDENT, expires_s=1_700_000_000):
    return Grant("Dr. Who", role, "scope", expires_s)


def test_a_password_by_the_shared_secret():
    """The password is what `printf 1700000000:class | openssl dgst -sha1 -hmac north -binary | base64` prints."""
    [server] = servers_for(grant(), [TURN])
    assert server == IceServer("turn:t.example", "1700000000:class", "6HlZUF10ZqZZZlA0dVsf9vD5tAY=")


def test_passwords_differ_by_audience_and_expiry_and_name_nobody():
    found = [servers_for(one, [TURN])[0] for one in (grant(), grant(Role.EXPERT), grant(expires_s=1_700_000_001))]
    assert len({server.credential for server in found}) == 3
    assert not any("Who" in server.username for server in found)


def test_what_is_configured_stays_as_it_is():
    servers = [IceServer("stun:s.example"), IceServer("turn:t.example", "u", "c")]
    assert servers_for(grant(), servers) == servers
