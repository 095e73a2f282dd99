"""What a real Chromium sees over bad networks: the impairment relay between it and the appliance, one scenario after the other."""
import time
from dataclasses import dataclass
from pathlib import Path

from appliance.frame import Audience, Codec, Level, Rendition
from tests.bench.process import percentile
from tests.network.relay import Impairment, Relay, build_relay
from tests.system.browser import Browser
from tests.system.theatre import Theatre

SCRIPT = (Path(__file__).parent / "network.js").read_text()
# A light picture, so that the lines are measured and not the decoder of a small machine.
SOURCE = ["--timestamp-bars", "--size", "1024x576", "--rate", "25"]
SCENARIO_S, OUTAGE_S, WARM_UP_S = 15, 3, 4
# After a bottleneck; later attempts to go up are rarer than that.
CLIMB_MAX_S, LOOK_S = 90, 0.5
# A picture that stands still for so long is a freeze (as W3C webrtc-stats has it, for 25 frames a second).
FREEZE_MS = 190
_ONLINE = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}


@dataclass(frozen=True)
class Scenario:
    """A line and its name in the table."""

    name: str
    line: Impairment
    outage: bool = False
    passes: bool = False  # the line is perfect again afterwards, and the viewer is watched until it has the full picture


SCENARIOS = (
    Scenario("perfect", Impairment()),
    Scenario("1 % loss", Impairment(loss_percent=1)),
    Scenario("5 % loss", Impairment(loss_percent=5)),
    Scenario("20 ms jitter", Impairment(delay_ms=20, jitter_ms=20, jitter_packets=8)),
    Scenario("reordering", Impairment(held_percent=2, held_ms=10)),
    Scenario("2 Mbit/s", Impairment(bits_per_second=2e6, queue_ms=200)),
    Scenario("2 Mbit/s, short queue", Impairment(bits_per_second=2e6, queue_ms=50)),
    Scenario("2 Mbit/s that pass", Impairment(bits_per_second=2e6, queue_ms=200), passes=True),
    Scenario("3 s outage", Impairment(), outage=True),
)


def network(table, folder, seconds=SCENARIO_S):
    """Freezes, frame rate, latency, size and joined metadata of each scenario; how soon the picture is back after an outage."""
    for name in ("theatre", "chromium"):
        (folder / name).mkdir()
    program = build_relay(folder)
    with Theatre(folder / "theatre", SOURCE) as theatre, Browser(folder / "chromium") as browser:
        for scenario in SCENARIOS:
            with Relay(program) as relay:
                _scenario(table, theatre, browser, relay, scenario, seconds)


def _scenario(table, theatre, browser, relay, scenario, seconds):
    page = browser.open(theatre.link("expert"), script=relay.script)
    page.wait("window.applianceViewer && applianceViewer.frames > 50", 30)
    time.sleep(WARM_UP_S)
    page.evaluate(SCRIPT)
    relay.impair(down=scenario.line)
    before, levels = _totals(page), Levels(theatre)
    returned_ms = _outage(page, relay) if scenario.outage else 0.0
    levels.watch(seconds)
    if scenario.passes:
        relay.impair()
        passed_s = levels.now_s
        levels.watch(CLIMB_MAX_S, until="full")
    end_ms, after = page.evaluate("performance.now()"), _totals(page)
    notes = page.evaluate("networkNotes")
    latencies = page.evaluate("applianceViewer.latencies")[-max(1, int(after["frames"] - before["frames"])):]
    page.close()
    _rows(table, f"network, {scenario.name}", notes, latencies, before, after, end_ms)
    table.add(f"network, {scenario.name}", "level", levels.seen[-1][1], "", "", levels.told)
    if scenario.passes:
        climbed_s = levels.now_s - passed_s if levels.seen[-1][1] == "full" else float("nan")
        table.add(f"network, {scenario.name}", "full picture after the bottleneck", climbed_s, "s", "<= 60")
    if scenario.outage:
        back = next((at for at in notes["frames"] if at > returned_ms), float("nan"))
        table.add(f"network, {scenario.name}", "picture back after the network", back - returned_ms, "ms", "<= 1000")
    down = relay.tally()["down"]
    table.add(f"network, {scenario.name}", "packets that the line lost", down["lost"] + down["overrun"] + down["cut"], "packets", "", f"of {down['packets']}")


class Levels:
    """Which level the only viewer was sent, and since when."""

    def __init__(self, theatre):
        self._theatre, self._begun_s = theatre, time.monotonic()
        self.seen = []

    @property
    def now_s(self):
        """Seconds since the beginning."""
        return time.monotonic() - self._begun_s

    @property
    def told(self):
        """What was seen, in words."""
        return ", ".join(f"{level} at {at_s:.1f} s" for at_s, level in self.seen)

    def watch(self, seconds, until=None):
        """Looks for so long, or until that level is there."""
        deadline = self.now_s + seconds
        while True:
            self._look()
            if self.now_s >= deadline or until is not None and self.seen[-1][1] == until:
                return
            time.sleep(min(LOOK_S, max(0.0, deadline - self.now_s)))

    def _look(self):
        counted = {dict(labels)["rendition"] for (name, labels), value in self._theatre.metrics().items() if name == "appliance_fanout_viewers" and value}
        found = [level.value for level in Level if Rendition(Audience.EXPERT, Codec.H264, level).name in counted]
        # During a move both levels count the viewer: the one that it leaves is still sent.
        if not self.seen or len(found) == 1 and found[0] != self.seen[-1][1]:
            self.seen.append((self.now_s, found[0] if found else "none"))


def _totals(page):
    return page.evaluate("({at: performance.now(), frames: applianceViewer.frames, joined: applianceViewer.joined, sessions: applianceViewer.sessions})")


def _outage(page, relay):
    """Cuts media and HTTP for OUTAGE_S; the page's time at which the network was back, in milliseconds."""
    page.call("Network.enable")
    page.call("Network.emulateNetworkConditions", offline=True, **_ONLINE)
    relay.cut(True)
    time.sleep(OUTAGE_S)
    returned_ms = page.evaluate("performance.now()")
    relay.cut(False)
    page.call("Network.emulateNetworkConditions", offline=False, **_ONLINE)
    return returned_ms


def _rows(table, row, notes, latencies, before, after, end_ms):
    times = [before["at"], *notes["frames"], end_ms]
    gaps = [late - early for early, late in zip(times, times[1:])]
    frozen = [gap for gap in gaps if gap > FREEZE_MS]
    shown = max(1, after["frames"] - before["frames"])
    table.add(row, "frames a second", shown / (end_ms - before["at"]) * 1000, "1/s")
    table.add(row, "freezes; frozen altogether", f"{len(frozen)}; {sum(frozen) / 1000:.1f}", "; s")
    table.add(row, "longest time without a new frame", max(gaps), "ms")
    for share in (50, 95):
        table.add(row, f"p{share} latency, capture to presented", percentile(latencies, share / 100), "ms")
    table.add(row, "frames with their metadata", (after["joined"] - before["joined"]) / shown * 100, "%")
    sizes = ", ".join(f"{size} at {max(0.0, at - before['at']) / 1000:.1f} s" for at, size in notes["sizes"])
    table.add(row, "picture", notes["sizes"][-1][1].split("x")[1] if notes["sizes"] else "none", "lines", "", sizes)
    table.add(row, "further sessions", after["sessions"] - before["sessions"], "", "0")
