"""What a viewer's page says it sees: one JSON text on the data channel "report" every few seconds. Parsed for fanout.session.

Nothing in it is trusted: it is measured before it is parsed, every number is checked, and keys that are not known are passed over, so that
a page that was loaded before an update still reports. Keeps nothing; what a report may add to a counter is fanout.seen's decision.
"""
import json
from dataclasses import dataclass

from appliance.errors import ProtocolError
from appliance.runtime.metrics import VIEWER_LATENCY_BUCKETS_S

REPORT_OCTETS_MAX = 1024
VERSION = 1
CODECS = ("h264", "vp8", "other")

# What the numbers of one report may be at most. A page that slept may speak of minutes, never of days.
SECONDS_MAX = 600.0
LATENCY_SECONDS_MAX = 5.0  # beyond it the page itself takes the clocks for wrong
DELAY_SECONDS_MAX = 60.0
COUNT_MAX = 10_000_000
PIXELS_MAX = 16_384
# The page rounds each number for itself, so a part may exceed its whole by so much.
ROUNDING_SECONDS = 0.05


@dataclass(frozen=True)
class SeenLatency:
    """From capture to the screen, over the frames of one report; seconds. `counts`: frames by VIEWER_LATENCY_BUCKETS_S, +Inf last."""

    p50_s: float
    p95_s: float
    max_s: float
    mean_s: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class ViewerReport:
    """What one viewer saw within `seconds`, of which the page was visible for `visible_s`. A hidden page shows nothing and judges nothing.

    `number`: the page's own, which the answer repeats. `latency` is None while the clocks are not known to agree; `buffer_s` and `decode_s`, means a frame, where nothing was decoded; `sound_buffer_s`,
    how long sound waits in the browser, where none came or the page does not say.
    `joined`: frames that had their metadata; `late`: it came after the frame had been replaced; `missing`: it never came.
    """

    number: int
    seconds: float
    visible_s: float
    codec: str
    width: int
    height: int
    frames: int
    freezes: int
    frozen_s: float
    packets_received: int
    packets_lost: int
    nacks: int
    buffer_s: float | None
    decode_s: float | None
    sound_buffer_s: float | None
    latency: SeenLatency | None
    joined: int
    late: int
    missing: int

    @property
    def hidden(self) -> bool:
        """Whether the page was out of sight for any of the time that counts: then it says nothing about the network."""
        return self.visible_s < self.seconds - ROUNDING_SECONDS

    @property
    def frames_per_second(self) -> float | None:
        """Frames a second while the page was visible; None if that was under a second."""
        return self.frames / self.visible_s if self.visible_s >= 1.0 else None


def parse(text: str | bytes) -> ViewerReport:
    """The report in `text`, REPORT_OCTETS_MAX octets at most. ProtocolError otherwise, its reason one of VIEWER_MALFORMED (runtime/metrics.py)."""
    # Before encoding, too: a character takes an octet at least.
    if len(text) > REPORT_OCTETS_MAX or isinstance(text, str) and len(text.encode(errors="surrogatepass")) > REPORT_OCTETS_MAX:
        raise ProtocolError("too_large", f"a report of more than {REPORT_OCTETS_MAX} octets")
    try:
        fields = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("not_json", f"a report that is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ProtocolError("field", "a report that is no object")
    if _whole(fields, "version", COUNT_MAX) != VERSION:
        raise ProtocolError("version", f"a report of version {fields['version']}; expected {VERSION}")
    report = _report(fields)
    if report.visible_s > report.seconds + ROUNDING_SECONDS or report.frozen_s > report.visible_s + ROUNDING_SECONDS:
        raise ProtocolError("range", f"frozen {report.frozen_s} s of {report.visible_s} s visible of {report.seconds} s")
    return report


def _report(fields: dict) -> ViewerReport:
    codec = fields.get("codec")
    if codec not in CODECS:
        raise ProtocolError("field", f"codec is none of {', '.join(CODECS)}")
    return ViewerReport(
        number=_whole(fields, "number", COUNT_MAX),
        seconds=_number(fields, "seconds", SECONDS_MAX),
        visible_s=_number(fields, "visible_seconds", SECONDS_MAX),
        codec=codec,
        width=_whole(fields, "width", PIXELS_MAX),
        height=_whole(fields, "height", PIXELS_MAX),
        frames=_whole(fields, "frames", COUNT_MAX),
        freezes=_whole(fields, "freezes", COUNT_MAX),
        frozen_s=_number(fields, "frozen_seconds", SECONDS_MAX),
        packets_received=_whole(fields, "packets_received", COUNT_MAX),
        packets_lost=_whole(fields, "packets_lost", COUNT_MAX),
        nacks=_whole(fields, "nacks", COUNT_MAX),
        buffer_s=_number_or_none(fields, "buffer_seconds", DELAY_SECONDS_MAX),
        decode_s=_number_or_none(fields, "decode_seconds", DELAY_SECONDS_MAX),
        sound_buffer_s=_number_or_none(fields, "sound_buffer_seconds", DELAY_SECONDS_MAX),
        latency=_latency(fields.get("latency")),
        joined=_whole(fields, "joined", COUNT_MAX),
        late=_whole(fields, "late", COUNT_MAX),
        missing=_whole(fields, "missing", COUNT_MAX))


def _latency(fields: object) -> SeenLatency | None:
    if fields is None:
        return None
    if not isinstance(fields, dict):
        raise ProtocolError("field", "latency is neither null nor an object")
    counts = fields.get("counts")
    if not isinstance(counts, list) or len(counts) != len(VIEWER_LATENCY_BUCKETS_S) + 1:
        raise ProtocolError("field", f"latency needs {len(VIEWER_LATENCY_BUCKETS_S) + 1} counts")
    for count in counts:
        _check(count, int, "counts", COUNT_MAX)
    p50, p95, most, mean = (_number(fields, name, LATENCY_SECONDS_MAX) for name in ("p50", "p95", "max", "mean"))
    if not p50 <= p95 <= most or mean > most + ROUNDING_SECONDS or not any(counts):
        raise ProtocolError("range", f"latencies that contradict each other: p50 {p50}, p95 {p95}, max {most}, mean {mean}")
    return SeenLatency(p50, p95, most, mean, tuple(counts))


def _number_or_none(fields: dict, name: str, most: float) -> float | None:
    return None if fields.get(name) is None else _number(fields, name, most)


def _number(fields: dict, name: str, most: float) -> float:
    return float(_check(fields.get(name), int | float, name, most))


def _whole(fields: dict, name: str, most: int) -> int:
    return _check(fields.get(name), int, name, most)


def _check(value: object, kind: type, name: str, most: float) -> int | float:
    # A bool is an int to Python, and no number to anybody else.
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ProtocolError("field", f"{name} is missing or no number of its kind")
    if not 0 <= value <= most:  # infinity, as 1e999 is read, exceeds every limit
        raise ProtocolError("range", f"{name} is not within 0 and {most}")
    return value


def _refuse_constant(name: str) -> None:
    """NaN and the infinities, which Python reads and JSON does not have (RFC 8259 section 6)."""
    raise ValueError(f"{name} is no JSON")
