"""The STUN and TURN servers that a viewer is told of, each TURN server with the username and password of this viewer.

Called by the WHEP endpoint, for whoever has shown a valid token and nobody else. Pure.
"""
import base64
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import replace

from appliance.config import IceServer
from appliance.tokens import Grant


def servers_for(grant: Grant, servers: Iterable[IceServer]) -> list[IceServer]:
    """The servers as this viewer uses them. Where the TURN server shares a secret with us, the password ends with the viewer's token.

    Source: draft-uberti-behave-turn-rest-00 section 2.2, as coturn's use-auth-secret reads it: "expiry:name" and its HMAC-SHA1 in Base64.
    """
    return [_with_password(server, grant) if server.secret else server for server in servers]


def _with_password(server: IceServer, grant: Grant) -> IceServer:
    # The audience, not the person: the TURN server may be somebody else's, and it writes names into its log.
    username = f"{grant.expires_s}:{grant.audience.value}"
    password = hmac.digest(server.secret.encode(), username.encode(), hashlib.sha1)
    return replace(server, username=username, credential=base64.b64encode(password).decode(), secret="")
