"""From source to browser in the formats of a theatre, one at a time: what a Chromium on the same machine is shown. The source, the appliance and the browser share its processors."""
import time

from tests.bench.latency import made
from tests.bench.path import stage_cpu
from tests.system.browser import Browser
from tests.system.theatre import Theatre

FORMATS = {
    "720p50 10 bit": (["--size", "1280x720", "--rate", "50"], 50),
    "720p59.94 10 bit": (["--size", "1280x720", "--rate", "59.94"], 59.94),
    "1080i59.94 10 bit": (["--size", "1920x1080", "--rate", "29.97", "--interlace"], 59.94),
    "1080p59.94 10 bit": (["--size", "1920x1080", "--rate", "59.94"], 59.94),
    "1080p25 PsF 10 bit": (["--size", "1920x1080", "--rate", "25", "--segmented"], 25),
    "720x576i50 8 bit": (["--size", "720x576", "--rate", "25", "--interlace", "--depth", "8"], 50),
}
"""Name: options of the source, pictures a second."""
WARM_UP_S = 3


def formats(table, folder, seconds=10):
    """Of each format: pictures shown a second, the raster, packets lost, and the processors' time."""
    with Browser(made(folder / "chromium")) as browser:
        for number, (name, (options, rate)) in enumerate(FORMATS.items()):
            with Theatre(made(folder / f"theatre{number}"), options) as theatre:
                _format(table, theatre, browser, name, rate, seconds)


def _format(table, theatre, browser, name, rate, seconds):
    page = browser.open(theatre.link("expert"))
    try:
        page.wait("window.applianceViewer && applianceViewer.frames > 10", 60)
        time.sleep(WARM_UP_S)
        counts = {"shown in Chromium": lambda: page.evaluate("applianceViewer.frames"),
                  "received": lambda: theatre.metric("appliance_ingest_frames_total")}
        before = {what: (count(), time.monotonic()) for what, count in counts.items()}
        busy = stage_cpu(theatre, seconds)
        for what, count in counts.items():
            table.add(name, what, (count() - before[what][0]) / (time.monotonic() - before[what][1]), "pictures/s", f"{rate:g} sent")
        table.add(name, "raster in Chromium", page.evaluate("`${applianceViewer.video.videoWidth}x${applianceViewer.video.videoHeight}`"), "")
        table.add(name, "packets lost", int(theatre.metric("appliance_ingest_packets_lost_total")), "", "0")
        for stage in ("ingest", "convert", "encode"):
            table.add(name, f"CPU of {stage}", sum(share for found, share in busy.items() if found.startswith(stage)) * 100, "% of a core")
    finally:
        page.close()
