"""Sound from the theatre to a player: flash and beep of one instant, who may hear, what a second implementation decodes."""
import asyncio
import json
import re
import urllib.request

import numpy as np
import pytest

from appliance.source.scene import FLASH_AT
from tests.system import listener
from tests.system.theatre import Theatre, wait_until

SOURCE = ["--size", "640x360", "--rate", "25", "--sound", "--sound-packet-us", "125"]
METADATA = ["endoscope-metadata.sdp", "endoscope-sound-metadata.sdp", "endoscope-rendition.sdp"]
APART_S_MAX = 0.020


@pytest.fixture(scope="module")
def sounding(tmp_path_factory):
    """A theatre with sound for experts."""
    with Theatre(tmp_path_factory.mktemp("sounding"), SOURCE, stream='audio = "endoscope-sound.sdp"', metadata=METADATA) as theatre:
        yield theatre


@pytest.fixture(scope="module")
def played(sounding):
    """Three seconds of what a player on aiortc got, and the answer that it got them by."""
    return asyncio.run(listener.play(f"{sounding.url}/whep/endoscope", sounding.token("expert"), 3.2))


def onsets(found):
    """Places where a sequence of truth values becomes true."""
    return [i for i in range(1, len(found)) if found[i] and not found[i - 1]]


def test_flash_and_beep_have_one_capture_time(played):
    """RTP timestamps of both flows, put on one clock by the sender reports, as a browser does for lip-sync."""
    heard, answer = played
    assert len(set(re.findall(r"cname:(\S+)", answer))) == 1, "one clock"
    shown = listener.pictures(heard["video"])
    height, width = shown[0][1].shape
    flashing = [luma[int(FLASH_AT[1] * height), int(FLASH_AT[0] * width)] > 180 for _, luma in shown]
    flashes_s = [heard["video"].instant_s(shown[i][0]) for i in onsets(flashing)]
    first, sound = listener.sides(heard["audio"])
    loud = np.convolve(np.abs(sound[:, 0]) > 0.03, np.ones(96), "same") > 0
    beeps_s = [heard["audio"].instant_s(first + i + 48) for i in onsets(loud)]
    assert len(flashes_s) >= 2 and len(beeps_s) >= 2
    apart_s = [min(beeps_s, key=lambda beep_s: abs(beep_s - flash_s)) - flash_s for flash_s in flashes_s]
    print(f"{len(apart_s)} flashes, beeps {', '.join(f'{1000 * apart:.2f}' for apart in apart_s)} ms later by capture time")
    assert max(map(abs, apart_s)) <= APART_S_MAX


def test_the_sound_is_stereo_without_a_gap(played):
    heard, answer = played
    packets = heard["audio"].in_order()
    assert "opus/48000/2" in answer and answer.count("a=msid:") == 2
    steps = [((after[0] - before[0]) % 2**16, (after[1] - before[1]) % 2**32) for before, after in zip(packets, packets[1:])]
    assert all(ticks % 480 == 0 for _, ticks in steps) and steps.count((1, 480)) > 0.9 * len(steps), "a busy machine may lose a few"
    _, sound = listener.sides(heard["audio"])
    spectrum = np.abs(np.fft.rfft(sound, axis=0))
    loudest = np.fft.rfftfreq(len(sound), 1 / 48_000)[spectrum.argmax(axis=0)]
    assert np.abs(loudest - [1000, 1500]).max() < 20, "left and right have their own tones"


def test_a_student_is_sent_no_sound_unless_the_stream_says_so(sounding):
    offer = asyncio.run(_offer())
    answers = {role: listener._post(f"{sounding.url}/whep/endoscope", sounding.token(role), offer)[1] for role in ("expert", "student")}
    assert [line for line in answers["student"].splitlines() if line.startswith("m=audio")][0].startswith("m=audio 0 ")
    assert not [line for line in answers["expert"].splitlines() if line.startswith("m=audio 0")]


async def _offer():
    peer = listener.RTCPeerConnection()
    for kind in ("audio", "video"):
        peer.addTransceiver(kind, direction="recvonly")
    await peer.setLocalDescription(await peer.createOffer())
    await peer.close()
    return peer.localDescription.sdp


def test_a_page_is_silent_until_it_is_asked_and_a_student_has_no_button(sounding, browser):
    page = browser.open(sounding.link("expert"))
    page.wait("window.applianceViewer && applianceViewer.frames > 10 && !document.getElementById('toggle-sound').hidden", 30)
    pressed = "document.getElementById('toggle-sound').getAttribute('aria-pressed')"
    assert page.evaluate(pressed) == "false"
    page.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'a', bubbles: true}))")
    page.wait(f"{pressed} === 'true' && !document.getElementById('volume').hidden", 5)
    described = "document.getElementById('companions').innerText"
    page.wait(f"{described}.includes('Rehearsal Microphone M1') && {described}.includes('Picture with sound')", 5)
    said = page.evaluate(described)
    assert "PCM, 48 kHz" in said and "Endoscope, live, this picture" in said and "Theatre, live sound" in said and "another patient" not in said
    page.close()
    student = browser.open(sounding.link("student"), 390, 844, True)
    student.wait("window.applianceViewer && applianceViewer.messages > 25 && !document.getElementById('identity').hidden", 30)
    assert student.evaluate("document.getElementById('toggle-sound').hidden") and student.evaluate(described) == ""
    student.close()


def test_what_the_flows_of_metadata_say_is_told(sounding):
    said = wait_until(lambda: status_of(sounding)["metadata"], 5, "the metadata in /status")
    assert said == {"describes": ["video", "audio", "rendition"], "flows_silent": 0, "one_patient": True}


def status_of(theatre):
    """The exporter's judgement of the stream."""
    with urllib.request.urlopen(theatre.metrics_url.replace("/metrics", "/status"), timeout=5) as answer:
        return json.load(answer)["streams"][theatre.stream]


def test_sound_that_stays_away_while_the_picture_comes_is_told_and_its_return_as_well(sounding, browser):
    assert sounding.metric("appliance_sound_lost") == 0 and sounding.metric("appliance_sound_peak_ratio") > 0
    page = browser.open(sounding.link("expert"), script="sessionStorage.setItem('viewer.sound', 'on')")
    page.wait("window.applianceViewer && applianceViewer.state === 'live' && Number(document.getElementById('toggle-sound').style.getPropertyValue('--level')) > 0", 30)
    sounding.stop_source()
    sounding.start_source(*(option for option in SOURCE if option != "--sound" and not option.startswith("--sound-packet") and option != "125"))
    said = "applianceViewer.state === 'live' && document.getElementById('reduced').checkVisibility() && document.getElementById('reduced').textContent"
    assert "The theatre's sound is interrupted" in page.wait(f"({said} || '').includes('interrupted') && {said}", 20)
    assert "interrupted" in page.evaluate("document.getElementById('toggle-sound').title")
    assert page.evaluate("document.getElementById('state-label').textContent") == "Live, no sound"
    wait_until(lambda: sounding.metric("appliance_sound_lost") == 1, 5, "the loss in the metrics")
    wait_until(lambda: sounding.metric("appliance_stream_finding", reason="sound") == 1, 5, "the loss in the stream's status")
    sounding.stop_source()
    sounding.start_source()
    assert page.wait(f"({said} || '').includes('is back') && {said}", 20)
    page.close()
