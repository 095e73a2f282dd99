"""Moves what the kernels counted to the ingest stage's cells, and says what of it a person should read. Called once a visit, never per packet."""
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from appliance import clock
from appliance.ingest.intake import Intake
from appliance.protocol import rfc4175
from appliance.runtime.counters import Cell, Counters
from appliance.runtime.log import GoodNews
from appliance.runtime.metrics import FRAMES_DROPPED, INGEST_REFUSALS, INGEST_STAMPS

STAMP_INTERVAL_NS = 1_000_000_000


PATH_SILENCE_NS = 1_000_000_000
"""A path that brought nothing for so long is not alive; a slow flow's one and a half frame intervals where those are longer."""


class StampKind:
    """Shows what a path's arrival times rest on: the humblest kind of the last second; a second without packets changes nothing."""

    def __init__(self, counters: Counters, path: str, now_ns: int) -> None:
        self._cells = [counters.gauge("appliance_ingest_timestamp_info", path=path, kind=kind) for kind in INGEST_STAMPS]
        self._before: dict[str, int] = {}
        self._shown_ns = now_ns - STAMP_INTERVAL_NS

    def show(self, stamped: dict[str, int], now_ns: int) -> None:
        """Takes the totals of datagrams by kind."""
        fresh = [stamped[kind] > self._before.get(kind, 0) for kind in INGEST_STAMPS]
        if now_ns - self._shown_ns < STAMP_INTERVAL_NS or not any(fresh):
            return
        self._shown_ns, self._before = now_ns, stamped
        humblest = max(number for number, some in enumerate(fresh) if some)
        for number, cell in enumerate(self._cells):
            cell.set(number == humblest)


class Totals:
    """Counters that follow totals of the kernels."""

    def __init__(self, cells: Mapping[str, Cell], by_reason: Mapping[str, Mapping[str, Cell]]) -> None:
        self._cells, self._by_reason = cells, by_reason
        self._seen: Counter = Counter()

    def seen(self, name: str) -> int:
        """The total that was moved last."""
        return self._seen[name]

    def move(self, totals: Mapping) -> None:
        """Adds what is new."""
        for name, cell in self._cells.items():
            self._add(cell, name, totals.get(name, 0))
        for kind, cells in self._by_reason.items():
            for reason, cell in cells.items():
                self._add(cell, (kind, reason), totals.get(kind, {}).get(reason, 0))

    def _add(self, cell: Cell, name: Hashable, total: int) -> None:
        fresh = total - self._seen[name]
        if fresh > 0:
            cell.add(fresh)
            self._seen[name] = total


class PathAccounts:
    """What one path brought, and whether it still does."""

    def __init__(self, counters: Counters, path: str, now_ns: int, silence_ns: int) -> None:
        names = ("packets", "packets_first", "packets_lost", "packets_recovered", "packets_reordered", "packets_duplicate", "packets_late", "kernel_drops")
        self._totals = Totals(
            {name.removeprefix("packets_"): counters.counter(f"appliance_ingest_path_{name}_total", path=path) for name in names},
            {"malformed": {reason: counters.counter("appliance_ingest_path_packets_malformed_total", path=path, reason=reason) for reason in rfc4175.REASONS},
             "refused": {reason: counters.counter("appliance_ingest_path_packets_refused_total", path=path, reason=reason) for reason in INGEST_REFUSALS}})
        self._stamps, self._gauge = StampKind(counters, path, now_ns), counters.gauge("appliance_ingest_path_alive", path=path)
        self._silence_ns, self._heard_ns = silence_ns, now_ns
        self.name, self.alive = path, False

    def move(self, totals: Mapping, now_ns: int) -> bool:
        """Adds what is new; True when the path has just died or come to life."""
        if totals["packets"] > self._totals.seen("packets"):
            self._heard_ns = now_ns
        self._totals.move(totals)
        if "stamped" in totals:
            self._stamps.show(totals["stamped"], now_ns)
        alive = totals["packets"] > 0 and now_ns - self._heard_ns <= self._silence_ns
        changed, self.alive = alive != self.alive, alive
        self._gauge.set(alive)
        return changed


class Accounts:
    """Moves what the kernels counted since the last visit to the stage's cells."""

    def __init__(self, counters: Counters, paths: Sequence[str] = ("a",), frame_ns: int = 0) -> None:
        names = {
            "frames": "frames", "incomplete": "frames_incomplete", "rows_missing": "rows_missing", "packets": "packets", "octets": "bytes",
            "lost": "packets_lost", "duplicate": "packets_duplicate", "reordered": "packets_reordered", "surplus": "packets_surplus",
            "late": "packets_late", "redundant": "packets_redundant", "differing": "packets_differing", "kernel_drops": "kernel_drops",
            "restarts": "sender_restarts", "outages": "sender_outages", "arrival_timed": "frames_arrival_timed"}
        cells = {name: counters.counter(f"appliance_ingest_{metric}_total") for name, metric in names.items()}
        cells |= {reason: counters.counter(FRAMES_DROPPED, reason=reason) for reason in ("no_slot", "sparse")}
        self._totals = Totals(cells, {
            "malformed": {reason: counters.counter("appliance_ingest_packets_malformed_total", reason=reason) for reason in rfc4175.REASONS},
            "refused": {reason: counters.counter("appliance_ingest_packets_refused_total", reason=reason) for reason in INGEST_REFUSALS}})
        self._latency = counters.histogram("appliance_stage_latency_seconds")
        silence_ns = max(PATH_SILENCE_NS, frame_ns * 3 // 2)
        self._paths = [PathAccounts(counters, path, clock.monotonic_ns(), silence_ns) for path in paths]
        self._skew = counters.gauge("appliance_ingest_path_skew_seconds")
        self._skew_distance = counters.histogram("appliance_ingest_path_skew_distance_seconds")

    def move(self, intake: Intake) -> list[str]:
        """Adds what is new; returns what a person should read in the log."""
        totals, now_ns = intake.assembly.statistics() | intake.statistics(), clock.monotonic_ns()
        remarks = self._remarks(totals)
        self._totals.move(totals)
        for latency_ns in intake.assembly.take_latencies_ns():
            self._latency.observe_ns(latency_ns)
        ways = intake.path_statistics()
        changed = [path.name for number, path in enumerate(self._paths) if path.move(totals["paths"][number] | ways.get(number, {}), now_ns)]
        if len(self._paths) > 1:
            remarks += self._protection(changed)
            self._show_skew(intake.assembly.take_skews_ns())
        return remarks

    def _show_skew(self, skews_ns: Sequence[int]) -> None:
        for skew_ns in skews_ns:
            self._skew.set(skew_ns)
            self._skew_distance.observe_ns(abs(skew_ns))

    def _protection(self, changed: Sequence[str]) -> list[str]:
        """What a path that died or returned means for the picture."""
        alive = [path.name for path in self._paths if path.alive]
        silent = [path.name for path in self._paths if not path.alive]
        if not changed or not alive:
            return []
        if silent:
            return [f"path {silent[0]} brings nothing; the picture goes on by path {alive[0]} and is unprotected"]
        return [GoodNews("both paths bring the picture: it is protected")]

    def _remarks(self, totals: dict[str, int]) -> list[str]:
        remarks = []
        if totals["restarts"] > self._totals.seen("restarts"):
            remarks.append("the sender restarted (another SSRC, sequence or time); following it")
        if totals["outages"] > self._totals.seen("outages"):
            remarks.append(GoodNews("the same sender goes on after a gap: it, the network or this machine had paused"))
        return remarks
