"""The ingest stage: one video flow from its socket into the raw ring, by cext/reception; Python only moves counters.

Started as `stage ingest.STREAM`. Loss, restarts and malformed packets are counters here, never exceptions.
"""
import socket

from appliance import clock
from appliance.frame import MISMATCH
from appliance.protocol import rfc4175
from appliance.protocol.sdp import VideoFlow
from appliance.runtime.counters import Counters
from appliance.runtime.metrics import FRAMES_DROPPED
from appliance.runtime.multicast import Membership, open_receiver
from appliance.runtime.ring import RingWriter
from appliance.runtime.stage import Stage
from cext.reception import Assembly, Reception

# Half a second of 1280x720p50 as the kernel accounts for it: longer than the reader is ever kept from the processor.
RECEIVE_BUFFER_BYTES = 64 * 1024 * 1024
# A frame's time at 50 Hz: how often counters move, and the longest that an order to stop waits.
WAKE_INTERVAL_NS = 20_000_000
FIT_INTERVAL_NS = 1_000_000_000
# Of the packets of a second: more refused for their place or length than bit errors explain.
REFUSED_SHARE_MAX = 0.05
# A frame with holes although nothing was lost is smaller than the SDP says; more than this share lost explains holes by itself.
LOST_SHARE_MAX = 0.01
_GEOMETRY_REASONS = ("srd_length", "srd_row", "srd_offset")
_UDP_GRO = 104  # include/uapi/linux/udp.h; Python's socket module lacks it


def run(stage: Stage) -> None:
    """Receives until told to stop. ConfigurationError if the interface or the address of the flow cannot be used."""
    flow = stage.flows[stage.stream.name].video
    with open_receiver(flow, stage.stream.interface, RECEIVE_BUFFER_BYTES) as receiver:
        merge_datagrams(receiver)
        reception = Reception(receiver.fileno(), assemble(flow, stage.writers[f"raw.{stage.stream.name}"]))
        accounts, membership = Accounts(stage.counters), Membership(receiver, flow, stage.stream.interface)
        fit, mismatch = Fit(clock.monotonic_ns()), stage.counters.gauge("appliance_ingest_mismatch")
        stage.counters.gauge("appliance_ingest_receive_buffer_bytes").set(receiver.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2)
        stage.log.info("%s from %s:%d on %s", flow.format, flow.group, flow.port, stage.stream.interface)
        stage.ready()
        while stage.running():
            reception.run(WAKE_INTERVAL_NS)
            membership.keep(reception.statistics()["datagrams"], clock.monotonic_ns())
            for remark in accounts.move(reception):
                stage.log.warning(remark)
            if fit.changed(reception.assembly.statistics(), clock.monotonic_ns()):
                reception.assembly.flag_frames(0 if fit.good else MISMATCH)
                mismatch.set(not fit.good)
                stage.log.warning("what arrives fits the SDP again" if fit.good else
                                  f"what arrives is not the {flow.format} that the SDP describes; no picture is shown. "
                                  "Fetch the SDP from the device again and restart the appliance")


def merge_datagrams(receiver: socket.socket) -> None:
    """Lets the kernel hand over several datagrams of one size in one buffer (UDP_GRO, Linux 5.0); an older kernel goes without."""
    try:
        receiver.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 1)
    except OSError:
        return


def assemble(flow: VideoFlow, writer: RingWriter) -> Assembly:
    """The assembly of a flow's frames into the slots of `writer`; its geometry is the SDP's, packets never change it."""
    format = flow.format
    return Assembly(writer, width=format.width, height=format.height, pgroup_bytes=format.pgroup_bytes, pgroup_pixels=format.pgroup_pixels,
                    payload_type=flow.payload_type, neutral_pgroup=rfc4175.neutral_pgroup(format), rate_hz=flow.rate_hz,
                    mediaclk_offset=flow.mediaclk_offset, frame_interval_ns=int(1_000_000_000 / format.rate))


class Fit:
    """Whether what arrives is what the SDP describes, judged once a second. A picture that is cut or shifted must not be shown as if it were whole."""

    def __init__(self, now_ns: int) -> None:
        self.good = True
        self._judged_ns, self._before = now_ns, None

    def changed(self, totals: dict, now_ns: int) -> bool:
        """Takes the assembly's totals; True when the judgement has just become another. A second without packets changes nothing."""
        if now_ns - self._judged_ns < FIT_INTERVAL_NS:
            return False
        counts = {name: totals[name] for name in ("packets", "frames", "incomplete", "lost")}
        counts["refused"] = sum(totals["malformed"][reason] for reason in _GEOMETRY_REASONS)
        fresh = {name: count - (self._before or {}).get(name, 0) for name, count in counts.items()}
        self._judged_ns, self._before = now_ns, counts
        arrived = fresh["packets"] + fresh["refused"]
        if not arrived:
            return False
        torn = 0 < fresh["frames"] == fresh["incomplete"] and fresh["lost"] <= LOST_SHARE_MAX * arrived
        good = fresh["refused"] <= REFUSED_SHARE_MAX * arrived and not torn
        changed, self.good = good != self.good, good
        return changed


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
            "late": counters.counter("appliance_ingest_packets_late_total"),
            "kernel_drops": counters.counter("appliance_ingest_kernel_drops_total"),
            "restarts": counters.counter("appliance_ingest_sender_restarts_total"),
            "outages": counters.counter("appliance_ingest_sender_outages_total"),
            "arrival_timed": counters.counter("appliance_ingest_frames_arrival_timed_total"),
            "no_slot": counters.counter(FRAMES_DROPPED, reason="no_slot"),
            "sparse": counters.counter(FRAMES_DROPPED, reason="sparse"),
        }
        self._malformed = {reason: counters.counter("appliance_ingest_packets_malformed_total", reason=reason) for reason in rfc4175.REASONS}
        self._latency = counters.histogram("appliance_stage_latency_seconds")
        self._seen = dict.fromkeys([*self._cells, *self._malformed], 0)

    def move(self, reception: Reception) -> list[str]:
        """Adds what is new; returns what a person should read in the log."""
        totals = reception.assembly.statistics() | reception.statistics()
        malformed = totals.pop("malformed")
        remarks = self._remarks(totals)
        for name, cell in self._cells.items():
            self._add(cell, name, totals[name])
        for reason, cell in self._malformed.items():
            self._add(cell, reason, malformed[reason])
        for latency_ns in reception.assembly.take_latencies_ns():
            self._latency.observe_ns(latency_ns)
        return remarks

    def _add(self, cell, name: str, total: int) -> None:
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
        if totals["arrival_timed"] and not self._seen["arrival_timed"]:
            remarks.append("RTP times are not near this machine's TAI time: one of the two clocks is not on PTP, "
                           "and the arrival is taken for the capture time")
        return remarks
