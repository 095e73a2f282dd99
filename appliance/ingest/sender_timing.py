"""What a path's packets say about their sender's timing (ST 2110-21), shown once a second. Used by the ingest stage; the kernel has measured it."""
from appliance.protocol import timing
from appliance.protocol.sdp import VideoFlow
from appliance.runtime.counters import Counters
from appliance.runtime.metrics import INGEST_STAMPS, TIMING_PACKETS, TIMING_SECONDS, TIMING_TICKS

SHOW_INTERVAL_NS = 1_000_000_000
OWN_STAMPS = ("hardware", "kernel")
"""Kinds of stamps that are a packet's own: only they say how a sender spaces its packets."""
# The measures that are a range in what the kernel took, by metric label without its _min and _max.
_RANGES = {"vrx": "vrx", "first_packet": "first_packet_ns", "latency": "latency_ns", "rtp_offset": "rtp_offset_ticks", "rtp_delta": "rtp_delta_ticks"}


class SenderTiming:
    """The gauges of one path."""

    def __init__(self, counters: Counters, flow: VideoFlow, path: str, now_ns: int) -> None:
        self._flow, self._shown_ns = flow, now_ns
        self._stamped: dict[str, int] = {}
        self._cells = {measure: counters.gauge(f"appliance_ingest_timing_{unit}", path=path, measure=measure)
                       for unit, measures in (("packets", TIMING_PACKETS), ("seconds", TIMING_SECONDS), ("ticks", TIMING_TICKS)) for measure in measures}
        self._types = {verdict: counters.gauge("appliance_ingest_sender_type_info", path=path, type=verdict) for verdict in timing.VERDICTS}

    def schedule(self, by_epoch: bool) -> timing.Schedule:
        """What the kernel measures against; `by_epoch`: this machine's clock is on PTP."""
        flow = self._flow
        return timing.schedule(flow.format, flow.sender_type, flow.offset_us, rate_hz=flow.rate_hz, mediaclk_offset=flow.mediaclk_offset, by_epoch=by_epoch)

    def due(self, now_ns: int) -> bool:
        """Whether the last second is over."""
        if now_ns - self._shown_ns < SHOW_INTERVAL_NS:
            return False
        self._shown_ns = now_ns
        return True

    def show(self, measured: dict, stamped: dict[str, int]) -> None:
        """Takes what the kernel measured since the last time, and the totals of datagrams by kind of stamp."""
        flow = self._flow
        # Packets that share a stamp, or were stamped when they were read, look bunched whatever their sender did.
        own = all(stamped[kind] == self._stamped.get(kind, 0) for kind in INGEST_STAMPS if kind not in OWN_STAMPS)
        self._stamped = stamped
        verdict = timing.verdict(measured, flow.sender_type, flow.format, flow.maxudp, flow.c_most) if own else timing.NOT_MEASURED
        for name, cell in self._types.items():
            cell.set(name == verdict)
        limits = timing.limits(flow.format, measured["picture_packets"], flow.sender_type or timing.WIDE, flow.maxudp, flow.c_most)
        values = {"c": measured["c_most"], "c_max": limits.c_most or 0, "vrx_full": limits.vrx_full, "picture": measured["picture_packets"],
                  "first_packet_limit": self.schedule(by_epoch=True).offset_ns}
        for label, name in _RANGES.items():
            values[f"{label}_min"], values[f"{label}_max"] = measured[name] or (0, 0)
        for place, name in enumerate(("min", "mean", "p99", "max")):
            values[f"spacing_{name}"] = measured["spacing_ns"][place] if measured["spacing_ns"] else 0
        for measure, cell in self._cells.items():
            cell.set(values[measure])
