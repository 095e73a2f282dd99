"""Every metric of the appliance, one table: what a stage counts, the exporter shows and the dashboards ask for.

Only declarations. Labels `stream`, `audience`, `rendition`, `coding` and `stage` are filled in from the stage's place in the topology.
"""
from dataclasses import dataclass, replace

from appliance.protocol import pcm, rfc4175, timing
from appliance.runtime import health

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

LATENCY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
WORK_BUCKETS_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.05, 0.1, 0.5)


@dataclass(frozen=True)
class Metric:
    """One metric. `choices` are its own labels with every value they may take; `scope` names labels given by the topology.

    `scale` is the value of one unit in the shared cell (histograms and times are kept in nanoseconds, shown in seconds); `signed`: it may be negative.
    """

    name: str
    kind: str
    help: str
    choices: tuple[tuple[str, tuple[str, ...]], ...] = ()
    scope: tuple[str, ...] = ("stream",)
    buckets_s: tuple[float, ...] = LATENCY_BUCKETS_S
    scale: float = 1.0
    signed: bool = False


def signed(value: int) -> int:
    """What a cell of a signed metric holds."""
    return value - (1 << 64) if value >> 63 else value


def _reasons(*values: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return (("reason", values),)


EVERY_STAGE = (
    Metric("appliance_stage_heartbeat_monotonic_seconds", GAUGE, "Monotonic time of the stage's last sign of life", scope=("stage",), scale=1e-9),
    Metric("appliance_stage_pid", GAUGE, "Process id of the stage", scope=("stage",)),
    Metric("appliance_stage_ready", GAUGE, "1 once the stage works", scope=("stage",)),
)
FRAMES_DROPPED = "appliance_frames_dropped_total"
FRAMES_DROPPED_HELP = "Frames or access units lost inside the appliance, by stage and reason"
LATENCY = Metric("appliance_stage_latency_seconds", HISTOGRAM, "From capture time to this stage's publish", scope=("stage", "stream"))

SUPERVISOR = (
    Metric("appliance_supervisor_restarts_total", COUNTER, "Restarts of a stage that ended by itself or hung, since the appliance started", scope=("stage",)),
)
"""What the supervisor counts for each stage."""

SUPERVISOR_STREAM = (
    Metric("appliance_stream_waiting", GAUGE, "1 while the stream cannot begin: its SDP cannot be had or used, or there is no memory for it"),
    Metric("appliance_stream_changes_total", COUNTER, "Times that the stream's SDP or configuration changed while the appliance ran"),
)
"""What it says of each stream of the configuration."""

SUPERVISOR_SELF = (
    Metric("appliance_supervisor_configuration_refused", GAUGE, "1 while the configuration file is not followed because something in it is wrong", scope=()),
)

# As cext/kernels/arrival.h orders them, from the best to the humblest.
INGEST_STAMPS = ("hardware", "kernel", "merged", "batch")
ARRIVING_FIGURES = ("width", "height", "scan", "pixel_bits", "pictures_in_1000_s")
PACKET_RING, SOCKET = INGEST_BACKENDS = ("packet-ring", "socket")
TIMING_PACKETS = ("c", "c_max", "vrx_min", "vrx_max", "vrx_full", "picture")
TIMING_SECONDS = ("spacing_min", "spacing_mean", "spacing_p99", "spacing_max", "first_packet_min", "first_packet_max", "first_packet_limit",
                  "latency_min", "latency_max")
TIMING_TICKS = ("rtp_offset_min", "rtp_offset_max", "rtp_delta_min", "rtp_delta_max")
# As cext/kernels/ip_datagram.h orders them.
INGEST_REFUSALS = ("ip_header", "ip_checksum", "fragment", "udp_length", "udp_checksum", "source")

_PATH = ("stream", "path")
PATH_SKEW_BUCKETS_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
INGEST = EVERY_STAGE + (
    LATENCY,
    Metric("appliance_ingest_frames_total", COUNTER, "Frames published, complete or not"),
    Metric("appliance_ingest_packets_total", COUNTER, "RTP packets accepted"),
    Metric("appliance_ingest_packets_lost_total", COUNTER, "Packets that had not arrived when their frame was closed"),
    Metric("appliance_ingest_packets_malformed_total", COUNTER, "Packets that break their format or are not of the sender that is followed",
           _reasons(*rfc4175.REASONS)),
    Metric("appliance_ingest_packets_duplicate_total", COUNTER, "Packets that had come before"),
    Metric("appliance_ingest_packets_reordered_total", COUNTER, "Packets that came behind a later one, in time for their frame"),
    Metric("appliance_ingest_packets_late_total", COUNTER, "Packets whose frame was already closed"),
    Metric("appliance_ingest_packets_surplus_total", COUNTER, "Packets that a sender added to a frame that was whole; no fault"),
    Metric("appliance_ingest_bytes_total", COUNTER, "Octets of accepted RTP packets"),
    Metric("appliance_ingest_kernel_drops_total", COUNTER, "Receive buffers, each of one packet or several merged ones, that found socket or packet ring full"),
    Metric("appliance_ingest_packets_refused_total", COUNTER, "Packets with a wrong IP or UDP header in the packet ring, or from another source than the SDP's; for a socket the kernel throws "
           "them away uncounted",
           _reasons(*INGEST_REFUSALS)),
    Metric("appliance_ingest_backend_info", GAUGE, "1 for the way that the flow is received", choices=(("backend", INGEST_BACKENDS),)),
    Metric("appliance_ingest_frames_incomplete_total", COUNTER, "Frames published with holes, which show samples under a second old of the same place, or grey"),
    Metric("appliance_ingest_rows_missing_total", COUNTER, "Rows with a hole, of all frames published"),
    Metric("appliance_ingest_frames_arrival_timed_total", COUNTER, "Frames whose RTP time was not near TAI: their capture time is their arrival"),
    Metric("appliance_ingest_sender_restarts_total", COUNTER, "Times that another SSRC, sequence or time was followed"),
    Metric("appliance_ingest_mismatch", GAUGE, "1 while what arrives is not what the SDP describes, and no picture is shown"),
    Metric("appliance_ingest_arriving", GAUGE, "What it seems to be meanwhile, by its packets: pixels, rows, scan (0 progressive, 1 interlaced, 2 PsF), "
           "bits a pixel; 0 where they do not tell", choices=(("figure", ARRIVING_FIGURES),)),
    Metric("appliance_ingest_sender_outages_total", COUNTER, "Times that the same sender went on after a gap: its own pause, the network's or this machine's"),
    Metric("appliance_ingest_receive_buffer_bytes", GAUGE, "Receive buffer that the kernel granted"),
    Metric(FRAMES_DROPPED, COUNTER, FRAMES_DROPPED_HELP, _reasons("no_slot", "sparse"), scope=("stage", "stream")),
    Metric("appliance_ingest_transit_seconds", GAUGE, "From the last frame's RTP time to the arrival of its first packet", scale=1e-9, signed=True),
    Metric("appliance_ingest_packets_redundant_total", COUNTER, "Packets that the other path had brought before"),
    Metric("appliance_ingest_packets_differing_total", COUNTER, "Of the redundant packets that were compared, one in sixteen: those with other samples than the "
           "other path's"),
    Metric("appliance_ingest_path_skew_seconds", GAUGE, "How much later the second path brings a packet than the first; negative: sooner", scale=1e-9, signed=True),
    Metric("appliance_ingest_path_skew_distance_seconds", HISTOGRAM, "How far the two paths are apart, either way", buckets_s=PATH_SKEW_BUCKETS_S),
)

INGEST_PATH = (
    Metric("appliance_ingest_path_alive", GAUGE, "1 while the path brings packets of the flow", scope=_PATH),
    Metric("appliance_ingest_path_packets_total", COUNTER, "RTP packets of the flow that the path brought, each once", scope=_PATH),
    Metric("appliance_ingest_path_packets_first_total", COUNTER, "Of these, written to their frame: the other path had not brought them before", scope=_PATH),
    Metric("appliance_ingest_path_packets_lost_total", COUNTER, "Packets of the flow that the path never brought, or much too late", scope=_PATH),
    Metric("appliance_ingest_path_packets_recovered_total", COUNTER, "Of these, brought by the other path: no loss to the picture", scope=_PATH),
    Metric("appliance_ingest_path_packets_reordered_total", COUNTER, "Packets that came behind a later one of the path, in time", scope=_PATH),
    Metric("appliance_ingest_path_packets_duplicate_total", COUNTER, "Packets that the path itself had brought before", scope=_PATH),
    Metric("appliance_ingest_path_packets_late_total", COUNTER, "Packets whose frame was closed without them", scope=_PATH),
    Metric("appliance_ingest_path_packets_malformed_total", COUNTER, "Packets that break their format or are not of the sender that is followed",
           _reasons(*rfc4175.REASONS), scope=_PATH),
    Metric("appliance_ingest_path_packets_refused_total", COUNTER, "The same of the path", _reasons(*INGEST_REFUSALS),
           scope=_PATH),
    Metric("appliance_ingest_path_kernel_drops_total", COUNTER, "Receive buffers that found the path's socket or packet ring full", scope=_PATH),
    Metric("appliance_ingest_timestamp_info", GAUGE, "1 for what the arrival times rest on: the network card, the kernel, one stamp for several merged packets, "
           "or the moment of reading; the humblest of the last second", choices=(("kind", INGEST_STAMPS),), scope=_PATH),
    Metric("appliance_ingest_sender_type_info", GAUGE, "1 for how the sender spaced its packets in the last second, by ST 2110-21; worth as much as "
           "appliance_ingest_timestamp_info", choices=(("type", timing.VERDICTS),), scope=_PATH),
    Metric("appliance_ingest_timing_packets", GAUGE, "ST 2110-21 in the last second: packets in the network's and the receiver's bucket with their limits for "
           "the sender type, packets a picture", choices=(("measure", TIMING_PACKETS),), scope=_PATH, signed=True),
    Metric("appliance_ingest_timing_seconds", GAUGE, "Sender timing in the last second: packet spacing, first packet of a picture after the epoch's grid, and after "
           "its RTP time", choices=(("measure", TIMING_SECONDS),), scope=_PATH, scale=1e-9, signed=True),
    Metric("appliance_ingest_timing_ticks", GAUGE, "Sender's RTP times in the last second: after the epoch's grid, and from picture to picture, in ticks of 90 kHz",
           choices=(("measure", TIMING_TICKS),), scope=_PATH, signed=True),
)
"""What the ingest stage counts for each path of its flow: "a", and "b" where ST 2022-7 protects it."""

CONVERT = EVERY_STAGE + (
    LATENCY,
    Metric("appliance_convert_frames_total", COUNTER, "Frames converted to planar"),
    Metric("appliance_convert_frames_skipped_total", COUNTER, "Raw frames jumped over because a newer one was there"),
    Metric("appliance_convert_work_seconds", HISTOGRAM, "Time to convert one frame", buckets_s=WORK_BUCKETS_S),
    Metric(FRAMES_DROPPED, COUNTER, FRAMES_DROPPED_HELP, _reasons("no_slot", "mismatch"), scope=("stage", "stream")),
)

_RENDITION = ("stream", "audience", "rendition")

ENCODE = EVERY_STAGE
"""What each encode stage counts for itself."""

ENCODE_RENDITION = (
    replace(LATENCY, scope=("stage", "stream", "rendition")),
    Metric("appliance_encode_frames_total", COUNTER, "Frames encoded", scope=_RENDITION),
    Metric("appliance_encode_frames_skipped_total", COUNTER, "Planar frames jumped over because a newer one was there", scope=_RENDITION),
    Metric("appliance_encode_keyframes_total", COUNTER, "Keyframes among the frames encoded", scope=_RENDITION),
    Metric("appliance_encode_bytes_total", COUNTER, "Octets of access units", scope=_RENDITION),
    Metric("appliance_encode_work_seconds", HISTOGRAM, "Time to encode one frame", scope=_RENDITION, buckets_s=WORK_BUCKETS_S),
    Metric("appliance_encode_encoder_info", GAUGE, "1 for the encoder that makes the rendition", scope=_RENDITION,
           choices=(("encoder", ("h264_nvenc", "h264_qsv", "h264_amf", "h264_v4l2m2m", "libx264", "libvpx")),)),
    Metric(FRAMES_DROPPED, COUNTER, FRAMES_DROPPED_HELP, _reasons("no_slot", "too_large", "encoder_error"),
           scope=("stage", "stream", "rendition")),
)
"""What each of its threads counts for the rendition that it makes: no cell has two writers."""

GRAIN_KINDS = ("video", "audio", "rendition")
"""What a metadata grain describes."""
METADATA = EVERY_STAGE + (
    LATENCY,
    Metric("appliance_metadata_grains_total", COUNTER, "Grains received whole and found valid"),
    Metric("appliance_metadata_bytes_total", COUNTER, "Octets of these grains"),
    Metric("appliance_metadata_static_total", COUNTER, "Valid grains that had a static part"),
    Metric("appliance_metadata_instances_total", COUNTER, "Changes of SOP instance or sender, the first included"),
    Metric("appliance_metadata_stale", GAUGE, "1 when no valid grain came for three seconds"),
    Metric("appliance_metadata_flows_silent", GAUGE, "Metadata flows of the stream from which no valid grain came for three seconds"),
    Metric("appliance_metadata_subject_conflict", GAUGE, "1 while the metadata flows of the stream name different patients or studies"),
    Metric("appliance_metadata_websocket_connections_total", COUNTER, "Connections made to servers that offer metadata over a WebSocket"),
    Metric("appliance_metadata_websocket_dropped_total", COUNTER, "Messages of a WebSocket for which there was no room"),
    Metric("appliance_metadata_websocket_refused_total", COUNTER, "Messages of a WebSocket that were text and no packet"),
    Metric("appliance_metadata_packets_total", COUNTER, "RTP packets accepted"),
    Metric("appliance_metadata_packets_lost_total", COUNTER, "Packets that never arrived, by sequence number"),
    Metric("appliance_metadata_packets_late_total", COUNTER, "Packets that came after their turn or twice"),
    Metric("appliance_metadata_sessions_total", COUNTER, "Senders followed, the first included"),
    Metric("appliance_metadata_packets_malformed_total", COUNTER, "Packets not used, by reason",
           _reasons("truncated", "version", "payload_type", "extension", "padding", "ssrc")),
    Metric("appliance_metadata_grains_malformed_total", COUNTER, "Whole grains refused, by reason",
           _reasons("oversize", "preamble", "truncated", "vr", "length", "order", "item", "depth", "group_length", "missing_type1", "uid",
                    "unexpected_element", "dynamic_items", "instance_mismatch", "sop_class", "flow_mismatch", "rate_mismatch")),
    Metric("appliance_metadata_grains_understood_total", COUNTER, "Valid grains by what they describe", (("kind", GRAIN_KINDS),)),
    Metric("appliance_metadata_subjects_total", COUNTER, "Times that a static part named another patient or study than the one before, the first included"),
    Metric("appliance_metadata_type1_missing", GAUGE, "Type 1 elements of PS3.3 that the present sender leaves out, though its grains can be used"),
    Metric("appliance_metadata_grains_withheld_total", COUNTER, "Valid grains kept from the class because they could not be de-identified, by reason",
           _reasons("sop_class", "transfer_syntax", "rate", "oversize", "invalid")),
    Metric("appliance_metadata_grains_dropped_total", COUNTER, "Grains given up before they were whole, by reason",
           _reasons("gap", "no_start", "unfinished", "oversize", "session")),
    Metric(FRAMES_DROPPED, COUNTER, FRAMES_DROPPED_HELP, _reasons("no_slot"), scope=("stage", "stream")),
)

SOUND_DRIFTS = ("fast", "slow")

SOUND = EVERY_STAGE + (
    LATENCY,
    Metric("appliance_sound_frames_total", COUNTER, "Opus frames' worth of sound read, encoded or not"),
    Metric("appliance_sound_frames_incomplete_total", COUNTER, "Of these, frames with silence in place of what was lost"),
    Metric("appliance_sound_missing_seconds_total", COUNTER, "Silence in place of sound that was lost", scale=1e-9),
    Metric("appliance_sound_packets_total", COUNTER, "RTP packets accepted"),
    Metric("appliance_sound_packets_lost_total", COUNTER, "Packets that never came, by sequence number"),
    Metric("appliance_sound_packets_malformed_total", COUNTER, "Packets that break their format, or hold something else than the SDP says", _reasons(*pcm.REASONS)),
    Metric("appliance_sound_packets_duplicate_total", COUNTER, "Packets that had come before"),
    Metric("appliance_sound_packets_reordered_total", COUNTER, "Packets that came behind a later one, in time"),
    Metric("appliance_sound_packets_late_total", COUNTER, "Packets whose time had been read already"),
    Metric("appliance_sound_packets_early_total", COUNTER, "Packets so far ahead that there was no room for them"),
    Metric("appliance_sound_packets_of_other_length_total", COUNTER, "Packets of another duration than the SDP says; played all the same"),
    Metric("appliance_sound_bytes_total", COUNTER, "Octets of accepted RTP packets"),
    Metric("appliance_sound_kernel_drops_total", COUNTER, "Packets that found the socket full"),
    Metric("appliance_sound_samples_clipped_total", COUNTER, "Samples above full scale after mixing down"),
    Metric("appliance_sound_sender_restarts_total", COUNTER, "Times that another SSRC, sequence or time was followed"),
    Metric("appliance_sound_sender_outages_total", COUNTER, "Times that the sender came back after a silence"),
    Metric("appliance_sound_lost", GAUGE, "1 while no sound has come for a second"),
    Metric("appliance_sound_arrival_timed", GAUGE, "1 while the sound's RTP time is not near TAI: its capture time is its arrival"),
    Metric("appliance_sound_peak_ratio", GAUGE, "Highest sample of the last second, of full scale (1)", scale=1e-9),
    Metric("appliance_sound_silent_seconds", GAUGE, "For how long what comes has been silent, below -80 dB of full scale: a microphone that is off; 0 while it is heard"),
    Metric("appliance_sound_delay_seconds", GAUGE, "From a sample's RTP time to its packet's arrival, the least of the last second", scale=1e-9),
    Metric("appliance_sound_drift_ppm", GAUGE, "How much faster or slower the sender's clock runs than this machine's, in millionths",
           choices=(("direction", SOUND_DRIFTS),)),
    Metric(FRAMES_DROPPED, COUNTER, FRAMES_DROPPED_HELP, _reasons("no_slot"), scope=("stage", "stream")),
)

_RENDITION = ("stage", "stream", "audience", "rendition")
_DEMAND = (*_RENDITION, "coding")  # the rendition whose encoder makes it: several may be made of one's access units
NETWORK_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
SKEW_BUCKETS_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.015, 0.02, 0.05)
JOIN_BUCKETS_S = (0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
FANOUT_PORT_LOST = ("handover", "overflow", "send")
FANOUT_MALFORMED = ("stun", "stranger", "dtls", "srtcp", "rtcp", "sctp")

FANOUT_RENDITION = (
    Metric("appliance_fanout_viewers", GAUGE, "Viewers connected or connecting", scope=_DEMAND),
    Metric("appliance_fanout_keyframe_requests_total", COUNTER, "Keyframes asked of the encoder", scope=_DEMAND),
    Metric("appliance_fanout_units_total", COUNTER, "Access units taken from the encoder", scope=_RENDITION),
    Metric("appliance_fanout_units_lost_total", COUNTER, "Access units that never came or could not be packetised", scope=_RENDITION),
    Metric("appliance_fanout_packets_total", COUNTER, "RTP packets sent", scope=_RENDITION),
    Metric("appliance_fanout_bytes_total", COUNTER, "Octets of SRTP sent", scope=_RENDITION),
    Metric("appliance_fanout_sends_total", COUNTER, "Send calls", scope=_RENDITION),
    Metric("appliance_fanout_send_errors_total", COUNTER, "Send calls that failed for another reason than a full socket", scope=_RENDITION),
    Metric("appliance_fanout_send_fallbacks_total", COUNTER, "Viewers for whom segmentation offload was given up", scope=_RENDITION),
    Metric("appliance_fanout_skips_total", COUNTER, "Times that a viewer had to wait for the next keyframe", scope=_RENDITION),
    Metric("appliance_fanout_work_seconds_total", COUNTER, "Time spent packetising, encrypting and sending", scope=_RENDITION, scale=1e-9),
    Metric("appliance_fanout_skew_seconds", HISTOGRAM, "From the first viewer's last packet of an access unit to the last viewer's", scope=_RENDITION,
           buckets_s=SKEW_BUCKETS_S),
    Metric("appliance_fanout_joins_total", COUNTER, "Viewers that connected", scope=_RENDITION),
    Metric("appliance_fanout_joins_failed_total", COUNTER, "Viewers whose ICE or DTLS failed or took too long", scope=_RENDITION),
    Metric("appliance_fanout_join_seconds", HISTOGRAM, "From the offer to the first media sent", scope=_RENDITION, buckets_s=JOIN_BUCKETS_S),
    Metric("appliance_fanout_round_trip_seconds", HISTOGRAM, "Round trip to viewers, from their reports", scope=_RENDITION, buckets_s=NETWORK_BUCKETS_S),
    Metric("appliance_fanout_jitter_seconds", HISTOGRAM, "Interarrival jitter that viewers report", scope=_RENDITION, buckets_s=NETWORK_BUCKETS_S),
    Metric("appliance_fanout_packets_reported_lost_total", COUNTER, "Packets that viewers report as lost", scope=_RENDITION),
    Metric("appliance_fanout_nacks_total", COUNTER, "Packets that viewers asked for again", scope=_RENDITION),
    Metric("appliance_fanout_packets_resent_total", COUNTER, "Packets sent again", scope=_RENDITION),
    Metric("appliance_fanout_picture_losses_total", COUNTER, "PLI and FIR received", scope=_RENDITION),
    Metric("appliance_fanout_metadata_messages_total", COUNTER, "Metadata messages sent to viewers", scope=_RENDITION),
    Metric("appliance_fanout_metadata_messages_skipped_total", COUNTER, "Metadata messages that a viewer had no room for", scope=_RENDITION),
    Metric("appliance_fanout_metadata_messages_lost_total", COUNTER, "Metadata messages sent that a viewer never acknowledged", scope=_RENDITION),
    Metric("appliance_fanout_metadata_messages_refused_total", COUNTER, "Records not de-identified, kept from a class at the last moment; must stay 0", scope=_RENDITION),
)
"""What each fan-out worker counts for each rendition of each stream."""

FANOUT_STREAM = (
    LATENCY,
)
"""What each fan-out worker counts for each stream."""

_SOUND = ("stage", "stream")
FANOUT_SOUND = (
    Metric("appliance_fanout_sound_listeners", GAUGE, "Viewers that are sent the sound", scope=_SOUND),
    Metric("appliance_fanout_sound_latency_seconds", HISTOGRAM, "From the sound's capture time to its sending", scope=_SOUND),
    Metric("appliance_fanout_sound_units_lost_total", COUNTER, "Opus frames that never came from the sound stage", scope=_SOUND),
    Metric("appliance_fanout_sound_packets_total", COUNTER, "RTP packets of sound sent", scope=_SOUND),
    Metric("appliance_fanout_sound_bytes_total", COUNTER, "Octets of SRTP of sound sent", scope=_SOUND),
    Metric("appliance_fanout_sound_send_errors_total", COUNTER, "Packets of sound that a viewer's full or broken socket did not take", scope=_SOUND),
    Metric("appliance_fanout_sound_packets_reported_lost_total", COUNTER, "Packets of sound that viewers report as lost", scope=_SOUND),
)
"""What each fan-out worker counts for each stream that has sound."""

_AUDIENCE = ("stage", "stream", "audience")
# The page sorts its frames' latencies into these itself, so report.ts has the same bounds (tests/unit/fanout/test_viewer_report.py compares).
VIEWER_LATENCY_BUCKETS_S = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.075, 0.1, 0.125, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0)
# Frames a second, not durations: one of them is kept as a second is, a thousand million in the cell.
FRAME_RATE_BUCKETS = (1.0, 5.0, 10.0, 12.0, 14.0, 20.0, 24.0, 28.0, 35.0, 45.0, 48.0, 55.0, 65.0)
VIEWER_MALFORMED = ("too_large", "not_json", "version", "field", "range", "too_often")
# Why a viewer is moved between levels. Down: its own estimate (REMB), loss that resends do not repair, a queue that holds packets back, a
# full socket here, pictures that come later and later. Up: its estimate has room, or nothing speaks against an attempt.
FANOUT_MOVES = ("bandwidth", "loss", "delay", "skips", "latency", "headroom", "attempt")

FANOUT_AUDIENCE = (
    Metric("appliance_fanout_moves_total", COUNTER, "Viewers moved to another level of the picture, or to its next keyframe, by reason", _reasons(*FANOUT_MOVES),
           scope=_AUDIENCE),
    Metric("appliance_viewer_latency_seconds", HISTOGRAM, "From capture to the screen, each frame, as the viewers' pages measured it", scope=_AUDIENCE,
           buckets_s=VIEWER_LATENCY_BUCKETS_S),
    Metric("appliance_viewer_visible_seconds_total", COUNTER, "Time that viewers' pages were visible; a hidden page shows nothing", scope=_AUDIENCE, scale=1e-9),
    Metric("appliance_viewer_frozen_seconds_total", COUNTER, "Time that viewers saw the picture stand still", scope=_AUDIENCE, scale=1e-9),
    Metric("appliance_viewer_freezes_total", COUNTER, "Times that a viewer saw the picture stand still", scope=_AUDIENCE),
    Metric("appliance_viewer_frames_per_second", HISTOGRAM, "Frames a second that a viewer saw, once a report", scope=_AUDIENCE, buckets_s=FRAME_RATE_BUCKETS),
    Metric("appliance_viewer_frames_total", COUNTER, "Frames that viewers saw", scope=_AUDIENCE),
    Metric("appliance_viewer_buffer_seconds", HISTOGRAM, "Mean wait of a frame in the browser's jitter buffer, once a report", scope=_AUDIENCE,
           buckets_s=NETWORK_BUCKETS_S),
    Metric("appliance_viewer_decode_seconds", HISTOGRAM, "Mean time of the browser to decode a frame, once a report", scope=_AUDIENCE,
           buckets_s=NETWORK_BUCKETS_S),
    Metric("appliance_viewer_sound_buffer_seconds", HISTOGRAM, "Mean wait of sound in the browser's jitter buffer, once a report", scope=_AUDIENCE,
           buckets_s=NETWORK_BUCKETS_S),
    Metric("appliance_viewer_packets_received_total", COUNTER, "RTP packets that viewers received", scope=_AUDIENCE),
    Metric("appliance_viewer_packets_lost_total", COUNTER, "RTP packets that viewers never received, resends included", scope=_AUDIENCE),
    Metric("appliance_viewer_metadata_joined_total", COUNTER, "Frames that viewers saw with their own metadata", scope=_AUDIENCE),
    Metric("appliance_viewer_metadata_late_total", COUNTER, "Frames whose metadata came after the next frame was on the screen", scope=_AUDIENCE),
    Metric("appliance_viewer_metadata_missing_total", COUNTER, "Frames whose metadata never came", scope=_AUDIENCE),
    Metric("appliance_viewer_reports_total", COUNTER, "Reports of viewers' pages that were used", scope=_AUDIENCE),
    Metric("appliance_viewer_reports_malformed_total", COUNTER, "Reports that break their format or its limits, or come too often", _reasons(*VIEWER_MALFORMED),
           scope=_AUDIENCE),
)
"""What each fan-out worker counts of its viewers' own words, for each stream and audience."""

FANOUT = EVERY_STAGE + (
    Metric("appliance_fanout_datagrams_malformed_total", COUNTER, "Datagrams on media ports that are not what they should be", _reasons(*FANOUT_MALFORMED), scope=("stage",)),
    Metric("appliance_fanout_port_handed_on_total", COUNTER, "Datagrams on the shared media port that were another worker's", scope=("stage",)),
    Metric("appliance_fanout_port_lost_total", COUNTER, "Datagrams lost at the shared media port: the other worker's queue, the port or a viewer's socket was full",
           _reasons(*FANOUT_PORT_LOST), scope=("stage",)),
)

GATEWAY_REFUSALS = (
    "no_token", "bad_token", "expired_token", "forbidden", "unknown_stream", "unknown_session", "unknown_page", "method", "media_type", "not_acceptable", "too_large",
    "too_slow", "malformed", "unusable_offer", "precondition", "not_live", "full", "busy", "no_worker", "no_hospital", "connections", "internal")
GATEWAY_ROUTES = ("page", "streams", "whep", "session", "hospital", "other")
STATUS_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
GATEWAY = EVERY_STAGE + (
    Metric("appliance_gateway_requests_total", COUNTER, "HTTP requests answered, by route and class of status",
           (("route", GATEWAY_ROUTES), ("status", STATUS_CLASSES)), scope=()),
    Metric("appliance_gateway_refused_total", COUNTER, "HTTP requests and connections refused, by reason", _reasons(*GATEWAY_REFUSALS), scope=()),
    Metric("appliance_gateway_joins_total", COUNTER, "Viewers' sessions opened", (("audience", ("expert", "class")),), scope=()),
    Metric("appliance_gateway_join_seconds", HISTOGRAM, "From a viewer's offer to our answer", scope=()),
    Metric("appliance_gateway_malformed_total", COUNTER, "Connections that spoke neither TLS nor HTTP", _reasons("tls", "http"), scope=()),
    Metric("appliance_gateway_connections", GAUGE, "Open HTTPS connections", scope=()),
)

HOSPITAL_PEERS = ("worklist", "pacs")
# What became of a request to the hospital's systems: an answer; none (no route, no listener, TLS); one that took too long; a refusal; nonsense.
HOSPITAL_RESULTS = ("ok", "unreachable", "timeout", "refused", "malformed")
SNAPSHOT_REFUSALS = ("no_picture", "no_patient", "mismatch", "queue_full", "busy", "disk")
PEER_BUCKETS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)
_PEER = (("peer", HOSPITAL_PEERS),)
HOSPITAL = EVERY_STAGE + (
    Metric("appliance_hospital_requests_total", COUNTER, "Requests to the hospital's systems, by what became of them",
           (*_PEER, ("result", HOSPITAL_RESULTS)), scope=()),
    Metric("appliance_hospital_request_seconds", HISTOGRAM, "Time that the hospital's systems took for a request", _PEER, scope=(), buckets_s=PEER_BUCKETS_S),
    Metric("appliance_hospital_answering", GAUGE, "1 while the system answered our last request", _PEER, scope=()),
    Metric("appliance_hospital_snapshots_waiting", GAUGE, "Pictures on disk that the PACS has not confirmed", scope=()),
    Metric("appliance_hospital_snapshots_waiting_bytes", GAUGE, "Octets of these pictures", scope=()),
    Metric("appliance_hospital_snapshots_oldest_seconds", GAUGE, "Age of the oldest of these pictures", scope=()),
    Metric("appliance_hospital_snapshots_stored_total", COUNTER, "Pictures that the PACS confirmed", scope=()),
    Metric("appliance_hospital_snapshots_rejected_total", COUNTER, "Times that the PACS answered and would not keep a picture", scope=()),
)
HOSPITAL_STREAM = (
    Metric("appliance_hospital_snapshots_total", COUNTER, "Snapshots and bookmarks taken: of the very frame asked for, or of one near it",
           (("frame", ("exact", "near")),)),
    Metric("appliance_hospital_snapshots_refused_total", COUNTER, "Snapshots not taken, by reason", _reasons(*SNAPSHOT_REFUSALS)),
    Metric("appliance_hospital_mismatch", GAUGE, "1 while the case chosen and the theatre's metadata name different patients"),
)
"""What the hospital's stage counts for each stream."""

CLOCK_SOURCES = ("ptp", "kernel", "none")
EXPORTER = EVERY_STAGE + (
    Metric("appliance_clock_source_info", GAUGE, "1 for what sets this machine's clock: PTP that is locked, something else that tells the kernel (NTP), or nothing",
           choices=(("source", CLOCK_SOURCES),), scope=()),
    Metric("appliance_clock_ptp_offset_seconds", GAUGE, "Offset from the PTP grandmaster, as ptp4l measures it", scope=(), scale=1e-9, signed=True),
    Metric("appliance_clock_tai_offset_seconds", GAUGE, "TAI minus UTC that the kernel knows, 0 where nobody told it", scope=()),
    Metric("appliance_clock_grandmaster_changes_total", COUNTER, "Times that PTP followed another grandmaster, or lost it", scope=()),
)
EXPORTER_STREAM = (
    Metric("appliance_stream_status", GAUGE, "0 inactive, 1 healthy, 2 partially healthy, 3 unhealthy, as AMWA BCP-008-01 has it",
           choices=(("domain", (*health.DOMAINS, health.OVERALL)),)),
    Metric("appliance_stream_status_transitions_total", COUNTER, "Times that a status became worse", choices=(("domain", (*health.DOMAINS, health.OVERALL)),)),
    Metric("appliance_stream_finding", GAUGE, "1 while this is not as it should be", _reasons(*health.FINDINGS)),
    Metric("appliance_stream_time_info", GAUGE, "1 for what capture times rest on: PTP, this machine's clock, or the arrival of the packets",
           choices=(("basis", health.TIME_BASES),)),
    Metric("appliance_stream_clock_trusted", GAUGE, "1 while this machine's clock is good enough to believe the sender's RTP times"),
)
"""What the exporter finds out about each stream."""
