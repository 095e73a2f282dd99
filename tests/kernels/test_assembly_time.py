"""Time in the assembly: how far RTP times are believed, and what it measures of the sender meanwhile."""
import pytest

from appliance.protocol import timing
from appliance.runtime.belief import EARLY_NS_MAX, TRUSTED_WINDOW_NS
from tests.camera import FRAME_NS, SMALL, START_TAI_NS, Assembled, Camera


@pytest.fixture
def bench():
    bench = Assembled()
    yield bench
    bench.close()


@pytest.mark.parametrize("window_ns, transit_ns, timed", [
    (TRUSTED_WINDOW_NS, 1_900_000_000, 0), (TRUSTED_WINDOW_NS, -1_900_000_000, 0), (TRUSTED_WINDOW_NS, 37_000_000_000, 1),
    ((EARLY_NS_MAX, FRAME_NS), FRAME_NS - 100_000, 0), ((EARLY_NS_MAX, FRAME_NS), FRAME_NS + 100_000, 1),
    ((EARLY_NS_MAX, FRAME_NS), -EARLY_NS_MAX + 100_000, 0), ((EARLY_NS_MAX, FRAME_NS), -EARLY_NS_MAX - 100_000, 1)])
def test_an_rtp_time_outside_the_window_gives_way_to_the_arrival(bench, window_ns, transit_ns, timed):
    bench.assembly.believe(*window_ns)
    bench.tai_ns = START_TAI_NS + transit_ns
    (frame,) = bench.feed(Camera().frame())
    assert bench.count("arrival_timed") == timed and (frame.capture_tai_ns == bench.tai_ns) == bool(timed)
    assert abs(bench.assembly.transit_ns - transit_ns) < 12_000  # a tick: told whether it is believed or not


def test_the_assembly_measures_its_sender(bench):
    bench.assembly.measure(timing.schedule(SMALL, timing.NARROW))
    camera = Camera()
    packets = 0
    for _ in range(5):
        began_ns = camera.tai_ns
        frame = camera.frame()
        packets = len(frame)
        for number, packet in enumerate(frame):
            bench.tai_ns = began_ns + 700_000 + number * FRAME_NS * 24 // 25 // packets
            bench.feed([packet])
    found = bench.assembly.take_timing()
    assert found["picture_packets"] == packets and found["packets"] == 2 * packets and found["pictures"] == 4
    assert found["first_packet_ns"] == (700_000, 700_000) and found["rtp_delta_ticks"] == (1800, 1800)
    assert timing.verdict(found, timing.NARROW, SMALL) == "narrow"
    assert bench.assembly.take_timing()["packets"] == 0
