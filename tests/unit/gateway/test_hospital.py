"""The way to the hospital's systems: experts of the stream alone, nothing for a class, and nothing that leads elsewhere."""
import json

import pytest

from appliance.gateway.server import shown_path

BASE = "/api/streams/scope/hospital"
REQUESTS = [("GET", ""), ("GET", "/worklist"), ("GET", "/studies"), ("POST", "/snapshots"), ("PUT", "/case"), ("DELETE", "/case"), ("GET", "/anything")]
TABLES = '[pacs]\ndicomweb = "http://127.0.0.1:9/web"\n'


@pytest.mark.parametrize("stream", ["", TABLES], ids=["without a PACS", "with a PACS"])
def test_a_class_gets_the_same_refusal_whatever_there_is(in_gateway, stream):
    async def scenario(gateway):
        for method, path in REQUESTS:
            answer = await gateway.ask(method, BASE + path, gateway.token("student"), body="{}", Content_Type="application/json")
            assert (answer.status, answer.problem) == (403, "This is for experts.")
            assert (await gateway.ask(method, BASE + path)).status == 401
        [listed] = json.loads((await gateway.ask("GET", "/api/streams", gateway.token("student"))).body)["streams"]
        assert "hospital" not in listed
    in_gateway(scenario, stream=stream)


def test_an_expert_of_another_stream_gets_nothing(in_gateway):
    async def scenario(gateway):
        assert (await gateway.ask("GET", BASE, gateway.token(stream="other"))).status == 403
        assert (await gateway.ask("GET", "/api/streams/nothing/hospital", gateway.token(stream="*"))).status == 404
    in_gateway(scenario, stream=TABLES)


def test_without_worklist_and_pacs_an_expert_is_told_that_neither_is_configured(in_gateway):
    async def scenario(gateway):
        answer = await gateway.ask("GET", BASE, gateway.token())
        assert answer.status == 404 and "neither [worklist] nor [pacs]" in answer.problem
        [listed] = json.loads((await gateway.ask("GET", "/api/streams", gateway.token())).body)["streams"]
        assert "hospital" not in listed
    in_gateway(scenario)


def test_a_stage_that_is_dead_is_said_to_be_and_the_picture_goes_on(in_gateway):
    async def scenario(gateway):
        answer = await gateway.ask("GET", BASE, gateway.token())
        assert answer.status == 503 and "the picture goes on without it" in answer.problem and answer.headers["Retry-After"]
        assert gateway.count("appliance_gateway_refused_total", reason="no_hospital") == 1
        assert gateway.count("appliance_gateway_requests_total", route="hospital", status="5xx") == 1
        [listed] = json.loads((await gateway.ask("GET", "/api/streams", gateway.token())).body)["streams"]
        assert listed["hospital"] == {"worklist": False, "pacs": True}
    in_gateway(scenario, stream=TABLES)


@pytest.mark.parametrize("path", ["/../../streams", "/%2e%2e/%2e%2e/other/studies", "/.hidden", "//", "/a b", "/a%00", "/<script>", "/a?b#c/../x/.."])
def test_no_path_leads_out_of_the_stream(in_gateway, path):
    async def scenario(gateway):
        octets = (f"GET {BASE}{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.token()}\r\nConnection: close\r\n\r\n").encode()
        status = int((await gateway.raw(octets)).split(b" ", 2)[1])
        assert status in (400, 404, 503) and (status != 503 or ".." not in path.split("?")[0])
    in_gateway(scenario, stream=TABLES)


@pytest.mark.parametrize(("body", "content_type", "status"), [("{", "application/json", 400), ("[" * 10_000, "application/json", 400), ("{}", "text/plain", 415),
                                                              ("x" * 20_000, "application/json", 413), (b"\xff", "application/json", 400)])
def test_a_body_must_be_json_of_a_bearable_size(in_gateway, body, content_type, status):
    async def scenario(gateway):
        assert (await gateway.ask("POST", BASE + "/snapshots", gateway.token(), body=body, Content_Type=content_type)).status == status
    in_gateway(scenario, stream=TABLES)


def test_another_origin_may_not_ask(in_gateway):
    async def scenario(gateway):
        answer = await gateway.ask("OPTIONS", BASE, Origin="https://elsewhere.example", Access_Control_Request_Method="GET")
        assert answer.status == 405
    in_gateway(scenario, stream=TABLES, allowed_origins=("*",))


def test_whose_studies_were_looked_at_stays_out_of_the_log():
    assert shown_path(f"{BASE}/studies/1.2.840.99/series/1.2.3?size=full") == f"{BASE}/studies/..."
    assert shown_path(f"{BASE}/snapshots") == f"{BASE}/snapshots"
