"""Other formats than the usual one, from source to browser: the running appliance follows each new SDP, and the tip is where its record says."""
import time

import pytest

from tests.system.theatre import Theatre, wait_until

FORMATS = {
    "720x487i59.94, 8 bit": (["--size", "720x487", "--rate", "29.97", "--interlace", "--depth", "8"], [720, 486], 59.94),  # H.264 codes even rows
    "1080i59.94": (["--size", "1920x1080", "--rate", "29.97", "--interlace"], [1920, 1080], 59.94),
    "1080p25 PsF": (["--size", "1920x1080", "--rate", "25", "--segmented"], [1920, 1080], 25),
    "RGB 12 bit, blocks": (["--size", "640x360", "--rate", "50", "--sampling", "RGB", "--depth", "12", "--packing", "bpm"], [640, 360], 50),
    "4:2:0, extended UDP size": (["--size", "640x360", "--rate", "50", "--sampling", "4:2:0", "--depth", "8", "--maxudp", "8960"], [640, 360], 50),
}
MARKER_PIXELS = 2.0
FRAMES = 20


@pytest.fixture(scope="module")
def theatre(tmp_path_factory):
    with Theatre(tmp_path_factory.mktemp("theatre"), next(iter(FORMATS.values()))[0]) as theatre:
        yield theatre


@pytest.mark.parametrize("name", FORMATS)
def test_the_picture_and_its_marker_reach_a_browser(theatre, browser, name):
    options, raster, rate = FORMATS[name]
    if name != next(iter(FORMATS)):
        before = theatre.metric("appliance_ingest_frames_total")
        theatre.stop_source()
        theatre.start_source(*options)
        wait_until(lambda: theatre.metric("appliance_ingest_frames_total") > before + FRAMES, 30, "frames of the new format")
    assert theatre.metric("appliance_ingest_mismatch") == 0
    page = browser.open(theatre.link("expert", measure=1))
    try:
        page.wait(f"window.applianceViewer && applianceViewer.beadDistances.length >= {FRAMES}", 40)
        assert page.evaluate("[applianceViewer.video.videoWidth, applianceViewer.video.videoHeight]") == raster
        distances = sorted(page.evaluate("applianceViewer.beadDistances"))
        assert distances[len(distances) // 2] <= MARKER_PIXELS, "the bead is not where the record of its picture says"
        frames, joined = page.evaluate("[applianceViewer.frames, applianceViewer.joined]")
        # Pictures that came before the data channel have none; were there a record a frame, half of the fields would have one.
        assert joined > 0.6 * frames, "a record for every picture, of fields as well"
    finally:
        page.close()
    begun, before = time.monotonic(), theatre.metric("appliance_ingest_frames_total")
    time.sleep(1)
    reached = (theatre.metric("appliance_ingest_frames_total") - before) / (time.monotonic() - begun)
    # A busy machine's source leaves pictures out; twice as many, or half of the fields, would be a fault of ours.
    assert reached <= 1.2 * rate
    assert theatre.metric("appliance_ingest_packets_lost_total") == 0
