"""The HTTP application: routes, the JSON API, and what every response has in common. Built by the server, and by tests.

Invariant: every refusal is a Problem, is counted, and tells nothing that its asker may not know.
"""
import json
import logging
import time
from collections.abc import Mapping

from aiohttp import web

from appliance.config import Config
from appliance.frame import Audience
from appliance.gateway import headers
from appliance.gateway.access import Doorkeeper
from appliance.gateway.counts import Counts
from appliance.gateway.hospital import PATH as HOSPITAL_PATH
from appliance.gateway.hospital import HospitalDoor
from appliance.gateway.judged import judged
from appliance.gateway.liveness import Liveness
from appliance.gateway.pages import UNBUILT, Page
from appliance.gateway.problem import Problem
from appliance.gateway.whep import GRANT, Whep
from appliance.runtime.stage import Stage

STREAM_PATH, SESSION_PATH = "/whep/{stream}", "/whep/{stream}/{session}"
_HTTP_REASONS = {404: "unknown_page", 405: "method", 413: "too_large"}
_SENTENCES = {404: "There is nothing at this address.", 405: "This address does not take that method.", 413: "The request is too large."}


def application(stage: Stage, pages: Mapping[str, Page], doorkeeper: Doorkeeper, liveness: Liveness, whep: Whep, hospital: HospitalDoor,
                counts: Counts) -> web.Application:
    """Everything that the gateway answers. Of `stage` it is asked at each request which streams there are."""
    config, log = stage.config, stage.log  # of it only what streams share, which no change touches
    app = web.Application(middlewares=[_problems(counts, log)])
    streams = _streams(stage, doorkeeper, liveness)
    page = _pages(pages)
    app.add_routes([
        web.get("/api/streams", streams, name="streams"),
        web.options("/api/streams", _preflight),
        *(web.route(method, HOSPITAL_PATH, hospital.answer) for method in ("GET", "POST", "PUT", "DELETE")),
        web.post(STREAM_PATH, whep.post, name="whep"),
        web.get(STREAM_PATH, whep.describe),
        web.options(STREAM_PATH, whep.options),
        web.patch(SESSION_PATH, whep.session_patch, name="session"),
        web.delete(SESSION_PATH, whep.session_delete),
        web.get(SESSION_PATH, whep.session_get),
        web.options(SESSION_PATH, whep.session_options),
        web.get("/{page:.*}", page, name="page"),
    ])
    app.on_response_prepare.append(_common_headers(config))
    return app


def _problems(counts: Counts, log: logging.Logger):
    """Middleware: turns every exception into application/problem+json and counts it."""
    @web.middleware
    async def answer(request: web.Request, handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Problem as problem:
            refusal = problem
        except web.RequestPayloadError:
            refusal = Problem(400, "malformed", "The body broke off, or is not what its headers say.", close=True)
        except web.HTTPException as error:
            kept = {name: value for name, value in error.headers.items() if name == "Allow"}
            refusal = Problem(error.status, _HTTP_REASONS.get(error.status, "malformed"), _SENTENCES.get(error.status, error.reason), kept)
        except ConnectionError:
            raise  # the client has gone; there is nobody to answer
        except Exception:
            log.exception("%s %s failed", request.method, request.match_info.route.name)
            refusal = Problem(500, "internal", "The appliance failed at this request; its log says why.")
        counts.refused[refusal.reason].add()
        return refusal.response()
    return answer


def _common_headers(config: Config):
    """Signal: security headers on everything, CORS and no-store on all but the viewer's own pages."""
    security = headers.security(config.server.certificate is not None)

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(security)
        response.headers["Server"] = "appliance"
        if request.path.startswith(("/whep/", "/api/")):
            response.headers.setdefault("Cache-Control", "no-store")
            response.headers.update(headers.cross_origin(request.headers.get("Origin"), config.server.allowed_origins))
    return add


def _streams(stage: Stage, doorkeeper: Doorkeeper, liveness: Liveness):
    """GET /api/streams: the streams that the token allows."""
    async def answer(request: web.Request) -> web.Response:
        grant = request[GRANT] = doorkeeper.grant(request.headers.get("Authorization"))
        config, streams, now_s = stage.config, [], time.monotonic()
        for stream in config.streams:
            if grant.allows(stream.name):
                title = stream.title if grant.audience is Audience.EXPERT else stream.class_title
                said = {"name": stream.name, "title": title, "audience": grant.audience.value, "live": liveness.live(stream.name, now_s)}
                if stream.name in stage.flows:  # one that waits has no raster yet
                    video = stage.flows[stream.name].video.format
                    said |= judged(stage.counters, stream.name, grant.audience)
                    shown = stage.config.encoder.planar_of(video)
                    # Tips are told in pixels of the source's raster; the best picture may be smaller.
                    said |= {"width": video.width, "height": video.height, "shown_width": shown.width, "shown_height": shown.height,
                             "rate": round(float(video.picture_rate), 3)}
                if grant.audience is Audience.EXPERT and config.hospital:
                    said["hospital"] = {"worklist": config.worklist is not None, "pacs": config.pacs is not None}
                streams.append(said)
        return web.Response(body=json.dumps({"streams": streams}).encode(), content_type="application/json")
    return answer


async def _preflight(_: web.Request) -> web.Response:
    return web.Response()


def _pages(pages: Mapping[str, Page]):
    """The viewer's files, by exact path only."""
    async def answer(request: web.Request) -> web.Response:
        page = pages.get(request.path)
        if page is None:
            raise web.HTTPNotFound
        response = web.Response(status=503 if page is UNBUILT else 200, body=page.body,
                                headers={"Content-Type": page.content_type, "Cache-Control": page.cache_control})
        response.etag = page.etag
        if any(tag.value in (page.etag, "*") for tag in request.if_none_match or ()):
            response.set_status(304)
            response.body = None
        return response
    return answer
