"""Bad networks between the appliance and a real Chromium: the picture goes on, comes back, and shrinks to what the line carries."""
import time
from contextlib import contextmanager

import pytest

from tests.network.relay import Impairment, Relay, build_relay
from tests.system.theatre import wait_until

OUTAGE_S = 3.0
# How long anything may take on a machine that does much else; what it does take is the benchmark's to say.
PATIENCE_S = 30

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return build_relay(tmp_path_factory.mktemp("relay"))


class Watching:
    """A page whose only path to the appliance leads through the relay."""

    def __init__(self, theatre, page, relay):
        self.theatre, self.page, self.relay = theatre, page, relay

    def frames(self):
        return self.page.evaluate("applianceViewer.frames")

    def sees_more(self, count):
        """Waits for so many new frames."""
        seen = self.frames()
        wait_until(lambda: self.frames() >= seen + count, PATIENCE_S, f"{count} new frames; relay: {self.relay.tally()}")

    @contextmanager
    def outage(self):
        """Neither media nor HTTP pass."""
        offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.page.call("Network.enable")
        self.page.call("Network.emulateNetworkConditions", offline=True, **offline)
        self.relay.cut(True)
        yield
        self.relay.cut(False)
        self.page.call("Network.emulateNetworkConditions", offline=False, **offline)


@pytest.fixture
def watching(theatre, browser, program):
    with Relay(program) as relay:
        page = browser.open(theatre.link("expert"), script=relay.script)
        page.wait("window.applianceViewer && applianceViewer.frames > 50", PATIENCE_S)
        yield Watching(theatre, page, relay)
        page.close()


def test_every_packet_of_the_viewer_passes_the_relay(watching):
    before = watching.relay.tally()["down"]["packets"], watching.theatre.metric("appliance_fanout_packets_total")
    watching.sees_more(50)
    sent = watching.theatre.metric("appliance_fanout_packets_total") - before[1]
    assert sent > 0
    wait_until(lambda: watching.relay.tally()["down"]["packets"] - before[0] >= sent, PATIENCE_S, "as many packets at the relay as were sent")
    assert watching.relay.tally()["flows_refused"] == 0


def test_the_picture_goes_on_with_five_percent_loss_because_nacks_are_answered(watching):
    resent = watching.theatre.metric("appliance_fanout_packets_resent_total")
    watching.relay.impair(down=Impairment(loss_percent=5))
    watching.sees_more(100)
    assert watching.relay.tally()["down"]["lost"] > 0
    assert watching.theatre.metric("appliance_fanout_nacks_total") > 0
    assert watching.theatre.metric("appliance_fanout_packets_resent_total") > resent
    assert watching.page.evaluate("applianceViewer.sessions") == 1


def test_after_an_outage_the_same_session_shows_the_picture(watching):
    joins = watching.theatre.metric("appliance_fanout_joins_total")
    with watching.outage():
        time.sleep(OUTAGE_S)
        seen = watching.frames()
        watching.page.evaluate("new Promise(done => setTimeout(done, 200))")
        assert watching.frames() == seen
    watching.sees_more(25)
    assert watching.page.evaluate("applianceViewer.sessions") == 1
    assert watching.theatre.metric("appliance_fanout_joins_total") - joins <= 1, "the page tried again and again"


def test_a_viewer_behind_a_narrow_line_gets_a_smaller_picture(watching):
    full = watching.page.evaluate("applianceViewer.video.videoWidth")
    watching.relay.impair(down=Impairment(bits_per_second=2e6, queue_ms=200))
    watching.page.wait(f"applianceViewer.video.videoWidth < {full}", PATIENCE_S)
    watching.sees_more(50)
    assert watching.page.evaluate("applianceViewer.sessions") == 1, "a second session adds to the congestion that it flees from"
