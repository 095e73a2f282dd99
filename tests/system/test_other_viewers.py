"""A browser that shares no code with Chromium: Firefox, which has no H.264 here and so plays VP8. (GStreamer's webrtcbin: test_whep.py.)"""
import json
import time

import pytest

from tests.system.firefox import Firefox
from tests.system.test_whep import host_addresses
from tests.system.theatre import Theatre, free_ports, wait_until


@pytest.fixture(scope="module")
def firefox(tmp_path_factory):
    with Firefox(tmp_path_factory.mktemp("firefox")) as firefox:
        yield firefox


def test_firefox_shows_the_picture_with_its_records(theatre, firefox):
    page = firefox.open(theatre.link("expert"))
    page.wait("window.applianceViewer && applianceViewer.joined > 25", 40)
    before = page.evaluate("[applianceViewer.frames, applianceViewer.joined]")
    time.sleep(3)
    after = page.evaluate("[applianceViewer.frames, applianceViewer.joined]")
    frames, joined = after[0] - before[0], after[1] - before[1]
    assert frames > 15 and joined >= 0.95 * frames, (frames, joined)
    assert page.evaluate("[applianceViewer.video.videoWidth, applianceViewer.video.videoHeight]") == [1280, 720]
    assert theatre.metric("appliance_fanout_viewers", rendition="expert.vp8") + theatre.metric("appliance_fanout_viewers", rendition="expert") == 1
    page.open("about:blank")
    wait_until(lambda: theatre.metric("appliance_fanout_viewers") == 0, 15, "the viewer to be gone")


def test_firefox_plays_through_one_port_for_all_and_hears_the_theatre(firefox, tmp_path):
    [port] = free_ports(1)
    addresses = json.dumps(["127.0.0.1", *host_addresses()[:1]])  # Firefox asks no loopback address, and the one port waits to be asked
    server = f'media_ports = "{port}"\nmedia_addresses = {addresses}'
    with Theatre(tmp_path, ["--size", "640x360", "--rate", "25", "--sound"], server=server, stream='audio = "endoscope-sound.sdp"') as theatre:
        page = firefox.open(theatre.link("expert"))
        page.wait("window.applianceViewer && applianceViewer.frames > 30", 60)
        page.evaluate("document.getElementById('toggle-sound').click(), 0")
        page.wait("document.getElementById('toggle-sound').getAttribute('aria-pressed') === 'true'", 10)
        page.wait("Number(document.getElementById('toggle-sound').style.getPropertyValue('--level')) > 0", 15)
        page.open("about:blank")
        wait_until(lambda: theatre.metric("appliance_fanout_viewers") == 0, 15, "the viewer to be gone")
        assert " 404 " not in theatre.log_path.read_text(), "a page that goes away asks for what has happened already"
