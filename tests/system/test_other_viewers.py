"""Viewers that share no code with Chromium: Firefox (which has no H.264 here and so plays VP8) and GStreamer's webrtcbin."""
import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.system.firefox import Firefox
from tests.system.theatre import wait_until


@pytest.fixture(scope="module")
def firefox(tmp_path_factory):
    with Firefox(tmp_path_factory.mktemp("firefox")) as firefox:
        yield firefox


def test_firefox_shows_the_picture_with_its_records(theatre, firefox):
    page = firefox.open(theatre.link("expert"))
    page.wait("window.applianceViewer && applianceViewer.frames > 50", 40)
    before = page.evaluate("[applianceViewer.frames, applianceViewer.joined]")
    time.sleep(5)
    after = page.evaluate("[applianceViewer.frames, applianceViewer.joined]")
    frames, joined = after[0] - before[0], after[1] - before[1]
    assert frames > 25 and joined >= 0.95 * frames, (frames, joined)
    assert page.evaluate("[applianceViewer.video.videoWidth, applianceViewer.video.videoHeight]") == [1280, 720]
    assert theatre.metric("appliance_fanout_viewers", rendition="expert.vp8") + theatre.metric("appliance_fanout_viewers", rendition="expert") == 1
    page.open("about:blank")
    wait_until(lambda: theatre.metric("appliance_fanout_viewers") == 0, 15, "the viewer to be gone")


def test_gstreamer_decodes_the_picture(theatre):
    viewer = Path(__file__).parent / "webrtcbin_viewer.py"
    result = subprocess.run(["/usr/bin/python3", str(viewer), f"{theatre.url}/whep/{theatre.stream}", theatre.token("student"), "8"],
                            capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr[-3000:]
    seen = json.loads(result.stdout.splitlines()[-1])
    assert seen["frames"] > 50 and (seen["width"], seen["height"]) == (1280, 720), seen
