"""The metadata flow over a WebSocket: one RTP packet a binary message to whoever is connected, as older senders' gateways offer it.

Used by sender.py in place of a UDP socket. A client that does not keep up loses packets; the sender never waits for one.
"""
import queue
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from appliance.errors import ConfigurationError

CLIENTS_MAX = 16
PACKETS_WAITING_MAX = 64
"""A second of grains: a client that is further behind loses the newest."""
_TURN_S = 0.5  # how soon a client that went away is noticed


class MetadataServer:
    """Serves ws://address:port from now until close(). ConfigurationError if the port is taken."""

    def __init__(self, address: str, port: int) -> None:
        self._clients: dict[ServerConnection, queue.Queue[bytes]] = {}
        self._stopped = threading.Event()
        try:
            self._server = serve(self._talk, address, port, compression=None)
        except OSError as error:
            raise ConfigurationError("--metadata-websocket", "a TCP port that is free", f"{address}:{port} ({error.strerror})") from error
        self.port: int = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="metadata server", daemon=True)
        self._thread.start()

    def send(self, packet: bytes) -> None:
        """Queues a packet for every client."""
        for waiting in list(self._clients.values()):
            try:
                waiting.put_nowait(packet)
            except queue.Full:
                continue  # its loss, which the packets' numbers show it

    def close(self) -> None:
        """Ends every connection."""
        self._stopped.set()
        self._server.shutdown()
        self._thread.join()

    def _talk(self, connection: ServerConnection) -> None:
        if len(self._clients) >= CLIENTS_MAX:
            connection.close(1013, "all places are taken")  # RFC 6455's registry: try again later
            return
        waiting = self._clients[connection] = queue.Queue(PACKETS_WAITING_MAX)
        try:
            while not self._stopped.is_set():
                try:
                    connection.send(waiting.get(timeout=_TURN_S))
                except queue.Empty:
                    continue
        except ConnectionClosed:
            return
        finally:
            del self._clients[connection]
