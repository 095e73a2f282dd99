"""The stage's process: HTTP on its Unix socket for the gateway, and the tasks behind it. Started by the supervisor.

Invariant: only the gateway reaches the socket, and it has checked that whoever asks is an expert of the stream.
"""
import asyncio
import json
import logging
import os
import resource
import warnings
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from urllib.parse import unquote

from aiohttp import web

from appliance.hospital.archive import Archive
from appliance.hospital.cases import Cases
from appliance.hospital.delivery import Delivery
from appliance.hospital.dicomweb import WebArchive
from appliance.hospital.dimse import DimseArchive, Worklist
from appliance.hospital.image import clean_note
from appliance.hospital.peer import Peer
from appliance.hospital.priors import SIDES, Priors
from appliance.hospital.problem import PeerFailed, SnapshotRefused
from appliance.hospital.queue import Queue
from appliance.hospital.snapshots import Snapshots
from appliance.hospital.theatre import Theatre
from appliance.hospital_config import PacsConfig
from appliance.runtime.stage import Stage

NICENESS = 10               # over the supervisor's: the picture goes first
MEMORY_BYTES_MAX = 2 << 30  # of our own: what a hostile peer sends must not take the box's
THREADS_MAX = 16            # more than requests under way at both peers, so that the queue's own work never waits for them
BODY_BYTES_MAX = 16 * 1024
FOLLOW_INTERVAL_S = 0.5
STOP_LIMIT_S = 0.5
_RTP_TIMESTAMP_MAX = 0xFFFF_FFFF
_STATUSES = {"unreachable": 504, "timeout": 504, "refused": 502, "malformed": 502}
_REFUSAL_STATUSES = {"queue_full": 507, "disk": 507, "busy": 503}


def run(stage: Stage) -> None:
    """The stage's process."""
    os.nice(NICENESS)
    # What pydicom finds wrong in a value it tells with the value, which may be a patient's name.
    warnings.simplefilter("ignore")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    loop = asyncio.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS_MAX))
    loop.run_until_complete(Hospital(stage).serve())
    # What a thread still waits for at a peer is not worth an end that takes its time: nothing on the disk depends on it.
    os._exit(0)


def open_archive(pacs: PacsConfig) -> Archive:
    """The PACS by the language that it is spoken to."""
    return WebArchive(pacs.web) if pacs.web else DimseArchive(pacs.dimse)


class Hospital:
    """Everything of the stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._theatres: dict[str, Theatre] = {}  # by stream; whoever has it sees streams come and go
        self.archive: Archive | None = None
        self.snapshots: Snapshots | None = None
        self.priors: Priors | None = None
        self.pacs: Peer | None = None

    async def serve(self) -> None:
        """Until the stage is told to stop."""
        stage, config = self._stage, self._stage.config
        state_dir = config.server.state_dir
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        worklist = Worklist(config.worklist.peer) if config.worklist else None
        self._follow_streams()
        stage.on_change(self._follow_streams)
        self.cases = Cases(self._theatres, worklist, config.worklist.modality if config.worklist else "",
                           Peer("worklist", stage.counters) if config.worklist else None, state_dir / "cases.json", stage.log)
        tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self.cases.run())]
        if config.pacs:
            self.delivery = self._open_pacs(config.pacs)
            tasks.append(asyncio.create_task(self.delivery.run()))
        for task in tasks:
            task.add_done_callback(self._ended)
        runner = web.AppRunner(application(self, stage.log), access_log=None, shutdown_timeout=STOP_LIMIT_S)
        await runner.setup()
        await web.SockSite(runner, stage.sockets["control"]).start()
        stage.ready()
        try:
            await stage.until_stopped()
        finally:
            for task in tasks:
                task.cancel()
            await runner.cleanup()
            if self.archive:
                await self.archive.close()

    def _open_pacs(self, pacs: PacsConfig) -> Delivery:
        stage = self._stage
        self.archive, self.pacs = open_archive(pacs), Peer("pacs", stage.counters)
        queue = Queue(stage.config.server.state_dir / "snapshots", pacs.queue_mb << 20, stage.log)
        self.snapshots = Snapshots(self._theatres, self.cases, queue, pacs.full_depth, stage.counters)
        self.priors = Priors(self._theatres, self.cases, self.archive, self.pacs)
        return Delivery(queue, self.archive, self.pacs, stage.counters, stage.log)

    def _follow_streams(self) -> None:
        """A theatre for each stream that runs; one whose rings changed begins anew, without a patient."""
        stage, running = self._stage, {stream.name: stream for stream in self._stage.config.streams if stream.name in self._stage.flows}
        for name in self._theatres.keys() - running.keys():
            del self._theatres[name]
        for name, stream in running.items():
            ends = stage.flows[name].video.format, stage.readers.get(f"raw.{name}"), stage.readers.get(f"records.{name}.expert.hospital")
            if name not in self._theatres or not self._theatres[name].reads(*ends):
                self._theatres[name] = Theatre(*ends)
            self._theatres[name].title, self._theatres[name].station = stream.title, stream.station

    def _ended(self, task: asyncio.Task) -> None:
        if not task.cancelled() and task.exception():
            self._stage.log.error("a task of the stage failed; it starts anew", exc_info=task.exception())
            self._stage.stop()

    async def _follow(self) -> None:
        """Keeps each theatre's patient, and tells the metrics of a contradiction."""
        while True:
            for name, theatre in self._theatres.items():
                theatre.follow()
                self._stage.counters.gauge("appliance_hospital_mismatch", stream=name).set(int(bool(self.cases.mismatch(name))))
            await asyncio.sleep(FOLLOW_INTERVAL_S)

    def knows(self, stream: str) -> bool:
        """Whether there is such a stream."""
        return stream in self._theatres

    async def shown(self, stream: str) -> dict[str, object]:
        """All that the expert's page shows without asking for more."""
        pacs = None
        if self.pacs:
            pacs = {**self.pacs.shown(), "snapshots": await self.snapshots.listed(stream), "patient": bool(self.priors.patient(stream))}
        return {"worklist": self.cases.shown(stream), "pacs": pacs}


def application(hospital: Hospital, log: logging.Logger) -> web.Application:
    """The routes."""
    app = web.Application(middlewares=[_problems(log)], client_max_size=BODY_BYTES_MAX)
    routes = _Routes(hospital)
    stream = "/streams/{stream}"
    app.add_routes([web.get(stream, routes.shown), web.get(f"{stream}/worklist", routes.worklist), web.put(f"{stream}/case", routes.choose),
                    web.delete(f"{stream}/case", routes.clear)])
    if hospital.snapshots:
        picture = f"{stream}/studies/{{study}}/series/{{series}}/instances/{{instance}}/frames/{{frame}}"
        app.add_routes([web.post(f"{stream}/snapshots", routes.snapshot), web.put(f"{stream}/snapshots/{{press}}/note", routes.note),
                        web.get(f"{stream}/studies", routes.studies), web.get(f"{stream}/studies/{{study}}/series", routes.series),
                        web.get(f"{stream}/studies/{{study}}/series/{{series}}/instances", routes.instances), web.get(picture, routes.picture)])
    return app


class _Routes:
    def __init__(self, hospital: Hospital) -> None:
        self._hospital = hospital

    def _stream(self, request: web.Request) -> str:
        stream = request.match_info["stream"]
        if not self._hospital.knows(stream):
            raise web.HTTPNotFound
        return stream

    async def shown(self, request: web.Request) -> web.Response:
        return web.json_response(await self._hospital.shown(self._stream(request)))

    async def worklist(self, request: web.Request) -> web.Response:
        cases = await self._hospital.cases.search(self._stream(request), request.query.get("patient_id", "").strip(),
                                                  request.query.get("accession_number", "").strip())
        return web.json_response({"cases": [case.shown() for case in cases]})

    async def choose(self, request: web.Request) -> web.Response:
        stream, key = self._stream(request), (await _body(request)).get("key")
        if not isinstance(key, str) or not self._hospital.cases.choose(stream, key, _subject(request)):
            raise web.HTTPNotFound
        return web.json_response(await self._hospital.shown(stream))

    async def clear(self, request: web.Request) -> web.Response:
        stream = self._stream(request)
        self._hospital.cases.clear(stream, _subject(request))
        return web.json_response(await self._hospital.shown(stream))

    async def snapshot(self, request: web.Request) -> web.Response:
        stream, body = self._stream(request), await _body(request)
        timestamp, bookmark = body.get("rtp_timestamp"), body.get("bookmark", False)
        if type(timestamp) is not int or not 0 <= timestamp <= _RTP_TIMESTAMP_MAX or not isinstance(bookmark, bool):
            raise web.HTTPBadRequest
        taken = await self._hospital.snapshots.take(stream, timestamp, _subject(request), bookmark)
        self._hospital.delivery.wake()
        return web.json_response(taken, status=201)

    async def note(self, request: web.Request) -> web.Response:
        stream, note = self._stream(request), (await _body(request)).get("note")
        if not isinstance(note, str):
            raise web.HTTPBadRequest
        noted = await self._hospital.snapshots.note(stream, request.match_info["press"], clean_note(note))
        self._hospital.delivery.wake()
        return web.json_response({"noted": noted}, status=200 if noted else 409)

    async def studies(self, request: web.Request) -> web.Response:
        return web.json_response({"studies": await self._hospital.priors.studies(self._stream(request))})

    async def series(self, request: web.Request) -> web.Response:
        return web.json_response({"series": await self._hospital.priors.series(self._stream(request), request.match_info["study"])})

    async def instances(self, request: web.Request) -> web.Response:
        found = await self._hospital.priors.instances(self._stream(request), request.match_info["study"], request.match_info["series"])
        return web.json_response({"instances": found})

    async def picture(self, request: web.Request) -> web.Response:
        match, size = request.match_info, request.query.get("size", "full")
        if not match["frame"].isdecimal() or size not in SIDES:
            raise web.HTTPBadRequest
        body = await self._hospital.priors.picture(self._stream(request), match["study"], match["series"], match["instance"], int(match["frame"]), size)
        return web.Response(body=body, content_type="image/jpeg")


def _subject(request: web.Request) -> str:
    return unquote(request.headers.get("X-Subject", "")) or "an expert"


async def _body(request: web.Request) -> dict:
    try:
        body = json.loads(await request.read() or b"{}")
    except (ValueError, RecursionError) as error:
        raise web.HTTPBadRequest from error
    if not isinstance(body, dict):
        raise web.HTTPBadRequest
    return body


def _problems(log: logging.Logger):
    """Middleware: every failure as application/problem+json (RFC 9457) that a person can read, with `reason` for the page."""
    @web.middleware
    async def answer(request: web.Request, handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except PeerFailed as error:
            return _problem(_STATUSES[error.result], error.result, str(error))
        except SnapshotRefused as error:
            return _problem(_REFUSAL_STATUSES.get(error.reason, 409), error.reason, str(error))
        except KeyError:
            return _problem(404, "unknown", "There is nothing of that kind for this patient.")
        except web.HTTPException as error:
            return _problem(error.status, "malformed" if error.status == 400 else "unknown", "The request cannot be understood." if error.status == 400
                            else "There is nothing of that kind.")
        except Exception:
            log.exception("%s %s failed", request.method, request.match_info.route.resource)
            return _problem(500, "internal", "The appliance failed at this request; its log says why.")
    return answer


def _problem(status: int, reason: str, detail: str) -> web.Response:
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, "reason": reason}
    return web.json_response(body, status=status, content_type="application/problem+json")
