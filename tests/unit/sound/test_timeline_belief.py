"""Sound believes its sender's RTP times as far as the picture does, so that both are on one time."""
import pytest

from appliance.runtime.belief import EARLY_NS_MAX, TRUSTED_WINDOW_NS
from appliance.sound.timeline import Timeline

CAPTURED_NS, RATE_HZ, PACKET_TICKS = 1_700_000_000 * 10**9, 48_000, 48
UNTRUSTED_WINDOW_NS = (EARLY_NS_MAX, 20_000_000)


@pytest.mark.parametrize("transit_ns, trusted, untrusted", [
    (2_000_000, False, False), (300_000_000, False, True), (-300_000_000, False, True), (3_000_000_000, True, True)])
def test_a_time_line_is_by_arrival_where_its_rtp_time_is_not_believed(transit_ns, trusted, untrusted):
    tick = CAPTURED_NS * RATE_HZ // 10**9 & 0xFFFF_FFFF
    for window_ns, by_arrival in ((TRUSTED_WINDOW_NS, trusted), (UNTRUSTED_WINDOW_NS, untrusted)):
        timeline = Timeline(tick, CAPTURED_NS + transit_ns, RATE_HZ, 0, PACKET_TICKS, window_ns)
        assert timeline.by_arrival == by_arrival
        assert timeline.fits(UNTRUSTED_WINDOW_NS) == (not untrusted)


@pytest.mark.parametrize("usual_ns, ends", [(2_000_000, True), (15_000_000, False), (45_000_000, False)])
def test_one_late_packet_at_the_beginning_does_not_keep_a_time_line_by_arrival(usual_ns, ends):
    """What comes within half the window later on is believed; at its edge nothing begins anew for ever."""
    first_ns = 45_000_000
    tick = CAPTURED_NS * RATE_HZ // 10**9 & 0xFFFF_FFFF
    timeline = Timeline(tick, CAPTURED_NS + first_ns, RATE_HZ, 0, PACKET_TICKS, UNTRUSTED_WINDOW_NS)
    assert timeline.by_arrival
    assert all(timeline.advance(usual_ns - first_ns) for _ in range(200)) == (not ends)
