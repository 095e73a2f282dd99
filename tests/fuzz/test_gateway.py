"""The gateway's port: whatever a client sends, it is answered or cut off, nothing fails inside, and the next client is served."""
import asyncio
import http.client
import socket
import ssl

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.gateway.conftest import in_gateway  # noqa: F401 - a fixture

settings.register_profile("port", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
TOKENS = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=80)
LINES = st.sampled_from([b"GET / HTTP/1.1\r\n", b"POST /whep/scope HTTP/1.1\r\n", b"OPTIONS * HTTP/1.0\r\n", b"GET //a/../b HTTP/1.1\r\n",
                         b"PRI * HTTP/2.0\r\n",
                         b"Host: a\r\n", b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n",
                         b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
                         b"Content-Type: application/sdp\r\n", b"\r\n", b"5\r\nv=0\r\n\r\n", b"0\r\n\r\n", b"FFFFFFFFFFFFFFFF\r\n", b"X: \xff\x00\r\n"])


class Client:
    """A blocking client in a thread of its own."""

    def __init__(self, gateway) -> None:
        self.address = gateway.address
        self.context = ssl.create_default_context()
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE

    def send(self, octets: bytes) -> None:
        """Sends octets and waits until the other side has ended the connection."""
        with socket.create_connection(self.address) as plain, self.context.wrap_socket(plain) as secure:
            try:
                secure.sendall(octets)
                secure.unwrap()
            except OSError:
                pass  # it was cut off before the end

    def status(self, method: str, path: str, body: bytes = b"", **headers: str) -> int:
        connection = http.client.HTTPSConnection(*self.address, context=self.context)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value.encode("latin-1") for name, value in headers.items()})
            return connection.getresponse().status
        finally:
            connection.close()


def against_a_gateway(in_gateway, examples) -> None:  # noqa: F811
    """Runs `examples(client, token)` in a thread; afterwards nothing has failed and the API still answers."""
    async def scenario(gateway):
        await asyncio.to_thread(examples, Client(gateway), gateway.token())
        assert gateway.count("appliance_gateway_refused_total", reason="internal") == 0
        failed = gateway.count("appliance_gateway_requests_total", route="whep", status="5xx")
        assert failed == gateway.count("appliance_gateway_refused_total", reason="no_worker")
        assert (await gateway.ask("GET", "/api/streams", gateway.token())).status == 200
    in_gateway(scenario)


def test_any_octets_on_the_port(in_gateway):  # noqa: F811
    def examples(client, _):
        @settings(settings.get_profile("port"))
        @given(st.binary(max_size=300) | st.lists(LINES | st.binary(max_size=20), max_size=12).map(b"".join))
        def send(octets):
            client.send(octets)
        send()
    against_a_gateway(in_gateway, examples)


def test_any_body_of_an_offer(in_gateway):  # noqa: F811
    def examples(client, token):
        @settings(settings.get_profile("port"))
        @given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda octets: b"v=0\r\n" + octets))
        def post(body):
            assert client.status("POST", "/whep/scope", body, Authorization=f"Bearer {token}", Content_Type="application/sdp") in (400, 409, 503)
        post()
    against_a_gateway(in_gateway, examples)


def test_any_header_and_any_path(in_gateway):  # noqa: F811
    def examples(client, token):
        @settings(settings.get_profile("port"))
        @given(st.sampled_from(["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "PUT"]), TOKENS, VALUES, VALUES, VALUES, VALUES, st.booleans())
        def ask(method, session, accept, kind, match, authorization, known):
            access = f"Bearer {token}" if known else authorization
            status = client.status(method, f"/whep/scope/{session}", b"a", Accept=accept, Content_Type=kind, If_Match=match, Authorization=access, Origin=kind)
            assert status < 500 and (known or status in (200, 400, 401, 404, 405))
        ask()
    against_a_gateway(in_gateway, examples)
