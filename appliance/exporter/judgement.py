"""What is not as it should be with a stream, from what was counted in the last seconds and from the clock. Pure; the exporter's monitor calls it.

Invariant: worse is said at once, better only after REPORTING_DELAY_S in which all went well (BCP-008-01, statusReportingDelay).
"""
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from appliance.exporter.reference_clock import OFFSET_LOCKED_NS_MAX, ClockState, tai_offset_used_s
from appliance.protocol import ptp, timing
from appliance.protocol.sdp import Flow, VideoFlow
from appliance.runtime.health import BY_ARRIVAL, BY_CLOCK, BY_PTP, DOMAINS, OVERALL, REPORTING_DELAY_S, Status, judge

INACTIVE_AFTER_S = 60.0     # without packets, and nobody watching: a theatre that is switched off is no fault
INCOMPLETE_SHARE_MAX = 0.5  # more of the frames, and nobody should work with the picture
INCOMPLETE_MIN = 2          # one picture that was cut short makes no bad stream
REFUSED_SHARE_MAX = 0.001   # of the packets: more than bit errors explain
# What an ingest that has just started is given before its source is missed: switches take a while to forward a group that was joined. It joins within
# a picture, which has holes.
# Source: BCP-008-01, a receiver that was just activated reports after statusReportingDelay.
STARTING_S = REPORTING_DELAY_S
_OF_A_START = frozenset(("silent", "path_silent", "no_pictures", "some_incomplete"))
# While the other finding holds, it says both. What this machine drops is counted as lost as well, and the network has no part in it.
_COVERED_BY = {"recovered": "lost", "late": "lost", "lost": "kernel_drops", "some_incomplete": "incomplete"}
ARRIVAL_TIMED_SHARE_MAX = 0.5
# A sender that bunches more than it promised. "narrow_linear" is as strict as "narrow".
_STRICTNESS = {"narrow": 0, "narrow_linear": 0, "wide": 1, timing.NOT_COMPLIANT: 2}
_PROMISED = {timing.NARROW: 0, timing.NARROW_LINEAR: 0, timing.WIDE: 1}


@dataclass(frozen=True)
class Figures:
    """What happened to a stream in the last `seconds`, and what holds now."""

    seconds: float
    started_s: float = math.inf
    """How long its ingest has run without a pause."""
    packets: int = 0
    lost: int = 0
    late: int = 0
    kernel_drops: int = 0
    refused: int = 0
    frames: int = 0
    incomplete: int = 0
    dropped: int = 0
    arrival_timed: int = 0
    viewers: int = 0
    mismatch: bool = False
    seems: str = ""
    """What it looks like that comes in place of what the SDP says."""
    metadata_stale: bool = False
    sound_lost: bool = False
    transit_ns: int = 0
    hardware_verdict: str = timing.NOT_MEASURED
    """How the sender spaces its packets, by the network card's stamps alone."""
    links: Mapping[str, bool] = field(default_factory=dict)
    """Interface: whether it has a link."""
    paths: Mapping[str, int] = field(default_factory=dict)
    """Packets by path, where there are two."""
    recovered: int = 0


@dataclass(frozen=True)
class Time:
    """What a stream's capture times rest on."""

    trusted: bool
    basis: str
    found: dict[str, str]
    used: bool
    """Whether the stream needs a common time at all: its SDP names PTP."""


def judge_time(flow: VideoFlow, clock: ClockState, figures: Figures, beside: Mapping[str, Flow] | None = None) -> Time:
    """One of TIME_BASES with the findings about synchronisation, and their particulars. `beside`: the stream's other flows, by what they are."""
    time = _judge_picture(flow, clock, figures)
    apart = _apart(ptp.reference(flow.ptp), clock, beside or {})
    return replace(time, found=time.found | {"other_grandmaster": apart}) if apart else time


def _judge_picture(flow: VideoFlow, clock: ClockState, figures: Figures) -> Time:
    wanted = ptp.reference(flow.ptp)
    if wanted is None:
        return Time(False, BY_ARRIVAL, {}, False)
    found, trusted, basis = {}, False, BY_ARRIVAL
    state = clock.ptp
    if state is None or state.problem:
        trusted = bool(clock.synchronised)
        basis = BY_CLOCK if trusted else BY_ARRIVAL
        found["no_ptp_but_clock" if trusted else "no_ptp"] = state.problem if state else "no ptp4l runs"
    elif not state.locked:
        heard = f"offset {state.offset_ns / 1e6:.3f} ms, more than {OFFSET_LOCKED_NS_MAX / 1e6:g}" if state.grandmaster is not None else "no grandmaster heard"
        found["ptp_not_locked"] = f"domain {state.domain}: {heard}"
    else:
        found = _differences(wanted, clock)
        trusted = not found
        basis = BY_PTP if trusted else BY_ARRIVAL
    if trusted and figures.arrival_timed > figures.frames * ARRIVAL_TIMED_SHARE_MAX:
        found["sender_clock"], basis = _distance(figures.transit_ns), BY_ARRIVAL
    return Time(trusted, basis, found, True)


def _apart(wanted: ptp.Reference | None, clock: ClockState, beside: Mapping[str, Flow]) -> str:
    """Which of the other flows name a clock that is not the one followed here, nor, where PTP is not locked here, the picture's."""
    state = clock.ptp
    if state is not None and state.locked:
        here, place = ptp.Reference(state.grandmaster, state.domain), "here"
    elif wanted is not None:
        here, place = wanted, "picture's SDP"
    else:
        return ""
    named = {what: reference for what, flow in beside.items() if (reference := ptp.reference(flow.ptp)) and _differ(reference, here)}
    return "".join(f"{what}'s SDP: {_clock_text(reference)}; " for what, reference in named.items()) + f"{place}: {_clock_text(here)}" if named else ""


def _differ(one: ptp.Reference, other: ptp.Reference) -> bool:
    """Whether both say what they follow, and it is not the same."""
    pairs = ((one.grandmaster, other.grandmaster), (one.domain, other.domain))
    return any(None not in pair and pair[0] != pair[1] for pair in pairs)


def _clock_text(reference: ptp.Reference) -> str:
    named = ptp.identity_text(reference.grandmaster) if reference.grandmaster is not None else "any"
    return f"{named}, domain {'any' if reference.domain is None else reference.domain}"


def _differences(wanted: ptp.Reference, clock: ClockState) -> dict[str, str]:
    state, found = clock.ptp, {}
    here = ptp.Reference(state.grandmaster, state.domain)
    if _differ(wanted, here):
        found["grandmaster"] = f"SDP: {_clock_text(wanted)}; here: {_clock_text(here)}"
    if state.hardware and clock.synchronised is False:
        found["system_clock"] = f"ptp4l sets the clock of {', '.join(port.interface for port in state.ports if port.hardware)}"
    if state.utc_offset_s is not None and state.utc_offset_s != tai_offset_used_s(clock):
        found["tai_offset"] = f"PTP: TAI - UTC = {state.utc_offset_s} s; here: {tai_offset_used_s(clock)} s"
    return found


def _distance(transit_ns: int) -> str:
    """How far the sender's clock is, with a guess where the distance tells: UTC in place of TAI is the usual mistake."""
    seconds = transit_ns / 1e9
    guess = ", as if it sent UTC in place of TAI" if abs(seconds - 37) < 2 else ""
    return f"its RTP times lie {abs(seconds):,.1f} s {'before' if seconds > 0 else 'after'} the arrival{guess}"


def find(figures: Figures, declared: str | None) -> dict[str, str]:
    """The findings about link, connection and stream, with their particulars. `declared`: TP of the SDP."""
    found = _find(figures, declared)
    return {name: particulars for name, particulars in found.items() if name not in _OF_A_START or figures.started_s >= STARTING_S}


def _find(f: Figures, declared: str | None) -> dict[str, str]:
    found = {}
    down = [name for name, up in f.links.items() if not up]
    if down:
        found["link_down" if len(down) == len(f.links) else "one_link_down"] = ", ".join(down)
    per = f"in {f.seconds:.0f} s"
    if not f.packets and not f.refused:
        found["silent"] = f"none {per}"
        return found
    quiet = [path for path, packets in f.paths.items() if not packets]
    replaced = f", {f.recovered} replaced by the other path" if f.recovered else ""
    most_incomplete = f.incomplete >= INCOMPLETE_MIN and f.incomplete > f.frames * INCOMPLETE_SHARE_MAX
    facts = (
        ("lost", f.lost, f"{f.lost} lost, {f.late} late{replaced} of {f.packets:,} packets {per}"),
        ("late", f.late, f"{f.late} of {f.packets:,} packets {per}"),
        ("kernel_drops", f.kernel_drops, f"{f.kernel_drops} receive buffers, {f.lost} packets lost {per}"),
        ("path_silent", quiet, f"path {', '.join(quiet)}"),
        ("recovered", f.recovered, f"{f.recovered} packets {per}"),
        ("mismatch", f.mismatch, f.seems and f"it seems to be {f.seems}"),
        ("no_pictures", not f.frames and not f.mismatch, f"{f.packets:,} packets taken, {f.refused:,} refused {per}"),
        ("incomplete", most_incomplete, f"{f.incomplete} of {f.frames} {per}"),
        ("some_incomplete", f.incomplete and not most_incomplete, f"{f.incomplete} of {f.frames} {per}"),
        ("refused", f.refused > REFUSED_SHARE_MAX * f.packets, f"{f.refused:,} {per}"),
        ("dropped", f.dropped, f"{f.dropped} {per}"),
        ("metadata", f.metadata_stale, "no valid grain for three seconds"),
        ("sound", f.sound_lost, "none for a second"),
        ("sender_type", _STRICTNESS.get(f.hardware_verdict, 0) > _PROMISED.get(declared, 2),
         f"promised {declared}, measured {f.hardware_verdict.replace('_', ' ')}"),
    )
    return found | {name: particulars for name, holds, particulars in facts if holds}


class Judge:
    """The status of one stream over time."""

    def __init__(self, now_s: float) -> None:
        self.status: dict[str, Status] = dict.fromkeys((*DOMAINS, OVERALL), Status.INACTIVE)
        self.found: dict[str, str] = {}
        """Findings that hold, or held less than REPORTING_DELAY_S ago, with their particulars."""
        self.transitions = dict.fromkeys(self.status, 0)
        self._seen_s: dict[str, float] = {}
        self._particulars: dict[str, str] = {}
        self._heard_s = now_s

    def look(self, figures: Figures, declared: str | None, time: Time, now_s: float) -> None:
        """Takes the figures of the last seconds."""
        if figures.packets or figures.refused:
            self._heard_s = now_s
        active = bool(figures.viewers) or now_s - self._heard_s < INACTIVE_AFTER_S
        present = (find(figures, declared) | time.found) if active else {}
        for name in present:
            self._seen_s[name] = now_s
        self._seen_s = {name: seen_s for name, seen_s in self._seen_s.items() if active and now_s - seen_s < REPORTING_DELAY_S}
        self._particulars |= present
        self.found = {name: self._particulars[name] for name in self._seen_s if _COVERED_BY.get(name) not in self._seen_s}
        before, self.status = self.status, judge(self.found, active, time.used)
        for domain, status in self.status.items():
            self.transitions[domain] += status > max(before[domain], Status.HEALTHY)
