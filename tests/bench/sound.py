"""Lip-sync as a person has it: how much later than the flash on the screen the beep of the same instant leaves a real Chromium for the speaker."""
import json
import time
from collections import Counter
from pathlib import Path

from appliance.source.scene import FLASH_AT
from tests.bench.process import percentile
from tests.system.browser import Browser
from tests.system.theatre import Theatre

SCRIPT = (Path(__file__).parent / "sound.js").read_text()
# A light picture: the viewer's machine is another one, and this one must not delay both.
SOURCE = ["--size", "1024x576", "--rate", "25", "--sound"]
HEAR = "sessionStorage.setItem('viewer.sound', 'on');"
SETTLE_S = 8
# Side of the square within the flash that is looked at, in pixels of the decoded picture.
REACH = 8
# A beep belongs to the flash that is nearest, and both come once a second.
PAIR_MS_MAX = 500
BAR = "within 20 ms"


def sound(table, folder, seconds=30, settle_s=SETTLE_S):
    """Beep after flash as the page presents them, at once after joining and later; what the browser's buffers hold of either."""
    for name in ("theatre", "chromium"):
        (folder / name).mkdir()
    with Browser(folder / "chromium") as browser, Theatre(folder / "theatre", SOURCE, stream='audio = "endoscope-sound.sdp"') as theatre:
        page = browser.open(theatre.link("expert"), script=HEAR)
        page.wait("window.applianceViewer && applianceViewer.frames > 0 && !document.getElementById('toggle-sound').hidden", 30)
        page.evaluate(SCRIPT + f"; watchSound({json.dumps(FLASH_AT)}, {REACH}), 0")
        time.sleep(settle_s)
        joining, settled = page.evaluate("soundNotes"), page.evaluate("soundTotals()")
        page.evaluate("soundNotes.beeps.length = soundNotes.flashes.length = 0, 0")
        time.sleep(seconds)
        notes, after = page.evaluate("soundNotes"), page.evaluate("soundTotals()")
        page.close()
        sent = Counter()  # by every worker
        for (name, labels), count in theatre.metrics().items():
            if name == "appliance_fanout_sound_latency_seconds_bucket":
                sent[float(dict(labels)["le"])] += count
    to_speaker_ms = _mean_ms(settled["playout"], after["playout"], "totalPlayoutDelay", "totalSamplesCount")
    found, first = apart_ms(notes, to_speaker_ms), apart_ms(joining, to_speaker_ms)
    for share in (50, 95):
        table.add("lip-sync", f"p{share}, beep after flash as presented", percentile(found, share / 100), "ms", BAR if share == 50 else "")
    table.add("lip-sync", "most of the first seconds", max(first, key=abs, default=float("nan")), "ms", "", f"{len(found)} pairs measured after them")
    for kind in ("audio", "video"):
        held = _mean_ms(settled[kind], after[kind], "jitterBufferDelay", "jitterBufferEmittedCount")
        wanted = _mean_ms(settled[kind], after[kind], "jitterBufferTargetDelay", "jitterBufferEmittedCount")
        table.add("lip-sync", f"jitter buffer, {kind}", held, "ms", "", f"it aims at {wanted:.0f} ms")
    table.add("lip-sync", "from there to the speaker, as the browser says", to_speaker_ms, "ms")
    concealed = after["audio"]["concealedSamples"] - settled["audio"]["concealedSamples"]
    table.add("lip-sync", "sound that the browser made up", concealed / (after["audio"]["totalSamplesReceived"] - settled["audio"]["totalSamplesReceived"]) * 100, "%")
    for share in (0.5, 0.99):
        within = min(bound for bound, count in sent.items() if count >= share * max(sent.values()))
        table.add("lip-sync", f"p{share * 100:.0f}, sound, capture to sending, within", within * 1000, "ms")


def apart_ms(notes, to_speaker_ms):
    """For each flash how much later the nearest beep leaves for the speaker."""
    beeps = [(at_us + notes["aheadUs"]) / 1000 + to_speaker_ms for at_us in notes["beeps"]]
    pairs = [min((beep - flash for beep in beeps), key=abs, default=PAIR_MS_MAX) for flash in notes["flashes"]]
    return [apart for apart in pairs if abs(apart) < PAIR_MS_MAX]


def _mean_ms(before, after, total, count):
    return (after[total] - before[total]) / max(1, after[count] - before[count]) * 1000
