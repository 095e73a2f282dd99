"""The fan-out workers as the gateway sees them: which one takes the next viewer, and requests over its Unix socket. Called by whep.

A worker that does not answer is passed over; it is the supervisor that mends it.
"""
import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp

from appliance import clock
from appliance.frame import Audience
from appliance.gateway.problem import Problem, retry_after
from appliance.runtime.counters import Cell

ANSWER_LIMIT_S = 4.0   # for one worker to answer one request
WORKERS_TRIED_MAX = 3  # for one viewer
ANSWER_BYTES_MAX = 256 * 1024
SILENCE_LIMIT_NS = 1_000_000_000  # four heartbeats; the supervisor allows more before it kills
# When to come back (RFC 9110 section 10.2.3), and over how many seconds more those who are refused together are spread.
FULL_RETRY_S, BUSY_RETRY_S, NO_WORKER_RETRY_S = (10, 10), (1, 3), (1, 1)
_UNAVAILABLE = 503
# What a worker may say of an offer itself; any other status is the worker's own trouble.
_OFFER_REFUSED = {400: "malformed", 406: "not_acceptable", 422: "unusable_offer"}


class WorkerFailed(Exception):
    """A worker did not answer, or not as it should."""


class WorkerBusy(WorkerFailed):
    """A worker works, and has no room for a viewer just now."""


@dataclass(frozen=True)
class Joined:
    """A session that a worker has opened."""

    worker: int
    session: str
    answer: str


@dataclass(frozen=True)
class Life:
    """The cells that tell whether a worker works. Those of one that died are zero, and so is the count of its viewers."""

    ready: Cell
    heartbeat: Cell

    def works(self, now_ns: int) -> bool:
        """Whether it has started, and its event loop turned a moment ago (monotonic clock)."""
        return bool(self.ready.value) and now_ns - self.heartbeat.value < SILENCE_LIMIT_NS


class Workers:
    """All workers by number. `viewers` are the cells that count a worker's viewers, `lives` those that tell whether it works."""

    def __init__(self, paths: Mapping[int, str], viewers: Mapping[int, list[Cell]], lives: Mapping[int, Life], viewers_max: int,
                 log: logging.Logger) -> None:
        self._viewers, self._lives, self._viewers_max, self._log = viewers, lives, viewers_max, log
        self._joining = dict.fromkeys(paths, 0)
        self._abandoning: set[asyncio.Task] = set()
        timeout = aiohttp.ClientTimeout(total=ANSWER_LIMIT_S)
        # No connection is kept: one to a worker that was restarted in between would fail the next viewer.
        self._clients = {number: aiohttp.ClientSession(connector=aiohttp.UnixConnector(path, force_close=True), timeout=timeout)
                         for number, path in paths.items()}

    def watch(self, viewers: Mapping[int, list[Cell]]) -> None:
        """Other cells count the viewers now: streams came or went."""
        self._viewers = viewers

    async def close(self) -> None:
        """Ends the clients, and what they were still asking."""
        for task in self._abandoning:
            task.cancel()
        for client in self._clients.values():
            await client.close()

    def load(self, number: int) -> int:
        """A worker's viewers, those included that are joining right now."""
        return self._joining[number] + sum(cell.value for cell in self._viewers[number])

    def in_order(self) -> list[int]:
        """Workers to ask: those that work first, the least loaded of them before the others."""
        now_ns = clock.monotonic_ns()
        return sorted(self._clients, key=lambda number: (not self._lives[number].works(now_ns), self.load(number), number))

    async def join(self, stream: str, audience: Audience, expires_s: int, offer: str, name_session: Callable[[int], str]) -> Joined:
        """Opens a session with the first worker that takes it; it ends at `expires_s` (seconds since 1970). Problem 503 if none does, or all are full or busy; 400, 406, 422 for the offer itself."""
        if sum(map(self.load, self._clients)) >= self._viewers_max:
            raise Problem(503, "full", f"All {self._viewers_max} places are taken; try again later.", retry_after(*FULL_RETRY_S))
        busy = ""
        for number in self.in_order()[:WORKERS_TRIED_MAX]:
            session = name_session(number)
            self._joining[number] += 1
            try:
                return Joined(number, session, await self._open(number, session, stream, audience, expires_s, offer))
            except WorkerBusy as error:
                busy = str(error)
            except WorkerFailed as error:
                self._log.warning("fanout.%d could not take a viewer: %s", number, error)
            finally:
                self._joining[number] -= 1
        if busy:
            raise Problem(503, "busy", f"No place just now: {busy}.", retry_after(*BUSY_RETRY_S))
        raise Problem(503, "no_worker", "No worker can take a viewer right now; try again in a moment.", retry_after(*NO_WORKER_RETRY_S))

    async def _open(self, number: int, session: str, stream: str, audience: Audience, expires_s: int, offer: str) -> str:
        request = {"stream": stream, "audience": audience.value, "expires_s": expires_s, "sdp": offer, "session": session}
        try:
            async with self._clients[number].post("http://fanout/sessions", json=request) as response:
                answer = await _read_json(response)
                if response.status == 201 and isinstance(answer.get("sdp"), str):
                    return answer["sdp"]
                if response.status in _OFFER_REFUSED:
                    sentence = str(answer.get("error") or "The offer cannot be answered.")
                    raise Problem(response.status, _OFFER_REFUSED[response.status], sentence)
                if response.status == _UNAVAILABLE:
                    raise WorkerBusy(str(answer.get("error") or "the workers are busy"))
                raise WorkerFailed(f"it answered {response.status} {answer.get('error', '')}".strip())
        except TimeoutError as error:
            # It may still open the session after we have given up: then nobody would ever end it.
            self.abandon_soon(number, session)
            raise WorkerFailed(f"no answer within {ANSWER_LIMIT_S:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise WorkerFailed(str(error)) from error

    def abandon_soon(self, number: int, session: str) -> None:
        """Ends, in the background, a session that nobody will use; one that cannot be ended so ends by lost consent (RFC 7675)."""
        async def abandon() -> None:
            try:
                await self.ask(number, "DELETE", session)
            except Problem as problem:
                self._log.info("a session of fanout.%d was left to itself: %s", number, problem)

        task = asyncio.get_running_loop().create_task(abandon())
        self._abandoning.add(task)
        task.add_done_callback(self._abandoning.discard)

    async def ask(self, number: int, method: str, session: str, body: str = "", content_type: str = "") -> None:
        """Forwards PATCH or DELETE. Problem 404 if the session is gone, 503 if the worker is; 400 or 422 for the body."""
        if number not in self._clients:
            raise _gone()
        headers = {"Content-Type": content_type} if content_type else {}
        try:
            async with self._clients[number].request(method, f"http://fanout/sessions/{session}", data=body.encode() or None, headers=headers) as response:
                if response.status in (200, 204):
                    return
                answer = await _read_json(response)
        except (aiohttp.ClientError, TimeoutError, OSError, WorkerFailed) as error:
            self._log.warning("fanout.%d did not answer %s: %s", number, method, str(error) or type(error).__name__)
            raise Problem(503, "no_worker", "The worker of this session does not answer; try again in a moment.", retry_after(*NO_WORKER_RETRY_S)) from error
        if response.status in (404, 410):
            raise _gone()
        if response.status in _OFFER_REFUSED:
            raise Problem(response.status, _OFFER_REFUSED[response.status], str(answer.get("error") or "The candidates cannot be used."))
        raise Problem(503, "no_worker", "The worker of this session is in trouble; try again in a moment.", retry_after(*NO_WORKER_RETRY_S))


def _gone() -> Problem:
    return Problem(404, "unknown_session", "This session has ended.")


async def _read_json(response: aiohttp.ClientResponse) -> dict:
    """The JSON object of a response; an empty one for anything else."""
    body = b""
    while len(body) < ANSWER_BYTES_MAX and (chunk := await response.content.read(ANSWER_BYTES_MAX)):
        body += chunk
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
