"""Exact to the frame: which share of the pictures on an expert's screen carries its own grain, in a real Chromium and in Firefox.

A frame is joined by RTP timestamp in the page itself; the picture's own pixels are the second opinion. The source burns into each frame when it was
sent, which is after its capture instant and before the next frame's unless the machine stalls, and draws a bead at the instrument's tip.
"""
import time

from tests.bench.process import percentile
from tests.system.browser import Browser
from tests.system.firefox import Firefox
from tests.system.theatre import Theatre

WARM_UP_S = 3
TAKE_S = 5  # the page keeps the last minute
EARLY_MS = 1  # the clock's and the stamp's resolution
BEAD_PIXELS = 2.0
WINDOW = 640, 400
"""Small, for a browser without a graphics card composes large windows more slowly than pictures come, and calls the page back for none that it left out."""
FIREFOX_RATE = 25  # VP8 at twice the rate and Firefox, both without help by hardware, want more than the two cores of a small machine
TAKE = """(() => { const measure = applianceViewer.measure;
    if (!measure) return [[], []];
    const taken = [measure.identities, measure.beads].map(kept => kept.toArray());
    measure.identities.clear(); measure.beads.clear();
    return [taken[0].map(one => [one.rtpTimestamp, one.sentAfterMs]), taken[1].map(one => [one.rtpTimestamp, one.distance])]; })()"""
COUNTS = ("shown", "frames", "joined", "late", "missing", "malformed")
COUNT = f"Object.fromEntries({list(COUNTS)}.map(name => [name, applianceViewer[name]]))"


def grains(table, folder, seconds=60):
    """Each browser alone with the appliance and a source: for so long undisturbed, which gives the share, and for so long with its pixels read."""
    for name, start, rate in (("Chromium", Browser, 50), ("Firefox", Firefox, FIREFOX_RATE)):
        profile, place = folder / name, folder / f"{name}-theatre"
        profile.mkdir(), place.mkdir()
        row = f"grains, {name}, {rate}/s, {seconds:.3g} s"
        with start(profile) as browser, Theatre(place, ["--timestamp-bars", "--rate", str(rate)]) as theatre:
            counted, _, _ = _watch(browser.open(theatre.link("expert"), *WINDOW), seconds)
            _report_share(table, row, counted, theatre.metric("appliance_ingest_frames_incomplete_total"))
            _report_truth(table, row, *_watch(browser.open(theatre.link("expert", measure=1), *WINDOW), seconds), frame_ms=1000 / rate)


def _watch(page, seconds):
    """({count: gain}, {RTP timestamp: milliseconds from its grain's capture to the stamp in its picture}, {RTP timestamp: pixels from marker to bead})."""
    page.wait("window.applianceViewer && applianceViewer.joined > 25", 60)
    time.sleep(WARM_UP_S)
    before = page.evaluate(COUNT)
    page.evaluate(TAKE)
    sent, beads, until = {}, {}, time.monotonic() + seconds
    while (left_s := until - time.monotonic()) > 0:
        time.sleep(min(TAKE_S, left_s))
        taken = page.evaluate(TAKE)
        sent |= dict(taken[0])
        beads |= dict(taken[1])
    after = page.evaluate(COUNT)
    page.close()
    return {name: after[name] - before[name] for name in COUNTS}, sent, beads


def _report_share(table, row, counted, holes):
    shown = max(1, counted["shown"])
    table.add(row, "frames on screen that carry their own grain", counted["joined"] / shown * 100, "%", ">= 99.5 %",
              f"{counted['joined']} of {counted['shown']}; of those that the page was called for {counted['joined'] / max(1, counted['frames']) * 100:.2f} %")
    table.add(row, "grain or callback came after the next frame / grain never", f"{counted['late']}/{counted['missing']}", "frames", "",
              f"callbacks missed by the page {counted['shown'] - counted['frames']}, malformed {counted['malformed']}, pictures received with holes {holes:.0f}")


def _report_truth(table, row, counted, sent, beads, frame_ms):
    beside = [distance for distance in beads.values() if distance > BEAD_PIXELS]
    # Sent before it was captured: it is an earlier picture. Sent after the next one's turn: it is that one, or the source was kept from sending.
    earlier = [frame for frame, ms in sent.items() if ms < -EARLY_MS]
    stalled = [frame for frame, ms in sent.items() if ms >= frame_ms]
    other = earlier + [frame for frame in stalled if beads.get(frame, BEAD_PIXELS + 1) > BEAD_PIXELS]
    table.add(row, "with another frame's, by the stamp in the picture", len(other), "frames", "0",
              f"of {len(sent)} read, {counted['joined']} joined; {len(stalled)} sent late, their marker on the tip: {len(stalled) - len(other) + len(earlier)}")
    table.add(row, f"marker farther than {BEAD_PIXELS:.0f} px from the tip in the picture", len(beside), "frames", "0",
              f"of {len(beads)} found, p99 {percentile(beads.values(), 0.99):.2f} px, most {max(beads.values(), default=0):.2f} px")
