"""The exporter's once-a-second look: at the clock, at every stream's counters; what it finds goes into its own cells and its status document.

Called by the exporter's loop. It reads other stages' cells and never touches them.
"""
import logging
import socket
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from appliance.config import StreamConfig
from appliance.errors import ConfigurationError
from appliance.exporter.judgement import Figures, Judge, Time, judge_time
from appliance.exporter.reference_clock import ClockState, tai_offset_used_s
from appliance.protocol import ptp, timing
from appliance.protocol.sdp import PATHS, Flow
from appliance.runtime import arriving
from appliance.runtime.counters import Cell, Counters
from appliance.runtime.health import FINDINGS, TIME_BASES
from appliance.runtime.metrics import ARRIVING_FIGURES, CLOCK_SOURCES, FRAMES_DROPPED, GRAIN_KINDS, signed
from appliance.runtime.multicast import interface_index
from appliance.runtime.plan import Flows

LOOK_INTERVAL_S = 1.0
STALLED_S = 1.0  # an ingest without a sign of life for so long heard nobody: that is not its source's fault
LOOKS_KEPT = 3  # figures are of the last two seconds: a slow stream has a frame a second
_COUNTED = {
    "packets": "appliance_ingest_packets_total", "lost": "appliance_ingest_packets_lost_total", "late": "appliance_ingest_packets_late_total",
    "kernel_drops": "appliance_ingest_kernel_drops_total", "refused": "appliance_ingest_packets_malformed_total", "frames": "appliance_ingest_frames_total",
    "incomplete": "appliance_ingest_frames_incomplete_total", "dropped": FRAMES_DROPPED, "arrival_timed": "appliance_ingest_frames_arrival_timed_total",
    "recovered": "appliance_ingest_path_packets_recovered_total"}
_NETWORK = Path("/sys/class/net")

log = logging.getLogger("exporter")


class StreamMonitor:
    """One stream: the cells that it is judged by, and the judgement."""

    def __init__(self, counters: Counters, stream: StreamConfig, flows: Flows, now_s: float) -> None:
        self.stream, self.flows, self.judge = stream, flows, Judge(now_s)
        self.flow = flows.video
        self.time = Time(False, "arrival", {}, False)
        described = [flow for flow in flows.metadata if flow.url is None]
        self._beside: dict[str, Flow] = {f"metadata {number}" if number > 1 else "metadata": flow for number, flow in enumerate(described, 1)}
        if flows.audio is not None:
            self._beside["sound"] = flows.audio
        self._describes: list[str] = []
        self._looks: deque[tuple[float, dict[str, int], dict[str, int], dict[str, int]]] = deque(maxlen=LOOKS_KEPT)
        self._life_before, self._started_s = [], now_s
        self.join(counters)

    def join(self, counters: Counters) -> None:
        """Finds the cells anew: a stage's may lie elsewhere after a change of the streams."""
        stream, everywhere = self.stream, counters.segment.find_all
        self._counted = {name: everywhere(metric, stream=stream.name) for name, metric in _COUNTED.items()}
        # A packet ring's: of another source than the SDP's.
        self._counted["refused"] = self._counted["refused"] + everywhere("appliance_ingest_packets_refused_total", stream=stream.name, reason="source")
        # Of a flow with one path all that comes is that path's.
        paths = PATHS[:len(self.flow.legs)] if len(self.flow.legs) > 1 else ()
        self._paths = {path: everywhere("appliance_ingest_path_packets_total", stream=stream.name, path=path) for path in paths}
        # Both are others once its ingest has been restarted.
        self._life = [cell for name in ("appliance_stage_pid", "appliance_stage_ready") for cell in everywhere(name, stage=f"ingest.{stream.name}")]
        self._heartbeat = everywhere("appliance_stage_heartbeat_monotonic_seconds", stage=f"ingest.{stream.name}")
        self._viewers = everywhere("appliance_fanout_viewers", stream=stream.name)
        self._mismatch, self._stale, self._soundless = (everywhere(name, stream=stream.name) for name in (
            "appliance_ingest_mismatch", "appliance_metadata_stale", "appliance_sound_lost"))
        self._said = {name: everywhere(f"appliance_metadata_{name}", stream=stream.name) for name in ("flows_silent", "subject_conflict")}
        self._kinds = {kind: everywhere("appliance_metadata_grains_understood_total", stream=stream.name, kind=kind) for kind in GRAIN_KINDS}
        self._arriving = {figure: everywhere(arriving.METRIC, stream=stream.name, figure=figure) for figure in ARRIVING_FIGURES}
        self._transit = everywhere("appliance_ingest_transit_seconds", stream=stream.name)
        self._hardware = everywhere("appliance_ingest_timestamp_info", stream=stream.name, kind="hardware")
        self._types = {verdict: everywhere("appliance_ingest_sender_type_info", stream=stream.name, type=verdict) for verdict in timing.VERDICTS}
        self._show = _Cells(counters, stream.name, self.judge)

    def look(self, clock: ClockState, now_s: float) -> None:
        """Judges the stream now."""
        counted, of_path = ({name: _sum(cells) for name, cells in group.items()} for group in (self._counted, self._paths))
        of_kind = {kind: _sum(cells) for kind, cells in self._kinds.items()}
        self._looks.append((now_s, counted, of_path, of_kind))
        begun_s, before, of_path_before, of_kind_before = self._looks[0]
        self._describes = [kind for kind, grains in _gain(of_kind, of_kind_before).items() if grains]
        life = [cell.value for cell in self._life]
        stalled = any(cell.value and now_s - cell.value / 1e9 > STALLED_S for cell in self._heartbeat)
        if stalled or life != self._life_before:
            self._life_before, self._started_s = life, now_s
        hardware = any(cell.value for cell in self._hardware)
        verdict = next((verdict for verdict, cells in self._types.items() if _sum(cells)), timing.NOT_MEASURED)
        figures = Figures(
            seconds=now_s - begun_s, started_s=now_s - self._started_s, **_gain(counted, before), paths=_gain(of_path, of_path_before),
            viewers=_sum(self._viewers), mismatch=bool(_sum(self._mismatch)),
            seems=str(arriving.guess_of({figure: _sum(cells) for figure, cells in self._arriving.items()}) or ""),
            metadata_stale=bool(_sum(self._stale)), sound_lost=bool(_sum(self._soundless)), transit_ns=sum(signed(cell.value) for cell in self._transit),
            hardware_verdict=verdict if hardware else timing.NOT_MEASURED, links=_links(self.stream))
        self.time = judge_time(self.flow, clock, figures, self._beside)
        before = self.judge.found
        if len(self._looks) > 1:
            self.judge.look(figures, self.flow.sender_type, self.time, now_s)
        for name in self.judge.found.keys() - before.keys():
            log.warning("%s: %s (%s)", self.stream.name, FINDINGS[name].sentence, self.judge.found[name] or name)
        for name in before.keys() - self.judge.found.keys():
            log.info("%s: no more: %s", self.stream.name, FINDINGS[name].sentence)
        self._show.write(self.judge, self.time)

    def document(self) -> dict:
        """How it is, for `appliance status`."""
        wanted = ptp.reference(self.flow.ptp)
        return {
            "status": {domain: status.word for domain, status in self.judge.status.items()},
            "transitions": dict(self.judge.transitions),
            "findings": [{"name": name, "domain": FINDINGS[name].domain, "status": FINDINGS[name].status.word, "sentence": FINDINGS[name].sentence,
                          "particulars": particulars} for name, particulars in sorted(self.judge.found.items(), key=lambda item: -FINDINGS[item[0]].status)],
            "time": {"basis": self.time.basis,
                     "sdp_grandmaster": ptp.identity_text(wanted.grandmaster) if wanted and wanted.grandmaster is not None else None,
                     "sdp_domain": wanted.domain if wanted else None},
            "sender_type_promised": self.flow.sender_type,
            "frames_per_second_promised": round(float(self.flow.format.picture_rate), 3),
            "metadata": {"describes": self._describes, "flows_silent": _sum(self._said["flows_silent"]),
                         "one_patient": not _sum(self._said["subject_conflict"])} if self.stream.metadata else None,
        }


class Monitor:
    """All streams and the clock."""

    def __init__(self, counters: Counters) -> None:
        self._counters, self._streams = counters, {}
        self.clock = ClockState()
        self._source = {source: counters.gauge("appliance_clock_source_info", source=source) for source in CLOCK_SOURCES}
        self._offset, self._tai_offset = counters.gauge("appliance_clock_ptp_offset_seconds"), counters.gauge("appliance_clock_tai_offset_seconds")
        self._changes = counters.counter("appliance_clock_grandmaster_changes_total")

    def follow(self, streams: Mapping[str, tuple[StreamConfig, Flows]], now_s: float) -> None:
        """Takes the streams that there are now; one that has not changed keeps its history."""
        kept = {name: monitor for name, monitor in self._streams.items() if streams.get(name) == (monitor.stream, monitor.flows)}
        for monitor in kept.values():
            monitor.join(self._counters)
        self._streams = {name: kept.get(name) or StreamMonitor(self._counters, stream, flows, now_s) for name, (stream, flows) in streams.items()}

    def look(self, clock: ClockState, now_s: float) -> None:
        """Once every LOOK_INTERVAL_S."""
        before, self.clock = self.clock.ptp and self.clock.ptp.grandmaster, clock
        state = clock.ptp
        if before is not None and (state is None or state.grandmaster != before):
            self._changes.add()
        for source, cell in self._source.items():
            cell.set(source == clock.source)
        self._offset.set(state.offset_ns if state else 0)
        self._tai_offset.set(clock.tai_offset_s)
        for stream in self._streams.values():
            stream.look(clock, now_s)

    def document(self) -> dict:
        """Clock and streams as JSON can carry them."""
        state = self.clock.ptp
        return {
            "clock": {
                "source": self.clock.source, "kernel_synchronised": self.clock.synchronised, "kernel_tai_offset_s": self.clock.tai_offset_s,
                "tai_offset_s": tai_offset_used_s(self.clock),
                "ptp": state and {"locked": state.locked, "problem": state.problem or None, "domain": state.domain, "offset_ns": state.offset_ns,
                                  "grandmaster": None if state.grandmaster is None else ptp.identity_text(state.grandmaster),
                                  "utc_offset_s": state.utc_offset_s, "hardware": state.hardware}},
            "streams": {name: stream.document() for name, stream in self._streams.items()}}


class _Cells:
    """Where a stream's judgement is shown."""

    def __init__(self, counters: Counters, stream: str, judge: Judge) -> None:
        self._status = {domain: counters.gauge("appliance_stream_status", stream=stream, domain=domain) for domain in judge.status}
        self._transitions = {domain: counters.counter("appliance_stream_status_transitions_total", stream=stream, domain=domain) for domain in self._status}
        self._found = {name: counters.gauge("appliance_stream_finding", stream=stream, reason=name) for name in FINDINGS}
        self._basis = {basis: counters.gauge("appliance_stream_time_info", stream=stream, basis=basis) for basis in TIME_BASES}
        self._trusted = counters.gauge("appliance_stream_clock_trusted", stream=stream)
        self._counted = dict(judge.transitions)

    def write(self, judge: Judge, time: Time) -> None:
        for domain, cell in self._status.items():
            cell.set(judge.status[domain])
            self._transitions[domain].add(judge.transitions[domain] - self._counted[domain])
        self._counted = dict(judge.transitions)
        for name, cell in self._found.items():
            cell.set(name in judge.found)
        for basis, cell in self._basis.items():
            cell.set(basis == time.basis)
        self._trusted.set(time.trusted)


def _sum(cells: list[Cell]) -> int:
    return sum(cell.value for cell in cells)


def _gain(after: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {name: count - before[name] for name, count in after.items()}


def _links(stream: StreamConfig) -> dict[str, bool]:
    """Whether each interface of the stream has a link. Loopback does not know and says so, which counts as one."""
    found = {}
    for name in stream.interfaces:
        try:
            device = socket.if_indextoname(interface_index(name))
            found[name] = (_NETWORK / device / "operstate").read_text().strip() in ("up", "unknown")
        except (OSError, ConfigurationError):
            found[name] = False
    return found
