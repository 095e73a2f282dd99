"""A source that is interlaced, higher than the encoders may have, and whose pixels are not square, end to end: what arrives in a real Chromium, and where the marker is."""
import statistics

import pytest

from tests.system.theatre import Theatre


@pytest.fixture(scope="module")
def theatre(tmp_path_factory):
    """576i50 in 4:2:2 of 8 bits, BT.601, pixels of a 4:3 picture, shown at 360 rows."""
    options = ["--size", "720x576", "--rate", "25", "--interlace", "--depth", "8", "--colorimetry", "BT601", "--pixel-aspect", "12:11"]
    with Theatre(tmp_path_factory.mktemp("theatre"), options, encoder="[encoder]\nheight_max = 360\n") as theatre:
        yield theatre


def test_fields_are_shown_at_full_height_scaled_and_in_their_shape_and_the_marker_is_on_the_tip(theatre, browser):
    page = browser.open(theatre.link("expert", measure=1))
    page.wait("window.applianceViewer && applianceViewer.beadDistances && applianceViewer.beadDistances.length > 20", 40)
    assert page.evaluate("[document.querySelector('video').videoWidth, document.querySelector('video').videoHeight]") == [490, 360]
    # Pixels of the source's raster: each of the picture is 1.6 of it.
    apart = [1.6 * distance for distance in page.evaluate("applianceViewer.beadDistances")]
    assert statistics.median(apart) <= 2, sorted(apart)
    rate = theatre.metric("appliance_convert_frames_total"), theatre.metric("appliance_ingest_frames_total")
    assert rate[0] > 20 and rate[1] > rate[0]
    page.close()
