"""Moves what the kernels counted to the ingest stage's cells, and says what of it a person should read. Called once a visit, never per packet."""
from collections import Counter
from collections.abc import Hashable

from appliance import clock
from appliance.ingest.intake import Intake
from appliance.protocol import rfc4175
from appliance.runtime.counters import Cell, Counters
from appliance.runtime.metrics import FRAMES_DROPPED, INGEST_REFUSALS, INGEST_STAMPS

STAMP_INTERVAL_NS = 1_000_000_000


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


class Accounts:
    """Moves what the kernels counted since the last visit to the stage's cells."""

    def __init__(self, counters: Counters) -> None:
        self._cells = {
            "frames": counters.counter("appliance_ingest_frames_total"),
            "incomplete": counters.counter("appliance_ingest_frames_incomplete_total"),
            "rows_missing": counters.counter("appliance_ingest_rows_missing_total"),
            "packets": counters.counter("appliance_ingest_packets_total"),
            "octets": counters.counter("appliance_ingest_bytes_total"),
            "lost": counters.counter("appliance_ingest_packets_lost_total"),
            "duplicate": counters.counter("appliance_ingest_packets_duplicate_total"),
            "reordered": counters.counter("appliance_ingest_packets_reordered_total"),
            "surplus": counters.counter("appliance_ingest_packets_surplus_total"),
            "late": counters.counter("appliance_ingest_packets_late_total"),
            "kernel_drops": counters.counter("appliance_ingest_kernel_drops_total"),
            "restarts": counters.counter("appliance_ingest_sender_restarts_total"),
            "outages": counters.counter("appliance_ingest_sender_outages_total"),
            "arrival_timed": counters.counter("appliance_ingest_frames_arrival_timed_total"),
            "no_slot": counters.counter(FRAMES_DROPPED, reason="no_slot"),
            "sparse": counters.counter(FRAMES_DROPPED, reason="sparse"),
        }
        self._by_reason = {
            "malformed": {reason: counters.counter("appliance_ingest_packets_malformed_total", reason=reason) for reason in rfc4175.REASONS},
            "refused": {reason: counters.counter("appliance_ingest_packets_refused_total", reason=reason) for reason in INGEST_REFUSALS},
        }
        self._latency = counters.histogram("appliance_stage_latency_seconds")
        self._stamps = StampKind(counters, "a", clock.monotonic_ns())
        self._seen = Counter()

    def move(self, intake: Intake) -> list[str]:
        """Adds what is new; returns what a person should read in the log."""
        totals = intake.assembly.statistics() | intake.statistics()
        self._stamps.show(totals["stamped"], clock.monotonic_ns())
        remarks = self._remarks(totals)
        for name, cell in self._cells.items():
            self._add(cell, name, totals[name])
        for kind, cells in self._by_reason.items():
            for reason, cell in cells.items():
                self._add(cell, (kind, reason), totals[kind].get(reason, 0))
        for latency_ns in intake.assembly.take_latencies_ns():
            self._latency.observe_ns(latency_ns)
        return remarks

    def _add(self, cell: Cell, name: Hashable, total: int) -> None:
        fresh = total - self._seen[name]
        if fresh:
            cell.add(fresh)
            self._seen[name] = total

    def _remarks(self, totals: dict[str, int]) -> list[str]:
        remarks = []
        if totals["restarts"] > self._seen["restarts"]:
            remarks.append("the sender restarted (another SSRC, sequence or time); following it")
        if totals["outages"] > self._seen["outages"]:
            remarks.append("the sender is back after a silence")
        return remarks
