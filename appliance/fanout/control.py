"""The worker's HTTP face on its Unix socket, for the gateway alone: make, feed and end sessions. Served by fanout.worker.

POST /sessions, PATCH and DELETE /sessions/{session}, GET /sessions. Every refusal is JSON {"status", "error"}.
"""
import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from appliance.fanout.offer import MALFORMED, OfferRefused
from appliance.fanout.worker import Worker
from appliance.frame import Audience
from appliance.protocol.session import TEXT_CHARACTERS_MAX

# An SDP as JSON: every character may take six octets.
BODY_BYTES_MAX = 6 * TEXT_CHARACTERS_MAX + 4096
_FIELDS = ("stream", "audience", "expires_s", "sdp", "session")


def application(worker: Worker) -> web.Application:
    """The application that serves the control socket."""
    async def create(request: web.Request) -> web.Response:
        return web.json_response({"sdp": await worker.create(*await _body(request))}, status=201)

    async def trickle(request: web.Request) -> web.Response:
        await worker.trickle(request.match_info["session"], await request.text())
        return web.Response(status=204)

    async def delete(request: web.Request) -> web.Response:
        await worker.delete(request.match_info["session"])
        return web.Response()

    async def count(request: web.Request) -> web.Response:
        return web.json_response({"viewers": worker.viewers})

    app = web.Application(middlewares=[_refusals], client_max_size=BODY_BYTES_MAX)
    app.add_routes([web.post("/sessions", create), web.get("/sessions", count),
                    web.patch("/sessions/{session}", trickle), web.delete("/sessions/{session}", delete)])
    return app


async def _body(request: web.Request) -> tuple[str, Audience, int, str, str]:
    try:
        body = json.loads(await request.text())
        stream, audience, expires_s, sdp, session = (body[name] for name in _FIELDS)
        if all(isinstance(value, str) for value in (stream, sdp, session)) and type(expires_s) is int:
            return stream, Audience(audience), expires_s, sdp, session
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise OfferRefused(MALFORMED, f"the body needs {', '.join(_FIELDS)} as JSON") from error
    raise OfferRefused(MALFORMED, "expires_s is a whole number, the other fields are texts")


@web.middleware
async def _refusals(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    try:
        return await handler(request)
    except OfferRefused as refusal:
        return web.json_response({"status": refusal.status, "error": str(refusal)}, status=refusal.status)
    except web.HTTPException as refusal:
        return web.json_response({"status": refusal.status, "error": refusal.reason}, status=refusal.status)
