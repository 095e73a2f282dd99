"""The ingest stage: one video flow from its intake into the raw ring, by cext/reception; Python only moves counters.

Started as `stage ingest.STREAM`. Loss, restarts and malformed packets are counters here, never exceptions.
"""
from collections.abc import Sequence

from appliance import clock
from appliance.ingest.accounts import Accounts
from appliance.ingest.intake import Intake
from appliance.ingest.mismatch import MismatchWatch
from appliance.ingest.sender_timing import SenderTiming
from appliance.protocol import rfc4175
from appliance.protocol.sdp import PATHS, VideoFlow
from appliance.runtime.belief import Belief
from appliance.runtime.counters import Counters
from appliance.runtime.log import tell
from appliance.runtime.metrics import INGEST_BACKENDS
from appliance.runtime.ring import RingWriter
from appliance.runtime.stage import Stage
from cext.reception import Assembly

# A frame's time at 50 Hz: how often counters move, and the longest that an order to stop waits.
WAKE_INTERVAL_NS = 20_000_000


def run(stage: Stage) -> None:
    """Receives until told to stop. ConfigurationError if the interface, the address of the flow or the reception asked for cannot be used."""
    flow, stream = stage.flows[stage.stream.name].video, stage.stream
    assembly = assemble(flow, stage.writers[f"raw.{stream.name}"], stream.path_skew_ms * 1_000_000)
    with Intake(flow, stream.interface_of(0), assembly, stream.receive, stream.interface_of(1)) as intake:
        accounts = Accounts(stage.counters, PATHS[:assembly.path_count], flow.format.frame_ns)
        mismatch = MismatchWatch(stage.counters, stage.log, flow.format, clock.monotonic_ns())
        for number, leg in enumerate(flow.legs):
            stage.log.info("%s from %s:%d on %s", flow.format, leg.group, leg.port, stream.interface_of(number))
        _show_backend(stage.counters, intake)
        stage.log.info(intake.choice)
        belief = Belief(stage.counters, stream.name, flow.format.frame_ns)
        timings = [SenderTiming(stage.counters, leg, path, clock.monotonic_ns()) for path, leg in zip(PATHS, flow.legs)]
        stage.ready()
        while stage.running():
            intake.run(WAKE_INTERVAL_NS)
            _follow_time(stage, intake, belief, timings)
            if intake.keep(clock.monotonic_ns()):
                _show_backend(stage.counters, intake)
                stage.log.warning(intake.choice)
            tell(stage.log, accounts.move(intake))
            mismatch.look(intake.assembly, clock.monotonic_ns())


def assemble(flow: VideoFlow, writer: RingWriter, skew_ns: int = 0) -> Assembly:
    """The assembly of a flow's frames into the slots of `writer`; its geometry is the SDP's, packets never change it. `skew_ns`: how far its paths may
    be apart, if it has two."""
    format, second = flow.format, flow.second
    return Assembly(writer, width=format.width, height=format.height, pgroup_bytes=format.pgroup.octets, pgroup_columns=format.pgroup.columns,
                    pgroup_rows=format.pgroup.rows, scan=format.scan, payload_type=flow.payload_type, neutral_pgroup=rfc4175.neutral_pgroup(format), rate_hz=flow.rate_hz,
                    mediaclk_offset=flow.mediaclk_offset, frame_interval_ns=int(1_000_000_000 / format.picture_rate),
                    second_payload_type=second and second.payload_type, second_ssrc_difference=second.ssrc_difference if second else 0, skew_ns=skew_ns,
                    frames_open=flow.frames_open(skew_ns))


def _follow_time(stage: Stage, intake: Intake, belief: Belief, timings: Sequence[SenderTiming]) -> None:
    """Believes RTP times as far as this machine's clock goes, and shows once a second how the sender keeps time."""
    assembly = intake.assembly
    if belief.changed():
        assembly.believe(*belief.window_ns)
        assembly.measure(timings[0].schedule(by_epoch=belief.trusted))
    now_ns = clock.monotonic_ns()
    due = [(path, timing) for path, timing in enumerate(timings) if timing.due(now_ns)]
    if due:
        stamped = intake.path_statistics()
        for path, timing in due:
            if path in stamped:
                timing.show(assembly.take_timing(path), stamped[path]["stamped"])
        stage.counters.gauge("appliance_ingest_transit_seconds").set(assembly.transit_ns)


def _show_backend(counters: Counters, intake: Intake) -> None:
    for backend in INGEST_BACKENDS:
        counters.gauge("appliance_ingest_backend_info", backend=backend).set(backend in intake.backends)
    counters.gauge("appliance_ingest_receive_buffer_bytes").set(intake.buffer_bytes)
