"""One of the hospital's systems as it behaves: whether it answers, how long it takes, and what to say of it. Called around every request.

Invariant: at most REQUESTS_MAX requests are under way at once, whoever asks; every one is counted by what became of it.
"""
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from appliance import clock
from appliance.hospital.problem import NotStored, PeerFailed
from appliance.runtime.counters import Counters
from appliance.runtime.metrics import HOSPITAL_RESULTS

REQUESTS_MAX = 4


class Peer:
    """State and counters of "worklist" or "pacs"."""

    def __init__(self, name: str, counters: Counters) -> None:
        self.problem = ""  # of the last request; "" while it answers
        self.asked = False
        self._results = {result: counters.counter("appliance_hospital_requests_total", peer=name, result=result) for result in HOSPITAL_RESULTS}
        self._time = counters.histogram("appliance_hospital_request_seconds", peer=name)
        self._answering = counters.gauge("appliance_hospital_answering", peer=name)
        self._slots = asyncio.Semaphore(REQUESTS_MAX)

    @asynccontextmanager
    async def request(self) -> AsyncIterator[None]:
        """Around one request: waits for its turn, and learns from its end."""
        async with self._slots:
            began_ns = clock.monotonic_ns()
            try:
                yield
            except PeerFailed as error:
                self._note(error.result, str(error), began_ns)
                raise
            except NotStored:
                self._note("refused", "", began_ns)  # it answers; what it refuses is one picture
                raise
            self._note("ok", "", began_ns)

    def _note(self, result: str, problem: str, began_ns: int) -> None:
        self.asked, self.problem = True, problem
        self._results[result].add()
        self._time.observe_ns(clock.monotonic_ns() - began_ns)
        self._answering.set(int(not problem))

    def shown(self) -> dict[str, str]:
        """For the page and the log."""
        return {"state": "asking" if not self.asked else "trouble" if self.problem else "answering", "problem": self.problem}
