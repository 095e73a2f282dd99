"""WHEP against the running appliance: what every status means, and a player that shares no code with it (GStreamer's webrtcbin)."""
import http.client
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import ifaddr
import pytest

from appliance.config import load
from appliance.tokens import issue_for
from tests.system.theatre import Theatre, wait_until

PLAYER = Path(__file__).with_name("whep_player.py")
PLAY_S = 6
# As Chromium writes it, cut to what matters; nobody ever answers at its address.
OFFER = "\r\n".join((
    "v=0", "o=- 4611686018427387904 2 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0 1", "a=extmap-allow-mixed", "a=msid-semantic: WMS",
    "m=video 9 UDP/TLS/RTP/SAVPF 96 103", "c=IN IP4 0.0.0.0", "a=rtcp:9 IN IP4 0.0.0.0", "a=ice-ufrag:abcd", "a=ice-pwd:abcdefghijklmnopqrstuvwx",
    "a=ice-options:trickle", "a=fingerprint:sha-256 " + ":".join(["AB"] * 32), "a=setup:actpass", "a=mid:0",
    "a=extmap:5 http://www.webrtc.org/experiments/rtp-hdrext/playout-delay", "a=recvonly", "a=rtcp-mux", "a=rtcp-rsize",
    "a=rtpmap:96 VP8/90000", "a=rtcp-fb:96 nack", "a=rtcp-fb:96 nack pli",
    "a=rtpmap:103 H264/90000", "a=rtcp-fb:103 nack", "a=rtcp-fb:103 nack pli",
    "a=fmtp:103 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 0.0.0.0", "a=ice-ufrag:abcd", "a=ice-pwd:abcdefghijklmnopqrstuvwx",
    "a=fingerprint:sha-256 " + ":".join(["AB"] * 32), "a=setup:actpass", "a=mid:1", "a=sctp-port:5000", "a=max-message-size:262144", ""))
FRAGMENT = "\r\n".join(("a=ice-ufrag:abcd", "a=ice-pwd:abcdefghijklmnopqrstuvwx", "m=video 9 UDP/TLS/RTP/SAVPF 0", "a=mid:0",
                        "a=candidate:1 1 udp 2113937151 127.0.0.1 9 typ host", "a=end-of-candidates", ""))


def host_addresses():
    """IPv4 addresses of this machine but loopback: libnice pairs no loopback address with another."""
    return [ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips if ip.is_IPv4 and not ip.ip.startswith("127.")]


@pytest.fixture(scope="module")
def appliance(tmp_path_factory):
    """A theatre whose video can also be had by an address that is not loopback."""
    addresses = json.dumps(["127.0.0.1", *host_addresses()[:1]])
    with Theatre(tmp_path_factory.mktemp("whep"), server=f'media_addresses = {addresses}\nallowed_origins = ["https://player.example"]') as theatre:
        yield theatre


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: str


def ask(appliance, method, path, body="", token=None, **headers):
    """One request; header names are written with underscores."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", appliance.https_port, context=context, timeout=10)
    fields = {name.replace("_", "-"): value for name, value in headers.items()} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        connection.request(method, path, body or None, fields)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read().decode())
    finally:
        connection.close()


def post(appliance, token, offer=OFFER, **headers):
    return ask(appliance, "POST", f"/whep/{appliance.stream}", offer, token, **{"Content_Type": "application/sdp"} | headers)


def patch(appliance, token, session, body=FRAGMENT):
    return ask(appliance, "PATCH", session.headers["Location"], body, token, Content_Type="application/trickle-ice-sdpfrag", If_Match=session.headers["ETag"])


def delete(appliance, token, session):
    return ask(appliance, "DELETE", session.headers["Location"], token=token).status


def test_an_offer_is_answered_and_its_session_can_be_fed_and_ended(appliance):
    token = appliance.token("expert")
    session = post(appliance, token, Origin="https://player.example")
    assert session.status == 201, session.body
    assert session.headers["Content-Type"] == "application/sdp"
    assert re.fullmatch(rf"/whep/{appliance.stream}/[0-9]+\.[A-Za-z0-9_-]{{40,}}", session.headers["Location"])
    assert re.fullmatch(r'"[^"]+"', session.headers["ETag"]) and session.headers["Accept-Patch"] == "application/trickle-ice-sdpfrag"
    assert session.headers["Access-Control-Allow-Origin"] == "https://player.example"
    assert "Location" in session.headers["Access-Control-Expose-Headers"]
    for line in ("a=setup:passive", "a=sendonly", "a=candidate:", "a=end-of-candidates"):
        assert line in session.body
    assert re.search(r"m=application [1-9]", session.body)
    assert patch(appliance, token, session).status == 204
    assert delete(appliance, token, session) == 200
    assert delete(appliance, token, session) == 200, "ended is ended"
    assert patch(appliance, token, session).status == 404


def test_sessions_of_others_are_out_of_reach(appliance):
    expert, student = appliance.token("expert"), appliance.token("student")
    session = post(appliance, expert)
    assert delete(appliance, student, session) == 403
    assert ask(appliance, "DELETE", session.headers["Location"]).status == 401
    assert delete(appliance, expert, session) == 200


def test_a_session_ends_with_its_token(appliance):
    brief, lasting = issue_for(load(appliance.config_path), "expert", appliance.stream, hours=3 / 3600), appliance.token("expert")
    session = post(appliance, brief)
    assert session.status == 201 and patch(appliance, lasting, session).status == 204
    # A session that nobody connects to is given up after 10 s; this one must be gone sooner.
    wait_until(lambda: patch(appliance, lasting, session).status == 404, 7, "the end of the session")
    assert post(appliance, brief).status == 401


def test_who_may_not_see_a_stream_gets_no_session(appliance):
    assert post(appliance, None).status == 401
    assert post(appliance, "nonsense").status == 401
    path = "/whep/microscope"
    assert ask(appliance, "POST", path, OFFER, appliance.token("expert"), Content_Type="application/sdp").status == 403
    assert ask(appliance, "POST", path, OFFER, appliance.token("expert", "*"), Content_Type="application/sdp").status == 404


def test_an_offer_with_no_common_codec_is_unprocessable(appliance):
    offer = OFFER.replace("VP8", "AV1").replace("H264", "VP9")
    answer = post(appliance, appliance.token("expert"), offer)
    assert answer.status == 422 and "VP8" in json.loads(answer.body)["detail"]


def test_an_ice_restart_is_refused_with_the_reason(appliance):
    token = appliance.token("expert")
    session = post(appliance, token)
    answer = patch(appliance, token, session, FRAGMENT.replace("abcd\r\n", "wxyz\r\n", 1))
    assert answer.status == 422 and "restart" in json.loads(answer.body)["detail"]
    assert delete(appliance, token, session) == 200


def test_damaged_offers_are_refused_and_no_worker_ends(appliance):
    stages, token, lines = appliance.stages(), appliance.token("student"), OFFER.split("\r\n")[:-1]
    damaged = ["\r\n".join(lines[:number] + lines[number + 1:]) + "\r\n" for number in range(len(lines))]
    damaged += ["\r\n".join([*lines[:number], lines[number][:-3] + "\x01\u20ac ", *lines[number + 1:]]) + "\r\n" for number in range(1, len(lines))]
    damaged += [OFFER * 40, OFFER + "a=x\r\n" * 5000, "v=0\r\n" + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n" * 500, "v=0"]
    refused = 0
    for offer in damaged:
        answer = post(appliance, token, offer.encode())
        assert answer.status in (201, 400, 413, 422), (answer.status, answer.body, offer[-400:])
        if answer.status == 201:
            assert delete(appliance, token, answer) == 200
        else:
            refused += 1
            assert json.loads(answer.body)["detail"]
    assert refused > len(lines) // 3
    assert appliance.stages() == stages


def test_nonsense_on_the_port_is_counted_and_harms_nobody(appliance):
    stages, counted = appliance.stages(), appliance.metric("appliance_gateway_malformed_total")
    for octets in (bytes(range(256)) * 64, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + bytes(600)):
        with socket.create_connection(("127.0.0.1", appliance.https_port), 5) as connection:
            connection.settimeout(10)
            try:
                connection.sendall(octets)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass
            except ConnectionError:
                pass  # cut off: as good as closed
    assert appliance.metric("appliance_gateway_malformed_total", reason="tls") >= counted + 2
    assert appliance.stages() == stages


def test_a_session_outlives_the_gateway(appliance):
    token = appliance.token("expert")
    session, before = post(appliance, token), appliance.stages()["gateway"]
    assert session.status == 201
    appliance.kill("gateway")
    wait_until(lambda: appliance.stages().get("gateway", before) != before and appliance.healthy(), 15, "a new gateway")
    assert patch(appliance, token, session).status == 204
    assert delete(appliance, token, session) == 200


def test_a_session_of_a_dead_worker_is_gone(appliance):
    token = appliance.token("expert")
    session = post(appliance, token)
    worker = "fanout." + session.headers["Location"].rpartition("/")[2].partition(".")[0]
    before = appliance.stages()[worker]
    appliance.kill(worker)
    wait_until(lambda: appliance.stages().get(worker, before) != before and appliance.healthy(), 15, "a new worker")
    assert delete(appliance, token, session) == 200
    again = post(appliance, token)
    assert again.status == 201 and delete(appliance, token, again) == 200


def test_the_api_lists_the_live_stream(appliance):
    answer = ask(appliance, "GET", "/api/streams", token=appliance.token("student"))
    [stream] = json.loads(answer.body)["streams"]
    # How it is, as far as a student may know: a busy machine may well lose a frame.
    assert stream.pop("status") in ("healthy", "partially healthy", "unhealthy") and stream.pop("time") in ("ptp", "clock", "arrival")
    assert stream == {"name": appliance.stream, "title": "Endoscope", "audience": "class", "live": True, "width": 1280, "height": 720,
                      "shown_width": 1280, "shown_height": 720, "rate": 50.0}


@pytest.mark.parametrize("role", ["expert", "student"])
def test_an_independent_player_gets_pictures_and_records(appliance, role):
    if not host_addresses():
        pytest.skip("libnice needs an address besides loopback: "
                    "ip link add dummy0 type dummy && ip address add 10.255.0.1/32 dev dummy0 && ip link set dummy0 up")
    wait_until(appliance.healthy, 15, "a healthy appliance")
    command = ["/usr/bin/python3", str(PLAYER), f"{appliance.url}/whep/{appliance.stream}", appliance.token(role), str(PLAY_S)]
    player = subprocess.run(command, capture_output=True, text=True, timeout=PLAY_S + 30)
    assert player.returncode == 0, player.stderr
    got = json.loads(player.stdout)
    assert (got["posted"], got["deleted"], got["size"]) == (201, 200, [1280, 720])
    assert got["pictures"] > 50 * PLAY_S // 3 and got["messages"] > 50 * PLAY_S // 3
    assert got["static_messages"] > 0, "the class gets it too, de-identified"
    wait_until(lambda: appliance.metric("appliance_fanout_viewers") == 0, 10, "no viewer")


def test_a_stream_whose_sender_stopped_is_a_conflict_until_it_is_back(appliance):
    token = appliance.token("expert")
    appliance.source.send_signal(signal.SIGSTOP)
    try:
        answer = wait_until(lambda: (answer := post(appliance, token)).status == 409 and answer, 10, "409")
        assert int(answer.headers["Retry-After"]) >= 1 and "no picture" in json.loads(answer.body)["detail"]
        assert json.loads(ask(appliance, "GET", "/api/streams", token=token).body)["streams"][0]["live"] is False
    finally:
        appliance.source.send_signal(signal.SIGCONT)
    session = wait_until(lambda: (answer := post(appliance, token)).status == 201 and answer, 10, "201")
    assert delete(appliance, token, session) == 200


def test_the_log_holds_no_secret(appliance):
    token = appliance.token("expert")
    session = post(appliance, token)
    ask(appliance, "GET", f"/?token={token}")
    delete(appliance, token, session)
    log = appliance.log_path.read_text()
    assert session.headers["Location"] not in log and token not in log and token.rpartition(".")[2] not in log
    assert f"POST /whep/{appliance.stream} 201" in log


def test_check_and_status_see_the_running_appliance(appliance):
    wait_until(appliance.healthy, 15, "a healthy appliance")
    command = [sys.executable, "-m", "appliance"]
    status = subprocess.run([*command, "status", "--json", "--config", str(appliance.config_path)], capture_output=True, text=True, timeout=30)
    assert status.returncode == 0, status.stderr
    found = json.loads(status.stdout)
    assert found["healthy"] and found["streams"][0]["frames_per_second"] > 25 and all(stage["ready"] for stage in found["stages"])
    # Its ports are in use, but by itself: no problem. The viewer may not have been built where only this test is run.
    check = subprocess.run([*command, "check", "--config", str(appliance.config_path)], capture_output=True, text=True, timeout=30)
    assert "in use" not in check.stderr and [line for line in check.stderr.splitlines() if "viewer: expected" not in line] == []
