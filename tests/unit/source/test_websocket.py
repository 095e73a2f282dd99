"""The source's metadata over a WebSocket, received as the appliance receives it."""
import pytest

from appliance.errors import ConfigurationError
from appliance.runtime.websocket import WebSocketReceiver
from appliance.source.websocket import MetadataServer
from tests.unit.runtime.test_websocket import received, wait_until


def test_each_packet_reaches_every_client():
    server = MetadataServer("127.0.0.1", 0)
    receivers = [WebSocketReceiver(f"ws://127.0.0.1:{server.port}") for _ in range(2)]
    try:
        wait_until(lambda: len(server._clients) == 2)
        packets = [bytes([number]) * 100 for number in range(20)]
        for packet in packets:
            server.send(packet)
        assert [received(one, len(packets)) for one in receivers] == [packets, packets]
    finally:
        for one in receivers:
            one.close()
        server.close()


def test_a_port_that_is_taken_is_named():
    server = MetadataServer("127.0.0.1", 0)
    try:
        with pytest.raises(ConfigurationError, match="--metadata-websocket: expected a TCP port that is free"):
            MetadataServer("127.0.0.1", server.port)
    finally:
        server.close()
