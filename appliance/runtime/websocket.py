"""A flow that arrives over a WebSocket instead of multicast: one RTP packet a binary message (as the founding proof of concept had it).

Used by the metadata stage, for which it is a datagram socket like any other. A thread connects, and connects again for ever; what its reader
has no room for is dropped and counted, never waited for. Looks into no message.
"""
import logging
import random
import socket
import ssl
import threading
import time
from pathlib import Path

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from appliance.errors import ConfigurationError

MESSAGE_BYTES_MAX = 65_536
OPEN_LIMIT_S = 5.0
PING_INTERVAL_S, PONG_LIMIT_S = 5.0, 5.0
CLOSE_LIMIT_S = 0.5
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.25, 15.0
QUEUE_BYTES = 1 << 20
"""Asked of the kernel for what was received and not yet read: seconds of grains."""
STEADY_S = 5.0
"""A connection that lasted so long was a good one: the next attempt comes at once."""

_log = logging.getLogger("websocket")


class WebSocketReceiver:
    """The binary messages of one server as datagrams of `socket`, a non-blocking one, until close()."""

    def __init__(self, url: str, authority: Path | None = None) -> None:
        """`url`: ws:// or wss://; `authority`: PEM file of the certificates that vouch for the server, None for the system's.

        Raises ConfigurationError if that file cannot be used. A server that does not answer is no error: it is tried again.
        """
        self.url = url
        self.dropped = self.refused = self.connections = 0
        """Messages for which there was no room; messages of text; connections made. Totals, written by the thread alone."""
        self._context = _context(url, authority)
        self.socket, self._inlet = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._inlet.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, QUEUE_BYTES)
        self.socket.setblocking(False)
        self._inlet.setblocking(False)
        self._stopped = threading.Event()
        self._connection: ClientConnection | None = None
        self.fault = ""
        """Why it is not connected; "" while it is."""
        self._thread = threading.Thread(target=self._run, name=f"websocket {url}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the connection and the thread."""
        self._stopped.set()
        if self._connection is not None:
            self._connection.close()
        self._thread.join(OPEN_LIMIT_S + CLOSE_LIMIT_S)
        self._inlet.close()
        self.socket.close()

    def _run(self) -> None:
        backoff_s = BACKOFF_FIRST_S
        while not self._stopped.is_set():
            begun_s = time.monotonic()
            try:
                with connect(self.url, ssl=self._context, open_timeout=OPEN_LIMIT_S, close_timeout=CLOSE_LIMIT_S, ping_interval=PING_INTERVAL_S,
                             ping_timeout=PONG_LIMIT_S, max_size=MESSAGE_BYTES_MAX, compression=None, proxy=None) as connection:
                    self._connected(connection)
                    for message in connection:
                        self._take(message)
                reason = "the server closed the connection"
            except (OSError, WebSocketException, ValueError) as error:
                reason = str(error) or type(error).__name__
            finally:
                self._connection = None
            if self._stopped.is_set():
                return
            self._complain(reason)
            backoff_s = BACKOFF_FIRST_S if time.monotonic() - begun_s > STEADY_S else min(2 * backoff_s, BACKOFF_MAX_S)
            self._stopped.wait(backoff_s * random.uniform(0.5, 1.0))  # many appliances must not come back in step

    def _connected(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.connections += 1
        self.fault = ""
        _log.info("connected to %s", self.url)
        if self._stopped.is_set():
            connection.close()

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self.refused += 1
            return
        try:
            self._inlet.send(message)
        except OSError:
            self.dropped += 1

    def _complain(self, reason: str) -> None:
        if reason != self.fault:
            _log.warning("%s: %s; trying again", self.url, reason)
        self.fault = reason


def _context(url: str, authority: Path | None) -> ssl.SSLContext | None:
    if not url.startswith("wss:"):
        return None
    try:
        return ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"the authority of {url}", "a PEM file of certificates", f"{authority}: {error}") from error
