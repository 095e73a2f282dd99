"""How far RTP times are believed: as far as the exporter says that this machine's clock is right."""
import os

from appliance.runtime import metrics
from appliance.runtime.belief import EARLY_NS_MAX, TRUSTED_WINDOW_NS, Belief
from appliance.runtime.counters import Counters, Segment, series_of


def test_the_window_follows_the_exporters_word():
    segment = Segment.create(series_of("exporter", metrics.EXPORTER_STREAM, {"stream": "scope"}))
    belief = Belief(Counters(segment, "ingest.scope"), "scope", 20_000_000)
    assert belief.changed() and belief.window_ns == (EARLY_NS_MAX, 20_000_000)
    assert not belief.changed()
    segment.find("exporter", "appliance_stream_clock_trusted", stream="scope").set(1)
    assert belief.changed() and belief.window_ns == TRUSTED_WINDOW_NS
    os.close(segment.fd)
