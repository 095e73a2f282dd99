"""A viewer behind a firewall that lets nothing but TURN through: the page learns of the server by itself, and the picture comes."""
import pytest

from tests.system.theatre import Theatre
from tests.system.turn import TurnServer

# What a firewall does: every path but the one through the TURN server is shut.
RELAY_ONLY = """(() => {
    const Original = RTCPeerConnection;
    window.RTCPeerConnection = function (configuration) { return new Original({...configuration, iceTransportPolicy: 'relay'}); };
    window.RTCPeerConnection.prototype = Original.prototype;
})()"""
SELECTED = """applianceViewer.peer.getStats().then(stats => {
    const transport = [...stats.values()].find(one => one.type === 'transport');
    const pair = transport && stats.get(transport.selectedCandidatePairId);
    const local = pair && stats.get(pair.localCandidateId);
    return local ? {type: local.candidateType, protocol: local.relayProtocol} : null;
})"""

# What is asked here does not need a large picture.
SMALL_PICTURE = ["--size", "640x360", "--rate", "25"]

pytestmark = pytest.mark.system


@pytest.mark.parametrize("transport, secret", [("udp", ""), ("tcp", "a-secret-of-the-hospital")], ids=["udp-user", "tcp-secret"])
def test_the_picture_and_its_metadata_come_through_turn(tmp_path, browser, transport, secret):
    (tmp_path / "turn").mkdir()
    with TurnServer(tmp_path / "turn", secret) as turn, Theatre(tmp_path, SMALL_PICTURE, encoder=turn.settings(transport)) as theatre:
        page = browser.open(theatre.link("expert"), script=RELAY_ONLY)
        try:
            page.wait("window.applianceViewer && applianceViewer.frames > 50 && applianceViewer.joined > 25", 30)
            assert page.evaluate(SELECTED) == {"type": "relay", "protocol": transport}
            assert page.evaluate("applianceViewer.sessions") == 1
            assert theatre.metric("appliance_fanout_joins_failed_total") == 0
        except AssertionError as error:
            raise AssertionError(turn.log()[-4000:]) from error
        finally:
            page.close()
