"""What should run: the configuration with the flows of its SDPs, kept true by a thread beside the supervisor's loop, which it never holds up.

Started by `appliance run`. Invariant: what it hands over is right as a whole; what is wrong changes nothing and is handed over as sentences.
"""
import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace

from appliance import descriptions
from appliance.config import Config, StreamConfig, load
from appliance.descriptions import Version, is_url, places
from appliance.errors import ConfigurationError
from appliance.protocol.sdp import Flow
from appliance.runtime.plan import Flows

FILE_INTERVAL_S = 0.5
"""Between looks at a file. A change is read when the next look finds it no different: whoever writes it has ended."""
URL_INTERVAL_S = 10.0
WAITING_INTERVAL_S = 3.0
"""Between requests to a device whose stream waits for it."""

log = logging.getLogger("configuration")

Verify = Callable[[Config, dict[str, Flows], Sequence[StreamConfig]], list[str]]
"""What would keep these streams from running on this machine, in sentences."""


@dataclass(frozen=True)
class Wanted:
    """What should run."""

    config: Config
    flows: dict[str, Flows]
    waiting: dict[str, str] = field(default_factory=dict)
    """Streams that cannot begin yet, and why."""
    remarks: tuple[str, ...] = ()
    """What a person should know although the appliance does what it can."""


@dataclass(frozen=True)
class Refused:
    """A configuration that cannot be used: what runs goes on as it is."""

    problems: tuple[str, ...]


_NEVER = Version(etag="never read")


@dataclass
class _Watched:
    """One SDP of a stream."""

    key: str
    place: str
    version: Version | None = _NEVER  # that was read last, or could not be
    unsettled: Version | None = _NEVER  # of a file that may still be written
    due_s: float = 0.0  # a URL's next request
    flow: Flow | None = None
    trouble: str = ""


class Watch:
    """The thread. `wake` is called, in it, whenever take() has something."""

    def __init__(self, wanted: Wanted, verify: Verify, wake: Callable[[], None]) -> None:
        self._wanted, self._verify, self._wake = wanted, verify, wake
        self._found: queue.SimpleQueue[Wanted | Refused] = queue.SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._tasks: dict[str, asyncio.Task] = {}
        self._troubles: dict[str, list[str]] = {}
        self._restart_needed: tuple[str, ...] = ()
        self._reloading = asyncio.Lock()
        self._background: set[asyncio.Task] = set()
        self._thread = threading.Thread(target=self._run, name="configuration", daemon=True)

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def reload(self) -> None:
        """Reads the configuration file again. Any thread."""
        self._loop.call_soon_threadsafe(self._begin, self._reload)

    def take(self) -> list[Wanted | Refused]:
        """What was found since the last call, in order."""
        found = []
        while not self._found.empty():
            found.append(self._found.get())
        return found

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._watch_streams)
        self._loop.run_forever()

    def _begin(self, coroutine: Callable[[], Coroutine]) -> None:
        task = self._loop.create_task(coroutine())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _watch_streams(self) -> None:
        """Watches the SDPs of the streams that are wanted now, and no others."""
        for task in self._tasks.values():
            task.cancel()
        self._troubles = {name: troubles for name, troubles in self._troubles.items() if name in self._wanted.waiting or name in self._wanted.flows}
        self._tasks = {stream.name: self._loop.create_task(self._watch_stream(stream)) for stream in self._wanted.config.streams}

    def _hand_over(self, wanted: Wanted) -> None:
        troubles = [sentence for name, sentences in self._troubles.items() if name in wanted.flows for sentence in sentences]
        waiting = wanted.waiting | {name: " ".join(sentences) for name, sentences in self._troubles.items() if name in wanted.waiting and sentences}
        wanted = replace(wanted, waiting=waiting, remarks=(*self._restart_needed, *troubles))
        if wanted != self._wanted:
            self._wanted = wanted
            self._found.put(wanted)
            self._wake()

    async def _reload(self) -> None:
        async with self._reloading:
            before = self._wanted
            try:
                loaded = load(before.config.path)
            except ConfigurationError as error:
                self._refuse(error.problems)
                return
            config, kept_keys = keep_shared(loaded, before.config)
            reading = await descriptions.gather(config.streams)
            old = {stream.name: stream for stream in before.config.streams}
            for stream in config.streams:
                if stream.name in reading.waiting and stream.name in before.flows and places(stream) == places(old[stream.name]):
                    del reading.waiting[stream.name]  # it runs: a device that does not answer just now is no reason to end it
                    reading.flows[stream.name] = before.flows[stream.name]
            fresh = [stream for stream in config.streams if old.get(stream.name) != stream]
            problems = reading.problems + await asyncio.to_thread(self._verify, config, reading.flows, fresh)
            if problems:
                self._refuse(problems)
                return
            self._restart_needed = (f"changed in the configuration, and takes a restart of the appliance: {', '.join(kept_keys)}",) if kept_keys else ()
            for sentence in self._restart_needed:
                log.warning("%s", sentence)
            self._troubles.clear()
            self._found.put(wanted := Wanted(config, reading.flows, reading.waiting, self._restart_needed))
            self._wanted = wanted
            self._wake()
            self._watch_streams()

    def _refuse(self, problems: Sequence[str]) -> None:
        self._found.put(Refused(tuple(problems)))
        self._wake()

    async def _watch_stream(self, stream: StreamConfig) -> None:
        watched = [_Watched(key, place) for key, place in places(stream).items()]
        present = self._wanted.flows.get(stream.name)
        known = descriptions.described_by(stream, present) if present else {}
        for one in watched:
            one.flow = known.get(one.key)
        usable = True
        while True:
            await asyncio.sleep(FILE_INTERVAL_S)
            changed = [await self._look(stream, one) for one in watched]
            if any(changed) or not usable:
                usable = await self._follow(stream, watched)

    async def _follow(self, stream: StreamConfig, watched: list[_Watched]) -> bool:
        """Some of a stream's SDPs changed, or cannot be read any more, or can be again. False if what they say cannot be used now on this machine."""
        name, unusable = stream.name, []
        troubles = [one.trouble for one in watched if one.trouble]
        if all(one.flow for one in watched):
            flows = descriptions.flows_of(stream, {one.key: one.flow for one in watched})
            if flows != self._wanted.flows.get(name):
                unusable = await asyncio.to_thread(self._verify, self._wanted.config, {name: flows}, [stream])
            if not unusable:
                waiting = {other: reason for other, reason in self._wanted.waiting.items() if other != name}
                self._tell(name, troubles, True)
                self._hand_over(replace(self._wanted, flows=self._wanted.flows | {name: flows}, waiting=waiting))
                return True
        self._tell(name, troubles + unusable, name in self._wanted.flows)
        self._hand_over(self._wanted)
        return not unusable

    def _tell(self, name: str, troubles: list[str], runs: bool) -> None:
        before, self._troubles[name] = self._troubles.get(name, []), troubles
        for sentence in troubles:
            if sentence not in before:
                log.warning("%s The stream %s.", sentence, "goes on with what was read before" if runs else "waits")
        if before and not troubles:
            log.info("stream %s: its SDP can be read again", name)

    async def _look(self, stream: StreamConfig, one: _Watched) -> bool:
        """Reads an SDP if it is time and it seems another; whether anything is different now."""
        where = f'stream "{stream.name}", {one.key}'
        try:
            if is_url(one.place):
                if self._loop.time() < one.due_s:
                    return False
                one.due_s = self._loop.time() + (WAITING_INTERVAL_S if stream.name in self._wanted.waiting else URL_INTERVAL_S)
                description = await descriptions.read(one.place, where, None if one.version is _NEVER else one.version)
            elif self._settled(one):
                description = descriptions.read_file(one.place, where)
            else:
                return False
            if description is None:
                changed, one.trouble = bool(one.trouble), ""
                return changed
            flow = descriptions.flow_of(one.key, one.place, description.text)
            one.version = description.version  # not of what is wrong: a server would say that it is the same
        except ConfigurationError as error:
            changed, one.trouble = one.trouble != str(error), str(error)
            return changed
        changed, one.flow, one.trouble = flow != one.flow or bool(one.trouble), flow, ""
        return changed

    @staticmethod
    def _settled(one: _Watched) -> bool:
        """Whether a file is another than the one that was read, or that could not be, and no longer being written."""
        version = descriptions.file_version(one.place)
        if version == one.version:
            return False
        settled, one.unsettled = version == one.unsettled, version
        if settled:
            one.version = version
        return settled


def keep_shared(new: Config, running: Config) -> tuple[Config, tuple[str, ...]]:
    """The new configuration with what all streams share as it runs, and the names of the keys that are thereby not followed."""
    shared = [one.name for one in fields(Config) if one.name not in ("path", "streams")]
    names = [name for table in shared for name in _differences(table, getattr(new, table), getattr(running, table))]
    return replace(new, **{table: getattr(running, table) for table in shared}), tuple(dict.fromkeys(names))


_KEYS = {"listen_host": "listen", "listen_port": "listen", "metrics_host": "metrics", "metrics_port": "metrics"}


def _differences(table: str, new: object, running: object) -> list[str]:
    if new == running:
        return []
    if not (is_dataclass(new) and is_dataclass(running)):
        return [f"[{table}]"]
    different = [one.name for one in fields(new) if getattr(new, one.name) != getattr(running, one.name)]
    return ["[[ice_server]]" if name == "ice_servers" else f"[{table}] {_KEYS.get(name, name)}" for name in different]

