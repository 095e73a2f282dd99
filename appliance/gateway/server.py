"""Serves the application over TLS on the inherited socket, with a limit on everything that a client may take. Called as the stage."""
import asyncio
import logging
import socket
import ssl
import time

import uvloop
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError

from appliance.gateway import pages
from appliance.gateway.access import Doorkeeper
from appliance.gateway.application import application
from appliance.gateway.certificate import tls_context
from appliance.gateway.counts import Counts
from appliance.gateway.hospital import HospitalDoor
from appliance.gateway.liveness import SAMPLE_INTERVAL_S, Liveness
from appliance.gateway.whep import GRANT, Whep
from appliance.gateway.workers import Life, Workers
from appliance.runtime.stage import Stage
from appliance.tokens import signing_key

CONNECTIONS_MAX = 2048
BACKLOG = 256
HANDSHAKE_LIMIT_S = 5.0
IDLE_LIMIT_S = 20.0        # for a request to begin and its head to end; also between requests
UNREAD_LIMIT_S = 20.0      # for a client to take what it is sent
LINE_BYTES_MAX = 4096      # request line
FIELD_BYTES_MAX = 8192     # one header field
FIELDS_MAX = 64
STOP_LIMIT_S = 0.5
_PATH_CHARACTERS_SHOWN = 96
_SECRET_CHARACTERS_SHOWN = 6
_MALFORMED_METHOD = "UNKNOWN"  # what aiohttp calls the request that it could not read


def run(stage: Stage) -> None:
    """The gateway's process."""
    uvloop.run(serve(stage))


async def serve(stage: Stage) -> None:
    """The gateway, until the stage is told to stop. ConfigurationError if its key or certificate cannot be used."""
    server = stage.config.server
    counts = Counts(stage.counters)
    context = tls_context(server, stage.log)
    doorkeeper = Doorkeeper(signing_key(server.state_dir))
    liveness = Liveness(_frame_counters(stage), time.monotonic())
    workers = _workers(stage)
    whep = Whep(lambda: {stream.name for stream in stage.config.streams}, doorkeeper, workers, liveness, server.ice_servers, counts, stage.log)
    stage.on_change(lambda: _follow(stage, liveness, workers))
    hospital = HospitalDoor(stage.peers.get("hospital", ""), lambda: stage.flows, doorkeeper)
    app = application(stage, pages.read(), doorkeeper, liveness, whep, hospital, counts)
    door = Door(app, stage.sockets["https"], context, counts, stage.log)
    sampling = asyncio.create_task(_sample(liveness, door))
    try:
        await door.open()
        stage.ready()
        await stage.until_stopped()
    finally:
        sampling.cancel()
        await door.close()
        await hospital.close()
        await workers.close()


async def _sample(liveness: Liveness, door: "Door") -> None:
    while True:
        await asyncio.sleep(SAMPLE_INTERVAL_S)
        liveness.sample(time.monotonic())
        door.count_connections()


def _follow(stage: Stage, liveness: Liveness, workers: Workers) -> None:
    """Streams came, changed or went."""
    liveness.watch(_frame_counters(stage), time.monotonic())
    workers.watch(_viewer_counters(stage))


def _frame_counters(stage: Stage) -> dict:
    find = stage.counters.segment.find
    return {stream: find(f"ingest.{stream}", "appliance_ingest_frames_total") for stream in stage.flows}


def _viewer_counters(stage: Stage) -> dict:
    names = [name for name in stage.peers if name.startswith("fanout.")]
    return {int(name.removeprefix("fanout.")): stage.counters.segment.find_all("appliance_fanout_viewers", stage=name) for name in names}


def _workers(stage: Stage) -> Workers:
    paths = {int(name.removeprefix("fanout.")): path for name, path in stage.peers.items() if name.startswith("fanout.")}
    cells = stage.counters.segment
    lives = {number: Life(cells.find(f"fanout.{number}", "appliance_stage_ready"),
                          cells.find(f"fanout.{number}", "appliance_stage_heartbeat_monotonic_seconds")) for number in paths}
    return Workers(paths, _viewer_counters(stage), lives, stage.config.server.viewers_max, stage.log)


class Door:
    """The listening side: TLS, limits, counting."""

    def __init__(self, app: web.Application, listener: socket.socket, context: ssl.SSLContext, counts: Counts, log: logging.Logger) -> None:
        self._listener, self._context, self._counts = listener, context, counts
        context.sslobject_class = counts.tls_object()
        failures = logging.getLogger("gateway.http")
        failures.addFilter(_is_our_failure)
        self._runner = web.AppRunner(
            app, logger=failures, access_log=log, access_log_class=_access_log(counts), keepalive_timeout=IDLE_LIMIT_S, lingering_time=2.0,
            shutdown_timeout=STOP_LIMIT_S, max_line_size=LINE_BYTES_MAX, max_field_size=FIELD_BYTES_MAX, max_headers=FIELDS_MAX, auto_decompress=False)
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Begins to accept."""
        # Inherited by every connection: a client that stops reading is cut off, and its memory comes back.
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNREAD_LIMIT_S * 1000))
        await self._runner.setup()
        self._server = await asyncio.get_running_loop().create_server(
            self._connection, sock=self._listener, backlog=BACKLOG, ssl=self._context,
            ssl_handshake_timeout=HANDSHAKE_LIMIT_S, ssl_shutdown_timeout=STOP_LIMIT_S)

    async def close(self) -> None:
        """Stops accepting, lets requests end for STOP_LIMIT_S."""
        if self._server:
            self._server.close()
        await self._runner.cleanup()
        self._counts.connections.set(0)

    def count_connections(self) -> int:
        """How many clients are connected now; also for the gauge."""
        count = len(self._runner.server.connections) if self._runner.server else 0
        self._counts.connections.set(count)
        return count

    def _connection(self) -> asyncio.Protocol:
        if self.count_connections() >= CONNECTIONS_MAX:
            self._counts.refused["connections"].add()
            return _Refusal()
        return self._runner.server()


class _Refusal(asyncio.Protocol):
    """Closes a connection that is one too many."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        transport.abort()


def _is_our_failure(record: logging.LogRecord) -> bool:
    """False for nonsense on the port: aiohttp logs a traceback for each line of it, we count it."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def shown_path(path: str) -> str:
    """A request's path as it may be logged: without its query, a session's secret cut short, never long."""
    parts = path.partition("?")[0].split("/")
    if len(parts) > 3 and parts[1] == "whep":
        parts[3] = parts[3][:_SECRET_CHARACTERS_SHOWN] + "..."
        parts = parts[:4]
    elif len(parts) > 6 and parts[4] == "hospital":
        parts[6:] = ["..."]  # whose study it is
    return "/".join(parts)[:_PATH_CHARACTERS_SHOWN]


def _access_log(counts: Counts) -> type[AbstractAccessLogger]:
    """aiohttp wants a class; this one counts every response and logs all but the viewer's own files."""
    class AccessLog(AbstractAccessLogger):
        def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
            if request.method == _MALFORMED_METHOD:
                counts.malformed["http"].add()
                counts.answered("other", response.status)
                return
            route = _route(request)
            counts.answered(route, response.status)
            grant = request.get(GRANT)
            level = logging.DEBUG if route == "page" and response.status < 400 else logging.INFO
            self.logger.log(level, "%s %s %s %d %.1f ms %s", request.remote, request.method, shown_path(request.raw_path), response.status,
                            time * 1e3, grant.subject if grant else "-")
    return AccessLog


def _route(request: web.BaseRequest) -> str:
    path = request.path
    if path.startswith("/whep/"):
        return "session" if path.count("/") > 2 else "whep"
    if path.startswith("/api/"):
        return "hospital" if path.split("/")[4:5] == ["hospital"] else "streams"
    return "page"
