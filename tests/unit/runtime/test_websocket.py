"""A flow over a WebSocket, from a real server: messages become datagrams, and a lost connection comes back."""
import select
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from websockets.sync.server import serve

from appliance.errors import ConfigurationError
from appliance.gateway.certificate import self_signed
from appliance.runtime.websocket import MESSAGE_BYTES_MAX, WebSocketReceiver

LIMIT_S = 20


@contextmanager
def server(talk, port=0, context=None):
    """A WebSocket server on loopback that runs talk(connection) for each client; gives its port."""
    with serve(talk, "127.0.0.1", port, ssl=context) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield running.socket.getsockname()[1]
        finally:
            running.shutdown()
            thread.join()


@contextmanager
def receiver(*arguments):
    made = WebSocketReceiver(*arguments)
    try:
        yield made
    finally:
        made.close()


def received(made, count):
    messages = []
    while len(messages) < count:
        ready, _, _ = select.select([made.socket], [], [], LIMIT_S)
        assert ready, f"only {len(messages)} of {count} messages came"
        messages.append(made.socket.recv(MESSAGE_BYTES_MAX))
    return messages


def speak(*messages):
    def talk(connection):
        for message in messages:
            connection.send(message)
        for _ in connection:
            pass
    return talk


def wait_until(true):
    deadline = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_binary_messages_become_datagrams_in_order():
    large = bytes(range(256)) * 200
    with server(speak(b"one", large, b"three")) as port, receiver(f"ws://127.0.0.1:{port}/metadata") as made:
        assert received(made, 3) == [b"one", large, b"three"]
        assert (made.connections, made.dropped, made.refused) == (1, 0, 0)


def test_text_is_refused_and_counted():
    with server(speak("words", b"packet")) as port, receiver(f"ws://127.0.0.1:{port}") as made:
        assert received(made, 1) == [b"packet"] and made.refused == 1


def test_a_server_that_comes_late_or_goes_away_is_found_again():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with receiver(f"ws://127.0.0.1:{port}") as made:
        for message in (b"first", b"second"):
            with server(speak(message), port) as _:
                assert received(made, 1) == [message]
        assert made.connections == 2


def test_what_nobody_reads_is_dropped_and_counted():
    def flood(connection):
        for _ in range(2_000):
            connection.send(bytes(4_000))
        connection.close()
    with server(flood) as port, receiver(f"ws://127.0.0.1:{port}") as made:
        wait_until(lambda: made.dropped > 0)


def test_a_message_that_is_too_large_ends_the_connection_and_another_one_begins():
    turns = iter([bytes(MESSAGE_BYTES_MAX + 1)])
    with server(lambda connection: speak(next(turns, b"well"))(connection)) as port, receiver(f"ws://127.0.0.1:{port}") as made:
        assert received(made, 1) == [b"well"] and made.connections == 2


def test_a_server_is_trusted_by_its_authority_only(tmp_path):
    certificate, key = tmp_path / "server.crt", tmp_path / "server.key"
    for path, octets in zip((certificate, key), self_signed(["127.0.0.1"], datetime.now(UTC))):
        path.write_bytes(octets)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with server(speak(b"secret"), context=context) as port:
        with receiver(f"wss://127.0.0.1:{port}", certificate) as made:
            assert received(made, 1) == [b"secret"]
        with receiver(f"wss://127.0.0.1:{port}") as made:
            wait_until(lambda: made.fault)
            assert "certificate" in made.fault.lower() and made.connections == 0


def test_an_authority_that_is_no_certificate_is_refused(tmp_path):
    (tmp_path / "wrong.pem").write_text("hello")
    with pytest.raises(ConfigurationError, match="a PEM file of certificates"):
        WebSocketReceiver("wss://127.0.0.1:1", tmp_path / "wrong.pem")
