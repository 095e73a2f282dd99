"""Metadata in a real Chromium: each message that the appliance counts as sent to a viewer reaches the page."""
import time

import pytest

WATCHED_S = 10
COUNT_INTERVAL_S = 1.5  # a session adds up what was sent once a second
COUNT = """(() => { window.grains = 0; const create = RTCPeerConnection.prototype.createDataChannel;
    RTCPeerConnection.prototype.createDataChannel = function (label, options) { const channel = create.call(this, label, options);
        if (label === 'metadata') channel.addEventListener('message', () => window.grains++);
        return channel; }; })()"""
AUDIENCES = {"expert": "expert", "student": "class"}


@pytest.fixture(scope="module")
def counts(theatre, browser):
    """{role: (messages sent, messages that reached the page)}, after viewers of both roles have watched and the source has ended."""
    pages = {role: browser.open(theatre.link(role), script=COUNT) for role in AUDIENCES}
    for page in pages.values():
        page.wait("window.grains > 0 && window.applianceViewer && applianceViewer.frames > 5", 30)
    time.sleep(WATCHED_S)
    theatre.stop_source()  # so that nothing is under way when both sides are asked
    yield settled(lambda: {role: (theatre.metric("appliance_fanout_metadata_messages_total", audience=AUDIENCES[role]), page.evaluate("window.grains"))
                           for role, page in pages.items()})
    for page in pages.values():
        page.close()


def settled(read):
    """The first value that is read twice."""
    last = None
    for _ in range(10):
        value = read()
        if value == last:
            return value
        last = value
        time.sleep(COUNT_INTERVAL_S)
    raise AssertionError(f"messages go on without a source: {last}")


@pytest.mark.parametrize("role", AUDIENCES)
def test_every_message_arrives(theatre, counts, role):
    sent, reached = counts[role]
    assert sent == reached > 45 * WATCHED_S
    assert theatre.metric("appliance_fanout_metadata_messages_skipped_total", audience=AUDIENCES[role]) == 0
