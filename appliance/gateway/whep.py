"""WHEP (draft-ietf-wish-whep-04, RFC 9725): the endpoint that opens sessions and the resource that each session is.

Called by the application's routes. It decides and forwards; offers and candidates are read by the fan-out worker.
"""
import asyncio
import logging
import time
from collections.abc import Callable, Set

from aiohttp import web
from multidict import CIMultiDict

from appliance import clock
from appliance.config import IceServer
from appliance.gateway.access import Doorkeeper, require_stream
from appliance.gateway.counts import Counts
from appliance.gateway.headers import SDP, SDP_FRAGMENT, accepts, entity_tags, ice_links, links
from appliance.gateway.ice_servers import servers_for
from appliance.gateway.liveness import REFUSED_AFTER_S, Liveness
from appliance.gateway.problem import Problem, retry_after
from appliance.gateway.workers import Workers
from appliance.tokens import Grant

OFFER_BYTES_MAX = 64 * 1024
FRAGMENT_BYTES_MAX = 16 * 1024
BODY_LIMIT_S = 5.0
NOT_LIVE_RETRY_S = 2
GRANT = web.RequestKey("grant", Grant)
"""Where a request keeps its grant, for the access log."""


class Whep:
    """Endpoint and sessions of every stream."""

    def __init__(self, streams: Callable[[], Set[str]], doorkeeper: Doorkeeper, workers: Workers, liveness: Liveness,
                 ice_servers: tuple[IceServer, ...], counts: Counts, log: logging.Logger) -> None:
        """`streams`: the names of those that there are now, with a picture or not."""
        self._streams, self._doorkeeper, self._workers, self._liveness = streams, doorkeeper, workers, liveness
        self._ice_servers, self._counts, self._log = ice_servers, counts, log

    async def post(self, request: web.Request) -> web.Response:
        """Opens a session: 201 with the answer, or a Problem."""
        started_ns = clock.monotonic_ns()
        grant, stream = self._authorise(request)
        if not accepts(request.headers.get("Accept"), SDP):
            raise Problem(406, "not_acceptable", f"The answer is {SDP}, which the Accept header excludes.")
        offer = await read_body(request, SDP, OFFER_BYTES_MAX)
        if not offer.startswith("v=0"):
            raise Problem(400, "malformed", "The body is not an SDP offer: it does not begin with v=0.")
        if not self._liveness.live(stream, time.monotonic(), REFUSED_AFTER_S):
            raise Problem(409, "not_live", "This stream has no picture at the moment; try again soon.", retry_after(NOT_LIVE_RETRY_S))
        joined = await self._workers.join(stream, grant.audience, grant.expires_s, offer,
                                          lambda worker: self._doorkeeper.name_session(worker, stream, grant.audience))
        if request.transport is None or request.transport.is_closing():
            self._workers.abandon_soon(joined.worker, joined.session)  # whoever asked has gone, and will never hear of it
        self._counts.joins[grant.audience].add()
        self._counts.join_time.observe_ns(clock.monotonic_ns() - started_ns)
        self._log.info("%s joined %s as %s on fanout.%d", grant.subject, stream, grant.role.value, joined.worker)
        path = f"/whep/{stream}/{joined.session}"
        headers = CIMultiDict({"Content-Type": SDP, "Location": path, "ETag": self._doorkeeper.etag(joined.session), "Accept-Patch": SDP_FRAGMENT})
        for value in links(path, servers_for(grant, self._ice_servers)):
            headers.add("Link", value)
        return web.Response(status=201, body=joined.answer.encode(), headers=headers)

    async def describe(self, request: web.Request) -> web.Response:
        """GET and HEAD of an endpoint: that it is one, without content."""
        self._authorise(request)
        if request.method == "HEAD":
            return web.Response(headers={"Content-Type": SDP, "Accept-Post": SDP})
        return web.Response(status=204, headers={"Accept-Post": SDP})

    async def options(self, request: web.Request) -> web.Response:
        """Preflight, which has no token and is told nothing secret; with a token, the ICE servers for the offer (RFC 9725 section 4.6)."""
        headers = CIMultiDict({"Accept-Post": SDP})
        if "Authorization" in request.headers:
            grant, _ = self._authorise(request)
            for value in ice_links(servers_for(grant, self._ice_servers)):
                headers.add("Link", value)
        return web.Response(headers=headers)

    async def session_options(self, _: web.Request) -> web.Response:
        """Preflight of a session's requests."""
        return web.Response(headers={"Accept-Patch": SDP_FRAGMENT})

    async def session_get(self, request: web.Request) -> web.Response:
        """GET and HEAD of a session: that its name is valid, without content (RFC 9725 section 4.1)."""
        self._own_session(request)
        return web.Response(status=204, headers={"ETag": self._doorkeeper.etag(request.match_info["session"]), "Accept-Patch": SDP_FRAGMENT})

    async def session_patch(self, request: web.Request) -> web.Response:
        """Takes the player's trickled candidates."""
        worker, session = self._own_session(request)
        if_match = request.headers.get("If-Match")
        if if_match is None:
            raise Problem(428, "precondition", "If-Match with the session's ETag is needed.")
        if if_match.strip() in ("*", '"*"'):
            raise Problem(422, "precondition", "ICE is not restarted within a session: open a new one.")
        if self._doorkeeper.etag(session) not in entity_tags(if_match):
            raise Problem(412, "precondition", "If-Match names another ETag than this session's.")
        await self._workers.ask(worker, "PATCH", session, await read_body(request, SDP_FRAGMENT, FRAGMENT_BYTES_MAX), SDP_FRAGMENT)
        return web.Response(status=204)

    async def session_delete(self, request: web.Request) -> web.Response:
        """Ends a session, whatever If-Match says. One that has ended already is what the asker wants (RFC 9110 section 9.2.2).

        A page that goes away closes its connection before it sends this, and the worker mostly hears of that first.
        """
        worker, session = self._own_session(request)
        try:
            await self._workers.ask(worker, "DELETE", session)
        except Problem as problem:
            if problem.reason != "unknown_session":
                raise
        return web.Response(status=200)

    def _authorise(self, request: web.Request) -> tuple[Grant, str]:
        stream = request.match_info["stream"]
        grant = request[GRANT] = self._doorkeeper.grant(request.headers.get("Authorization"))
        require_stream(grant, stream, stream in self._streams())
        return grant, stream

    def _own_session(self, request: web.Request) -> tuple[int, str]:
        grant, stream = self._authorise(request)
        session = request.match_info["session"]
        return self._doorkeeper.worker_of(session, stream, grant.audience), session


async def read_body(request: web.Request, media_type: str, octets_max: int) -> str:
    """The request's text. Problem 415, 413, 408 or 400 if it is of another type, too large, too slow or not UTF-8."""
    if request.content_type != media_type:
        headers = {"Accept-Patch" if request.method == "PATCH" else "Accept-Post": media_type}
        raise Problem(415, "media_type", f"The body must be {media_type}.", headers)
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise Problem(415, "media_type", "The body must not be compressed.", {"Accept-Encoding": "identity"})
    too_large = Problem(413, "too_large", f"The body may have {octets_max} octets at most.")
    if (request.content_length or 0) > octets_max:
        raise too_large
    octets = bytearray()
    try:
        async with asyncio.timeout(BODY_LIMIT_S):
            async for chunk in request.content.iter_any():
                octets += chunk
                if len(octets) > octets_max:
                    raise too_large
    except TimeoutError as error:
        raise Problem(408, "too_slow", f"The body did not arrive within {BODY_LIMIT_S:g} s.", close=True) from error
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        raise Problem(400, "malformed", "The body is not text in UTF-8.") from error
