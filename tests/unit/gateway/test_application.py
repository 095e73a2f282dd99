"""The gateway over real TLS: who gets in, what WHEP answers while no worker can be reached, and what nonsense does."""
import json
import re

import pytest

from appliance.config import IceServer

OFFER = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
SDP = {"Content_Type": "application/sdp"}
FRAGMENT = {"Content_Type": "application/trickle-ice-sdpfrag"}


def test_a_session_needs_a_token_that_reaches_the_stream(in_gateway):
    async def scenario(gateway):
        answer = await gateway.ask("POST", "/whep/scope", body=OFFER, **SDP)
        assert answer.status == 401 and answer.headers["WWW-Authenticate"] == 'Bearer realm="appliance"'
        assert (await gateway.ask("POST", "/whep/scope", body=OFFER, Authorization="Basic abc", **SDP)).status == 401
        answer = await gateway.ask("POST", "/whep/scope", gateway.token() + "x", OFFER, **SDP)
        assert answer.status == 401 and 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
        answer = await gateway.ask("POST", "/whep/scope", gateway.token(now_s=1.0), OFFER, **SDP)
        assert answer.status == 401 and "expired" in answer.problem and json.loads(answer.body)["reason"] == "expired_token"
        answer = await gateway.ask("POST", "/whep/scope", gateway.token(stream="other"), OFFER, **SDP)
        assert answer.status == 403 and 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
        # Whoever may not see a stream does not learn whether it exists.
        assert (await gateway.ask("POST", "/whep/nothing", gateway.token(), OFFER, **SDP)).status == 403
        assert (await gateway.ask("POST", "/whep/nothing", gateway.token(stream="*"), OFFER, **SDP)).status == 404
        counted = {reason: gateway.count("appliance_gateway_refused_total", reason=reason)
                   for reason in ("no_token", "bad_token", "expired_token", "forbidden", "unknown_stream")}
        assert counted == {"no_token": 2, "bad_token": 1, "expired_token": 1, "forbidden": 2, "unknown_stream": 1}
        assert gateway.count("appliance_gateway_requests_total", route="whep", status="4xx") == 7
    in_gateway(scenario)


def test_an_offer_must_be_sdp_and_of_a_bearable_size(in_gateway):
    async def scenario(gateway):
        token = gateway.token()
        answer = await gateway.ask("POST", "/whep/scope", token, OFFER, Content_Type="text/plain")
        assert (answer.status, answer.headers["Accept-Post"]) == (415, "application/sdp")
        assert (await gateway.ask("POST", "/whep/scope", token, OFFER)).status == 415
        assert (await gateway.ask("POST", "/whep/scope", token, OFFER, Content_Encoding="gzip", **SDP)).status == 415
        assert (await gateway.ask("POST", "/whep/scope", token, OFFER, Accept="text/html", **SDP)).status == 406
        for body in (b"", b"nonsense", b"v=0\xff\xfe"):
            answer = await gateway.ask("POST", "/whep/scope", token, body, **SDP)
            assert answer.status == 400 and answer.problem
        assert (await gateway.ask("POST", "/whep/scope", token, OFFER + "a" * 65536, **SDP)).status == 413

        async def endless():
            for _ in range(100):
                yield b"v=0" * 1000
        assert (await gateway.ask("POST", "/whep/scope", token, endless(), **SDP)).status == 413
    in_gateway(scenario)


def test_without_a_worker_players_are_told_to_come_back(in_gateway):
    async def scenario(gateway):
        answer = await gateway.ask("POST", "/whep/scope", gateway.token(), OFFER, **SDP)
        assert answer.status == 503 and int(answer.headers["Retry-After"]) >= 1 and "worker" in answer.problem
        assert gateway.count("appliance_gateway_refused_total", reason="no_worker") == 1
        assert gateway.count("appliance_gateway_joins_total", audience="expert") == 0
    in_gateway(scenario)


def test_a_full_appliance_says_so(in_gateway):
    async def scenario(gateway):
        gateway.bench.viewers("class", worker=1).set(3)
        answer = await gateway.ask("POST", "/whep/scope", gateway.token(), OFFER, **SDP)
        assert answer.status == 503 and "All 3 places" in answer.problem and "Retry-After" in answer.headers
    in_gateway(scenario, viewers_max=3)


def test_a_stream_without_pictures_is_a_conflict(in_gateway):
    async def scenario(gateway):
        answer = await gateway.ask("POST", "/whep/scope", gateway.token(), OFFER, **SDP)
        assert answer.status == 409 and "Retry-After" in answer.headers
    in_gateway(scenario, live=False)


def test_a_session_belongs_to_its_stream_and_role_even_after_a_restart(in_gateway):
    async def scenario(gateway):
        from appliance.frame import Audience
        from appliance.gateway.access import Doorkeeper
        session = Doorkeeper(gateway.key).name_session(1, "scope", Audience.EXPERT)  # as the gateway before this one named it
        path = f"/whep/scope/{session}"
        assert (await gateway.ask("DELETE", path)).status == 401
        assert (await gateway.ask("DELETE", path, gateway.token("student"))).status == 403
        assert (await gateway.ask("DELETE", path, gateway.token(stream="other"))).status == 403
        assert (await gateway.ask("DELETE", path[:-1] + ("A" if path[-1] != "A" else "B"), gateway.token())).status == 404
        answer = await gateway.ask("GET", path, gateway.token())
        assert (answer.status, answer.body) == (204, b"")
        etag = answer.headers["ETag"]
        patches = [(await gateway.ask("PATCH", path, gateway.token(), "a=mid:0\r\n", **FRAGMENT, **match)).status
                   for match in ({}, {"If_Match": '"stale"'}, {"If_Match": f"W/{etag}"}, {"If_Match": '"*"'}, {"If_Match": "*"})]
        assert patches == [428, 412, 412, 422, 422]
        assert (await gateway.ask("PATCH", path, gateway.token(), "x", Content_Type="application/sdp", If_Match=etag)).status == 415
        # Everything is right now, but the worker is not there.
        assert (await gateway.ask("PATCH", path, gateway.token(), "a=mid:0\r\n", If_Match=f'"other", {etag}', **FRAGMENT)).status == 503
        assert (await gateway.ask("DELETE", path, gateway.token(), If_Match='"stale"')).status == 503
        beyond = Doorkeeper(gateway.key).name_session(9, "scope", Audience.EXPERT)
        assert (await gateway.ask("DELETE", f"/whep/scope/{beyond}", gateway.token())).status == 200  # it has ended: that is what was asked for
        assert (await gateway.ask("PATCH", f"/whep/scope/{beyond}", gateway.token(), "a=mid:0\r\n", If_Match="*", **FRAGMENT)).status == 422
    in_gateway(scenario)


def test_what_an_endpoint_tells_of_itself(in_gateway):
    async def scenario(gateway):
        answer = await gateway.ask("OPTIONS", "/whep/scope", Origin="https://player.example")
        assert (answer.status, answer.headers["Accept-Post"]) == (200, "application/sdp")
        assert "Link" not in answer.headers and "Access-Control-Allow-Origin" not in answer.headers
        assert "Link" not in (await gateway.ask("OPTIONS", "/whep/scope", gateway.token())).headers
        answer = await gateway.ask("HEAD", "/whep/scope", gateway.token())
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/sdp")
        assert (await gateway.ask("GET", "/whep/scope", gateway.token())).status == 204
        assert (await gateway.ask("GET", "/whep/scope")).status == 401
        answer = await gateway.ask("PUT", "/whep/scope", gateway.token())
        assert answer.status == 405 and {"POST", "OPTIONS"} <= set(answer.headers["Allow"].split(","))
        answer = await gateway.ask("OPTIONS", "/whep/scope/0.x")
        assert (answer.status, answer.headers["Accept-Patch"]) == (200, "application/trickle-ice-sdpfrag")
        assert (await gateway.ask("POST", "/whep/scope/0.x", gateway.token())).status == 405
    in_gateway(scenario)


def test_a_player_with_a_token_learns_the_ice_servers_before_its_offer(in_gateway):
    async def scenario(gateway):
        answer = await gateway.ask("OPTIONS", "/whep/scope", gateway.token("student"))
        stun, turn = answer.headers.getall("Link")
        assert (answer.status, stun) == (200, '<stun:s.example>; rel="ice-server"')
        assert re.fullmatch(r'<turn:t\.example>; rel="ice-server"; username="\d+:class"; credential="[\w+/]{27}="; credential-type="password"', turn)
        for token, path, status in (("", "/whep/scope", 200), ("x", "/whep/scope", 401), (gateway.token(stream="other"), "/whep/scope", 403)):
            refused = await gateway.ask("OPTIONS", path, token)
            assert refused.status == status and "Link" not in refused.headers
    in_gateway(scenario, ice_servers=(IceServer("stun:s.example"), IceServer("turn:t.example", secret="shared")))


@pytest.mark.parametrize("allowed, origin, expected", [
    (("*",), "https://a.example", "*"),
    (("https://a.example",), "https://a.example", "https://a.example"),
    (("https://a.example",), "https://b.example", None),
    ((), "https://a.example", None),
])
def test_pages_of_other_origins_play_where_the_configuration_says_so(in_gateway, allowed, origin, expected):
    async def scenario(gateway):
        for answer in (await gateway.ask("OPTIONS", "/whep/scope", Origin=origin), await gateway.ask("POST", "/whep/scope", body=OFFER, Origin=origin, **SDP)):
            assert answer.headers.get("Access-Control-Allow-Origin") == expected
            if expected:
                assert {"Location", "Link", "ETag", "Accept-Patch"} <= set(answer.headers["Access-Control-Expose-Headers"].split(", "))
                assert {"Authorization", "Content-Type", "If-Match"} == set(answer.headers["Access-Control-Allow-Headers"].split(", "))
        assert "Access-Control-Allow-Origin" not in (await gateway.ask("GET", "/", Origin=origin)).headers
    in_gateway(scenario, allowed_origins=allowed)


def test_the_api_lists_the_streams_of_the_token(in_gateway):
    async def scenario(gateway):
        assert (await gateway.ask("GET", "/api/streams")).status == 401
        answer = await gateway.ask("GET", "/api/streams", gateway.token("student"))
        assert answer.status == 200 and answer.headers["Cache-Control"] == "no-store"
        assert json.loads(answer.body) == {"streams": [{"name": "scope", "title": "Scope", "audience": "class", "live": True,
                                                        "width": 64, "height": 36, "shown_width": 64, "shown_height": 36, "rate": 50.0,
                                                        "status": "inactive", "time": "arrival"}]}
        assert json.loads((await gateway.ask("GET", "/api/streams", gateway.token(stream="other"))).body) == {"streams": []}
        assert json.loads((await gateway.ask("GET", "/api/streams", gateway.token(stream="*"))).body)["streams"][0]["audience"] == "expert"
    in_gateway(scenario)


def test_experts_are_told_what_is_wrong_and_students_that_something_is(in_gateway):
    async def scenario(gateway):
        def cell(name, **labels):
            return gateway.bench.resources.counters.find("exporter", f"appliance_stream_{name}", stream="scope", **labels)

        cell("status", domain="overall").set(3)
        cell("status", domain="connection").set(3)
        cell("time_info", basis="ptp").set(1)
        for reason in ("no_ptp", "lost"):
            cell("finding", reason=reason).set(1)
        student, expert = [json.loads((await gateway.ask("GET", "/api/streams", gateway.token(role))).body)["streams"][0] for role in ("student", "expert")]
        assert student["status"] == expert["status"] == "unhealthy" and student["time"] == "ptp"
        assert expert["domains"]["connection"] == "unhealthy" and expert["domains"]["link"] == "inactive"
        assert [finding["name"] for finding in expert["findings"]] == ["lost", "no_ptp"] and "Packets are lost" in expert["findings"][0]["sentence"]
        assert not {"domains", "findings"} & student.keys()
    in_gateway(scenario)


def test_every_response_is_locked_down(in_gateway):
    async def scenario(gateway):
        for path in ("/", "/nothing", "/api/streams", "/../etc/passwd", "/%2e%2e/config.py"):
            answer = await gateway.ask("GET", path)
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["Referrer-Policy"] == "no-referrer"
            assert "Strict-Transport-Security" not in answer.headers and "aiohttp" not in answer.headers["Server"]
        assert answer.status == 404 and answer.problem
    in_gateway(scenario)


def test_nonsense_on_the_port_is_counted_and_harms_nobody(in_gateway):
    async def scenario(gateway):
        assert await gateway.raw(bytes(range(256)) * 8, secure=False) is not None
        assert await gateway.raw(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", secure=False) is not None
        assert b" 400 " in await gateway.raw(b"\x00\x01\x02 nonsense\r\n\r\n")
        assert b" 400 " in await gateway.raw(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n")
        assert b" 400 " in await gateway.raw(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000 + b"\r\n\r\n")
        assert b" 400 " in await gateway.raw(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 1000 + b"\r\n")
        assert gateway.count("appliance_gateway_malformed_total", reason="tls") == 2
        assert gateway.count("appliance_gateway_malformed_total", reason="http") == 4
        assert (await gateway.ask("GET", "/api/streams", gateway.token())).status == 200
    in_gateway(scenario)


def test_a_body_that_breaks_off_is_refused_or_forgotten(in_gateway):
    async def scenario(gateway):
        head = f"POST /whep/scope HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gateway.token()}\r\nContent-Type: application/sdp\r\n"
        assert b" 400 " in await gateway.raw(head.encode() + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nv=0\r\n")
        assert await gateway.raw(head.encode() + b"Content-Length: 100\r\n\r\nv=0\r\n", hang_up=True) == b""
        assert (await gateway.ask("GET", "/api/streams", gateway.token())).status == 200
    in_gateway(scenario)
