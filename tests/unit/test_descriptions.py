"""SDPs from files and web addresses: what comes is an SDP within limits of time and size, or a sentence that says what came instead."""
import asyncio
import http.server
import os
import socket
import ssl
import threading
from contextlib import contextmanager

import pytest

from appliance import config, descriptions
from appliance.errors import ConfigurationError
from appliance.gateway.certificate import tls_context
from tests.unit.protocol.test_sdp import METADATA, VIDEO

WHERE = 'stream "scope", video'


def read(place, known=None):
    return asyncio.run(descriptions.read(str(place), WHERE, known))


def refusal(place) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(place)
    said = str(caught.value)
    assert said.startswith(WHERE)
    return said


@contextmanager
def device(answer, context=None):
    """An HTTP server whose every GET is answered by `answer(handler)`; yields its address."""
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer(self)

        def log_message(self, *_):
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    server.daemon_threads = True
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def page(status=200, content=VIDEO.encode(), **headers):
    def answer(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
    return answer


def test_a_web_address_is_read_and_then_asked_only_for_what_changed():
    asked = []

    def answer(handler):
        asked.append((handler.headers.get("If-None-Match"), handler.headers.get("If-Modified-Since"), handler.headers.get("Accept-Encoding")))
        page(304 if asked[-1][0] == '"7"' else 200, b"" if asked[-1][0] == '"7"' else VIDEO.encode(), ETag='"7"',
             Last_Modified="Fri, 27 Nov 2026 20:00:00 GMT")(handler)

    with device(answer) as url:
        first = read(url)
        assert first.text == VIDEO
        assert read(url, first.version) is None
    assert asked == [(None, None, "identity"), ('"7"', "Fri, 27 Nov 2026 20:00:00 GMT", "identity")]


def test_a_redirection_is_followed_but_never_to_less_security():
    def answer(handler):
        if handler.path == "/here":
            page()(handler)
        else:
            page(302, b"", Location={"/moved": "/here", "/round": "/round", "/file": "file:///etc/passwd", "/ftp": "ftp://x/y"}[handler.path])(handler)

    with device(answer) as url:
        assert read(url + "/moved").text == VIDEO
        assert "more than 3 redirections" in refusal(url + "/round")
        assert "file:///etc/passwd" in refusal(url + "/file")
        assert "ftp://x/y" in refusal(url + "/ftp")


WRONG = {
    "page": (page(content=b"<!DOCTYPE html><html>login</html>", Content_Type="text/html"), "a web page"),
    "page that calls itself text": (page(content=b"  \n<html>"), "a web page"),
    "not found": (page(404, b"no"), "404"),
    "login": (page(401, b"no"), "wants a login"),
    "error": (page(500, b""), "500"),
    "nothing": (page(content=b" \r\n"), "an empty answer"),
    "huge": (page(content=b"a=x\n" * 40_000), "at most 65536 octets"),
    "compressed": (page(content=b"\x1f\x8b", Content_Encoding="gzip"), "compressed"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_sdp_is_named(case):
    answer, words = WRONG[case]
    with device(answer) as url:
        assert words in refusal(url)


def test_a_slow_device_is_given_up(monkeypatch):
    monkeypatch.setattr(descriptions, "ANSWER_LIMIT_S", 0.3)
    going = threading.Event()

    def drip(handler):
        handler.send_response(200)
        handler.end_headers()
        while not going.wait(0.02):
            try:
                handler.wfile.write(b"a")
            except OSError:
                return

    with device(drip) as url:
        assert "no whole answer within 0.3 s" in refusal(url)
        going.set()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert "no whole answer within 0.3 s" in refusal(f"http://127.0.0.1:{silent.getsockname()[1]}/")


def test_tls_and_connections_that_fail_are_told_apart(tmp_path):
    server = config.parse(f'[server]\nstate_dir = "{tmp_path}"\n[[stream]]\nname = "a"\ninterface = "lo"\nvideo = "a"\n', tmp_path / "x.toml").server
    import logging
    context = tls_context(server, logging.getLogger("test"))
    assert isinstance(context, ssl.SSLContext)
    with device(page(), context) as url:
        assert "a certificate that this machine does not trust" in refusal(url)
        assert "no answer" in refusal(url.replace("https", "http"))
    with device(page()) as url:
        assert "no TLS" in refusal(url.replace("http", "https"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = f"http://name:secret@127.0.0.1:{probe.getsockname()[1]}/"
    said = refusal(closed)
    assert "no answer" in said and "secret" not in said


def test_files_are_read_within_limits(tmp_path):
    path = tmp_path / "a.sdp"
    assert "No such file" in refusal(path)
    path.write_text(VIDEO)
    first = read(path)
    assert first.text == VIDEO and read(path, first.version) is None and descriptions.file_version(path) == first.version
    path.write_text(VIDEO + "a=x\n")
    assert read(path, first.version).text.endswith("a=x\n")
    path.write_bytes(b"a" * 70_000)
    assert "at most 65536 octets" in refusal(path)
    path.write_text("<?xml?>")
    assert "XML" in refusal(path)
    os.mkfifo(tmp_path / "fifo")
    assert "not a regular file" in refusal(tmp_path / "fifo") and "directory" in refusal(tmp_path)


def stream(**places):
    return config.StreamConfig(name="scope", title="", interfaces=("lo",), video=str(places["video"]), metadata=tuple(filter(None, [places.get("metadata")])), audio=None)


def test_a_device_that_is_off_is_waited_for_but_a_file_is_a_mistake(tmp_path):
    video = tmp_path / "v.sdp"
    video.write_text(VIDEO)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        off = f"http://127.0.0.1:{probe.getsockname()[1]}/"
    waiting = descriptions.read_all([stream(video=video, metadata=off)])
    assert off in waiting.waiting["scope"] and not waiting.problems and not waiting.flows
    wrong = descriptions.read_all([stream(video=tmp_path / "missing.sdp", metadata=off)])
    assert not wrong.waiting and len(wrong.problems) == 2
    with device(page(content=METADATA.encode())) as url:
        good = descriptions.read_all([stream(video=video, metadata=url)])
        assert good.flows["scope"].metadata[0].port == 5006 and good.flows["scope"].video.port == 5004
        assert "DICOM-RTV metadata" in descriptions.read_all([stream(video=url)]).waiting["scope"]
