"""The viewer as a person meets it, in a real Chromium: the link, what the page says in each state, the controls, leaving."""
import json
import os
import signal
import time

import pytest

from tests.system.theatre import wait_until

PLAYING = "window.applianceViewer && applianceViewer.frames > 25"
HEADING = "document.getElementById('curtain').hidden ? '' : document.getElementById('curtain-heading').textContent"
# Keeps the page's end of the channel that it reports on, and what it sends.
LISTENER = """(() => { const real = RTCPeerConnection.prototype.createDataChannel; window.sent = [];
    RTCPeerConnection.prototype.createDataChannel = function (label, options) { const channel = real.call(this, label, options);
        if (label === 'report') { window.reportChannel = channel; const send = channel.send.bind(channel);
            channel.send = (text) => { window.sent.push(text); send(window.forged ? window.forged : text); }; } return channel; };
    window.answer = (level) => { const number = JSON.parse(window.sent.at(-1)).number; const text = JSON.stringify({number, level, unix_ms: Date.now()});
        reportChannel.onmessage({data: new TextEncoder().encode(text).buffer}); }; })()"""
# Counts the page's own offers and errors from the first moment on.
WITNESS = """(() => { window.offers = 0; window.problems = []; const real = window.fetch;
    window.fetch = (url, options) => { if (options && options.method === 'POST') window.offers += 1; return real(url, options); };
    addEventListener('error', event => window.problems.push(String(event.message)));
    addEventListener('unhandledrejection', event => window.problems.push(String(event.reason)));
    addEventListener('securitypolicyviolation', event => window.problems.push(event.violatedDirective + ' ' + event.blockedURI)); })()"""


@pytest.fixture
def visit(browser):
    """Opens an address in a tab that is witnessed and closed in the end."""
    pages = []

    def open_page(url, width=1280, height=800, mobile=False, script=""):
        page = browser.open("about:blank", width, height, mobile)
        pages.append(page)
        page.call("Page.addScriptToEvaluateOnNewDocument", source=WITNESS + ";" + script)
        page.call("Page.navigate", url=url)
        return page

    yield open_page
    for page in pages:
        page.close()


def test_the_link_plays_within_the_content_security_policy(theatre, visit):
    page = visit(theatre.link("expert"))
    page.wait(PLAYING, 30)
    assert page.evaluate("problems") == []
    assert page.evaluate("document.getElementById('state-label').textContent") == "Live"
    assert page.evaluate("document.getElementById('title').textContent") == "Endoscope, theatre 3"


def test_the_page_says_what_the_latency_is_measured_from(theatre, visit):
    by_arrival = theatre.metric("appliance_stream_time_info", basis="arrival")  # unless this machine's clock is synchronised
    page = visit(theatre.link("student"))
    page.wait(PLAYING, 30)
    page.wait(f"document.getElementById('latency-from').textContent === {json.dumps('from arrival' if by_arrival else 'from camera clock')}", 30)
    lines = "[...document.querySelectorAll('#connection dt')].map(line => line.textContent).join()"
    page.wait(f"{lines}.includes('Codec') && {lines}.includes('Latency') === {json.dumps(bool(by_arrival))} && !{lines}.includes('Theatre')", 30)


def test_the_token_leaves_the_address_bar_and_a_reload_still_plays(theatre, visit):
    page = visit(theatre.link("expert"))
    page.wait(PLAYING, 30)
    assert "token" not in page.evaluate("location.href") and page.evaluate("location.hash") == ""
    page.call("Page.reload")
    page.wait(f"performance.getEntriesByType('navigation')[0].type === 'reload' && {PLAYING}", 30)


def test_without_a_token_the_page_asks_for_the_link_and_a_pasted_one_opens(theatre, visit):
    page = visit(theatre.url)
    page.wait("window.applianceViewer && document.body.dataset.view === 'link'")

    def paste(text):
        page.evaluate(f"document.getElementById('link-field').value = {json.dumps(text)}; document.querySelector('#link-form button').click()")

    paste("no link at all")
    assert "not a viewer link" in page.evaluate("document.getElementById('link-problem').textContent")
    paste(theatre.link("student"))
    page.wait(PLAYING, 30)
    assert page.evaluate("applianceViewer.role") == "student"


@pytest.mark.parametrize(("token", "heading"), [("invalid.invalid.invalid", "is not valid"), ("other", "does not open this stream")])
def test_a_refusal_is_final_and_said_in_words(theatre, visit, token, heading):
    if token == "other":
        token = theatre.link("expert").split("token=")[1]
        page = visit(f"{theatre.url}/?stream=another#token={token}")
    else:
        page = visit(f"{theatre.url}/?stream=endoscope#token={token}")
    page.wait("window.applianceViewer && applianceViewer.state === 'refused'")
    assert heading in page.evaluate(HEADING)
    time.sleep(1.5)
    assert page.evaluate("offers") == 1, "a refused viewer does not ask again"


def test_the_panel_names_patient_study_and_device_and_lists_every_element(theatre, visit):
    page = visit(theatre.link("expert"))
    page.wait("window.applianceViewer && document.getElementById('patient-name').textContent", 30)
    for part in ("patient", "study", "device"):
        assert page.evaluate(f"document.querySelectorAll('#{part} dd').length") >= 2, part
    page.evaluate("document.getElementById('everything').open = true")
    page.wait("document.querySelectorAll('#elements .row').length > 30")
    tags = page.evaluate("Array.from(document.querySelectorAll('#elements .tag'), tag => tag.textContent)")
    assert {"(0002,0033)", "(0006,0001)", "(0010,0010)", "(0099,1003)"} <= set(tags)


def test_live_values_follow_the_picture(theatre, visit):
    page = visit(theatre.link("expert"))
    page.wait(PLAYING, 30)
    page.wait("document.getElementById('r-frame').textContent !== '–'")
    first = page.evaluate("document.getElementById('r-frame').textContent")
    page.wait(f"document.getElementById('r-frame').textContent !== {json.dumps(first)}", 5)
    assert page.evaluate("document.getElementById('r-instrument').textContent") not in ("", "–")
    page.wait("document.getElementById('latency').textContent !== '–'", 5)


def test_a_students_page_says_what_is_withheld_and_what_is_not(theatre, visit):
    page = visit(theatre.link("student"), 390, 844, True)
    page.wait(f"{PLAYING} && !document.getElementById('identity').hidden", 30)
    text = page.evaluate("document.body.innerText")
    assert "De-identified" in text and "not sent to this browser" in text and "writing in the camera's picture itself is not removed" in text
    assert "Abdomen" in text and "Synthetic Optics" in text, "what a class can learn from"
    assert "Patient ID" not in text and "Captured at" not in text and "WITHHELD" not in text, "nothing that is empty, moved or withheld"


def test_a_patient_whose_metadata_ceased_leaves_the_page_and_returns(theatre, visit):
    page = visit(theatre.link("expert"))
    page.wait("window.applianceViewer && document.getElementById('patient-name').textContent", 30)
    name = page.evaluate("document.getElementById('patient-name').textContent")
    page.evaluate("document.getElementById('everything').open = true")
    page.wait("document.querySelectorAll('#elements .row').length > 30")
    os.kill(theatre.source.pid, signal.SIGSTOP)
    try:
        page.wait("document.body.innerText.includes('No metadata from the theatre')", 10)
        assert name not in page.evaluate("document.documentElement.textContent")
        assert page.evaluate("document.querySelectorAll('.panel #elements .row').length") == 0
        assert page.evaluate("document.getElementById('r-instrument').textContent") == "–"
    finally:
        os.kill(theatre.source.pid, signal.SIGCONT)
    page.wait(f"document.getElementById('patient-name').textContent === {json.dumps(name)}", 20)
    assert "No metadata" not in page.evaluate("document.body.innerText")


def test_controls_answer_to_keys_and_are_named_for_screen_readers(theatre, visit):
    page = visit(theatre.link("expert"))
    page.wait("window.applianceViewer && applianceViewer.joined > 25", 30)
    unnamed = "Array.from(document.querySelectorAll('.controls button')).filter(b => !b.getAttribute('aria-label') || (b.id.startsWith('toggle-') && !b.hasAttribute('aria-pressed'))).length"
    assert page.evaluate(unnamed) == 0

    def press(key):
        page.evaluate(f"document.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}', bubbles: true}}))")

    marker = "getComputedStyle(document.getElementById('marker')).visibility"
    page.wait(f"{marker} === 'visible'")
    press("m")
    time.sleep(0.3)
    assert page.evaluate(marker) == "hidden"
    press("m")
    page.wait(f"{marker} === 'visible'")
    width = page.evaluate("document.getElementById('stage').clientWidth")
    press("i")
    page.wait(f"document.getElementById('stage').clientWidth > {width}")


def test_a_silent_theatre_is_named_the_last_picture_stays_and_nobody_storms(theatre, visit):
    page = visit(theatre.link("expert"))
    page.wait(PLAYING, 30)
    os.kill(theatre.source.pid, signal.SIGSTOP)
    page.wait("applianceViewer.state === 'away'", 20)
    assert "No picture from the theatre" in page.evaluate(HEADING)
    assert page.evaluate("applianceViewer.video.readyState >= 2 && applianceViewer.video.videoWidth") == 1280, "the last picture stays"
    offers = page.evaluate("offers")
    time.sleep(4)
    assert page.evaluate("offers") - offers <= 2
    seen = page.evaluate("applianceViewer.frames")
    os.kill(theatre.source.pid, signal.SIGCONT)
    page.wait(f"applianceViewer.frames > {seen + 25} && applianceViewer.state === 'live'", 30)
    assert page.evaluate(HEADING) == ""


def test_leaving_the_page_frees_its_place_at_once(theatre, visit):
    page = visit(theatre.link("expert"))
    page.wait(PLAYING, 30)
    wait_until(lambda: theatre.metric("appliance_fanout_viewers") >= 1, 5, "the viewer in the metrics")
    page.call("Page.navigate", url="about:blank")
    wait_until(lambda: theatre.metric("appliance_fanout_viewers") == 0, 5, "the viewer to be gone long before its consent runs out")


def seen(theatre, name, **labels):
    return theatre.metric(f"appliance_viewer_{name}", **labels)


def test_the_appliance_counts_what_a_page_says_it_sees(theatre, visit):
    before = {name: seen(theatre, name, audience="expert") for name in ("reports_total", "frames_total", "visible_seconds_total", "latency_seconds_count", "metadata_joined_total")}
    page = visit(theatre.link("expert"), script=LISTENER)
    page.wait(PLAYING, 30)
    wait_until(lambda: all(seen(theatre, name, audience="expert") > value for name, value in before.items()), 15, "every figure of the viewer's")
    page.wait("applianceViewer.replies >= 1")
    assert page.evaluate("applianceViewer.clockAheadMs") == 0, "page and appliance run on one machine"
    assert page.evaluate("sent.every(text => text.length <= 1024 && !text.includes('127.0.0.1') && !text.includes('Mozilla'))")
    assert seen(theatre, "reports_malformed_total") == 0


def test_a_page_out_of_sight_is_not_counted_as_frozen(theatre, visit):
    page = visit(theatre.link("expert"), script=LISTENER)
    page.wait(f"{PLAYING} && sent.length >= 1", 30)
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true}); document.dispatchEvent(new Event('visibilitychange'))")
    page.wait(f"sent.length >= {page.evaluate('sent.length')} + 2", 20)
    last = json.loads(page.evaluate("sent.at(-1)"))
    assert last["visible_seconds"] == last["frozen_seconds"] == last["freezes"] == 0 and last["seconds"] > 1


def test_a_report_that_lies_is_counted_and_costs_the_viewer_nothing(theatre, visit):
    page = visit(theatre.link("student"), script=LISTENER + "; window.forged = '{\"version\":' + '['.repeat(900)")
    page.wait(f"{PLAYING} && sent.length >= 2", 30)
    wait_until(lambda: seen(theatre, "reports_malformed_total", reason="not_json", audience="class") >= 2, 10, "the malformed reports")
    frames = page.evaluate("applianceViewer.frames")
    page.wait(f"applianceViewer.frames > {frames} && applianceViewer.sessions === 1")


def test_a_channel_with_another_name_is_closed(theatre, visit):
    page = visit(theatre.link("expert"))
    page.wait(PLAYING, 30)
    closed = "new Promise(done => { const channel = applianceViewer.peer.createDataChannel('chat'); channel.onclose = () => done(true); })"
    assert page.evaluate(closed, 10)


def test_a_reduced_picture_is_named_calmly_and_so_is_its_return(theatre, visit):
    # What the appliance refuses it does not answer, so that the test's answer is the only one; then the appliance's own is back.
    page = visit(theatre.link("student"), 390, 844, True, LISTENER + "; window.forged = 'no report'")
    page.wait(f"{PLAYING} && sent.length >= 1", 30)
    note = "document.getElementById('reduced').hidden ? '' : document.getElementById('reduced').textContent"
    page.evaluate("answer('small'); window.forged = ''")
    assert "Reduced picture: your network carries" in page.wait(note, 5)
    assert page.evaluate("document.getElementById('state-label').textContent") == "Live, reduced"
    page.wait(f"({note}).startsWith('Full picture again')", 20)
    assert page.evaluate("document.getElementById('state-label').textContent") == "Live"


def test_whoever_waits_for_a_place_is_told_when_it_tries_again_and_it_does(theatre, visit):
    full = """(() => { let full = true; const real = window.fetch; window.fetch = (url, options) => {
        if (full && options && options.method === 'POST') { full = false; return Promise.resolve(new Response('', {status: 503, headers: {'Retry-After': '4'}})); }
        return real(url, options); }; })()"""
    page = visit(theatre.link("student"), 390, 844, True, full)
    page.wait("document.getElementById('curtain-next')?.textContent.startsWith('This page tries again in')", 10)
    assert "Waiting for a place" in page.evaluate(HEADING) and page.evaluate("offers") == 0
    page.wait(PLAYING, 30)
    assert page.evaluate("document.getElementById('curtain-next').hidden")


def test_a_forged_token_makes_nobody_an_expert(theatre, visit):
    head, claims, signature = theatre.link("expert").split("token=")[1].split(".")
    page = visit(f"{theatre.url}/?stream=endoscope#token={head}.{claims}.{signature[::-1]}", 390, 844, True)
    page.wait("window.applianceViewer && applianceViewer.state === 'refused'")
    assert page.evaluate("document.getElementById('role').hidden")
    title = "(element => element.scrollWidth <= element.clientWidth && element.clientWidth > 60)(document.getElementById('title'))"
    page.wait(title, 5)  # it has room beside the state
