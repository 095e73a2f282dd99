"""The hospital stage behind the gateway: experts' requests go on to its Unix socket, nobody else's do. Called by the application's routes.

Invariant: a class never gets anything of it, not even whether there is one: 403 before anything else is looked at.
"""
import json
from collections.abc import Callable, Container
from urllib.parse import quote

import aiohttp
from aiohttp import web

from appliance.frame import Audience
from appliance.gateway.access import Doorkeeper, forbidden, require_stream
from appliance.gateway.problem import Problem, retry_after
from appliance.gateway.whep import GRANT, read_body

# Segments of letters, digits and dots, none of which begins with a dot: nothing that leads elsewhere.
PATH = "/api/streams/{stream}/hospital{path:(?:/[A-Za-z0-9][A-Za-z0-9.]*)*}"
BODY_BYTES_MAX = 16 * 1024
ANSWER_BYTES_MAX = 16 << 20
ANSWER_LIMIT_S = 300.0  # its own limits are shorter: see timeout_s in [pacs] and [worklist]
NO_STAGE_RETRY_S = 5
_CONTENT_TYPES = ("application/json", "application/problem+json", "image/jpeg")


class HospitalDoor:
    """The way to the stage at the Unix socket `path`; "" if there is none. `streams`: those that run."""

    def __init__(self, path: str, streams: Callable[[], Container[str]], doorkeeper: Doorkeeper) -> None:
        self._streams, self._doorkeeper = streams, doorkeeper
        self._client = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path, force_close=True),
                                             timeout=aiohttp.ClientTimeout(total=ANSWER_LIMIT_S)) if path else None

    async def close(self) -> None:
        """Ends the client."""
        if self._client:
            await self._client.close()

    async def answer(self, request: web.Request) -> web.Response:
        """GET, POST, PUT and DELETE below PATH."""
        grant = request[GRANT] = self._doorkeeper.grant(request.headers.get("Authorization"))
        if grant.audience is not Audience.EXPERT:
            raise forbidden("This is for experts.")
        stream = request.match_info["stream"]
        require_stream(grant, stream, stream in self._streams())
        if self._client is None:
            raise Problem(404, "unknown_page", "No hospital system is configured for this appliance: its configuration has neither [worklist] nor [pacs].")
        body = await _body(request)
        path = f"http://hospital/streams/{quote(stream)}{request.match_info['path']}"
        try:
            async with self._client.request(request.method, path, params=request.query, data=body or None,
                                            headers={"X-Subject": quote(grant.subject)}) as response:
                content = b""
                while len(content) <= ANSWER_BYTES_MAX and (more := await response.content.read(ANSWER_BYTES_MAX)):
                    content += more
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Problem(503, "no_hospital", "The part of the appliance that speaks with PACS and worklist does not answer; the picture goes on without it.",
                          retry_after(NO_STAGE_RETRY_S)) from error
        if len(content) > ANSWER_BYTES_MAX or response.content_type not in _CONTENT_TYPES:
            raise Problem(503, "no_hospital", "The part of the appliance that speaks with PACS and worklist is in trouble.", retry_after(NO_STAGE_RETRY_S))
        return web.Response(status=response.status, body=content, content_type=response.content_type)


async def _body(request: web.Request) -> bytes:
    """The request's JSON, as octets; b"" for a method without a body."""
    if request.method in ("GET", "DELETE"):
        return b""
    text = await read_body(request, "application/json", BODY_BYTES_MAX)
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Problem(400, "malformed", "The body is not JSON.") from error
    return text.encode()
