"""The demo waits for the appliance itself, whatever the machine's proxy says, and gives up with a sentence."""
import http.server
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest

from appliance import demo
from appliance.errors import ApplianceError
from tests.system.theatre import free_ports
from tests.unit.test_status import bench, exporting, make_healthy


class Page(http.server.BaseHTTPRequestHandler):
    """What a proxy, or somebody else's server, answers."""

    def do_GET(self):
        self.send_response(503)
        self.end_headers()
        self.wfile.write(b"<html>Service unavailable</html>")

    def log_message(self, *_):
        pass


@contextmanager
def somebody_elses_server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_proxy_is_not_asked(bench, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    make_healthy(bench)
    with exporting(bench) as config, somebody_elses_server() as port:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        demo.wait_healthy(config)


def test_an_answer_that_is_not_of_the_appliance_is_no_answer(bench):
    with somebody_elses_server() as port:
        config = replace(bench.config, server=replace(bench.config.server, metrics_port=port))
        with pytest.raises(ApplianceError, match="no answer"):
            demo.wait_healthy(config, limit_s=0.3)


def test_why_it_is_not_healthy_is_told(bench):
    with exporting(bench) as config, pytest.raises(ApplianceError, match="convert.scope"):
        demo.wait_healthy(config, limit_s=0.3)


def test_a_port_that_is_taken_is_replaced():
    [port] = free_ports(1)
    assert demo.free_port(port) == port
    with somebody_elses_server() as taken:
        assert demo.free_port(taken) not in (0, taken)
