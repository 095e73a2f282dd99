"""Brings the queue's pictures into the PACS, one after the other, for as long as it takes. A task of the stage.

Invariant: a picture leaves the queue only by the PACS's own confirmation. A PACS that does not answer is asked ever more rarely; one picture
that it rejects does not keep the next ones waiting, and is offered again now and then, for somebody may have set the PACS right.
"""
import asyncio
import logging
import time

from appliance.hospital.archive import Archive
from appliance.hospital.peer import Peer
from appliance.hospital.problem import NotStored, PeerFailed
from appliance.hospital.queue import Picture, Queue
from appliance.runtime.counters import Counters

RETRY_S = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)
IDLE_S = 1.0            # how soon a held picture is seen whose time is over
REJECTED_RETRY_S = 3600.0
VERIFY_S = 60.0         # while there is nothing to send: does it still answer?


class Delivery:
    """The task. wake() when something is new."""

    def __init__(self, queue: Queue, archive: Archive, peer: Peer, counters: Counters, log: logging.Logger) -> None:
        self._queue, self._archive, self._peer, self._log = queue, archive, peer, log
        self._news = asyncio.Event()
        self._failures, self._rejected_at_s, self._asked_at_s = 0, 0.0, 0.0
        self._stored = counters.counter("appliance_hospital_snapshots_stored_total")
        self._rejected = counters.counter("appliance_hospital_snapshots_rejected_total")
        self._waiting = counters.gauge("appliance_hospital_snapshots_waiting")
        self._octets = counters.gauge("appliance_hospital_snapshots_waiting_bytes")
        self._oldest = counters.gauge("appliance_hospital_snapshots_oldest_seconds")

    def wake(self) -> None:
        """Something was put into the queue. A PACS that failed a moment ago is not asked sooner for it."""
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            pause_s = IDLE_S
            try:
                await self._pass()
                self._failures = 0
            except PeerFailed as error:
                if self._failures == 0:
                    self._log.warning("%s Pictures for it wait on disk.", error)
                pause_s = RETRY_S[min(self._failures, len(RETRY_S) - 1)]
                self._failures += 1
            except Exception:
                self._log.exception("the queue of pictures failed; next try in %.0f s", RETRY_S[-1])
                pause_s = RETRY_S[-1]
            await self._count()
            self._news.clear()
            waiting = asyncio.sleep(pause_s) if self._failures else asyncio.wait_for(self._news.wait(), pause_s)
            try:
                await waiting
            except TimeoutError:
                continue

    async def _pass(self) -> None:
        now_s = time.monotonic()
        rejected_too = not self._rejected_at_s or now_s - self._rejected_at_s > REJECTED_RETRY_S
        pictures = await asyncio.to_thread(self._queue.due, rejected_too)
        if rejected_too:
            self._rejected_at_s = now_s
        for picture in pictures:
            await self._deliver(picture)
        if not pictures and (not self._asked_at_s or now_s - self._asked_at_s > VERIFY_S):
            self._asked_at_s = now_s
            async with self._peer.request():
                await self._archive.verify()

    async def _deliver(self, picture: Picture) -> None:
        self._asked_at_s = time.monotonic()
        try:
            async with self._peer.request():
                await self._archive.store(self._queue.path(picture.uid), picture.uid)
        except NotStored as error:
            self._rejected.add()
            self._log.error("picture %s: %s", picture.uid, error)
            await asyncio.to_thread(self._queue.failed, picture, str(error), True)
        except PeerFailed as error:
            await asyncio.to_thread(self._queue.failed, picture, str(error), False)
            raise
        else:
            await asyncio.to_thread(self._queue.stored, picture)
            self._stored.add()
            self._log.info("picture %s is in the PACS", picture.uid)

    async def _count(self) -> None:
        count, octets, oldest_ms = await asyncio.to_thread(self._queue.waiting)
        self._waiting.set(count)
        self._octets.set(octets)
        self._oldest.set(max(0, int(time.time() - oldest_ms / 1000)) if oldest_ms else 0)
