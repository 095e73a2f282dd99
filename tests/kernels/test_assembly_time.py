"""Time in the assembly: how far RTP times are believed, what it measures of the sender meanwhile, and gaps in which time went on."""
import pytest

from appliance.protocol import timing
from appliance.runtime.belief import EARLY_NS_MAX, TRUSTED_WINDOW_NS
from tests.camera import FRAME_NS, SMALL, START_TAI_NS, Assembled, Camera, play

SECOND_NS = 10**9


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


def test_a_gap_while_we_did_not_run_is_an_outage_and_refuses_nothing(bench):
    """The buffer gives what came as we stopped, which is three seconds old by then, and then what comes now."""
    camera = Camera()
    play(bench, camera, 10)
    for frames in (150, 155):
        waited = [packet for _ in range(5) for packet in camera.frame()]
        bench.tai_ns += frames * FRAME_NS
        bench.monotonic_ns += frames * FRAME_NS
        bench.feed(waited)
        camera.sequence += (frames - 5) * 160
        camera.tai_ns += (frames - 5) * FRAME_NS
        play(bench, camera, 5)
    assert bench.count("outages") == 2 and bench.count("restarts") == 0 and not any(bench.assembly.statistics()["malformed"].values())
    assert bench.count("lost") == (145 + 150) * 160 and bench.frames[-1].samples == camera.sent[-1]


@pytest.mark.parametrize("change", [{"ssrc": 99}, {"sequence": 1_000_000_000}, {"tai_ns": 2 * SECOND_NS}])
def test_after_a_gap_another_sender_is_a_restart(bench, change):
    camera = Camera()
    play(bench, camera, 3)
    bench.wait(5 * SECOND_NS)
    camera.tai_ns += 5 * SECOND_NS
    for name, value in change.items():
        setattr(camera, name, value + (0 if name == "ssrc" else getattr(camera, name)))
    play(bench, camera, 10)
    assert bench.count("outages") == 0 and bench.count("restarts") == 1 and bench.frames[-1].samples == camera.sent[-1]
