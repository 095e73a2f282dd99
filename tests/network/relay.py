"""A bad network between the appliance and its viewers: drives relay.c, and puts it in the path of a real browser.

Used by the system tests and the benchmark. A page that runs `Relay.script` learns of the relay's ports alone, never of the appliance's.
"""
import json
import subprocess
import threading
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

SOURCE = Path(__file__).parent / "relay.c"
LEAVE_LIMIT_S = 5

# Every candidate of the answer is asked for its place on the relay. Chromium hides its own addresses behind mDNS names, which the
# appliance cannot resolve, so there is no other path between the two.
_SCRIPT = """(() => {
    const original = RTCPeerConnection.prototype.setRemoteDescription;
    const place = async (line) => {
        const words = line.split(' ');
        if (!line.startsWith('a=candidate:')) return line;
        const answer = await fetch(`%s?host=${words[4]}&port=${words[5]}`);
        [words[4], words[5]] = ['127.0.0.1', await answer.text()];
        return words.join(' ');
    };
    RTCPeerConnection.prototype.setRemoteDescription = async function (description) {
        const lines = await Promise.all(description.sdp.split('\\r\\n').map(place));
        return original.call(this, {type: description.type, sdp: lines.join('\\r\\n')});
    };
})()"""


@dataclass(frozen=True)
class Impairment:
    """What happens to the packets of one direction; the fields are those of relay.c. The default is a perfect line."""

    loss_percent: float = 0
    burst_packets: float = 0
    duplicate_percent: float = 0
    delay_ms: float = 0
    jitter_ms: float = 0
    jitter_packets: int = 1
    reorder: int = 0
    held_percent: float = 0
    held_ms: float = 0
    bits_per_second: float = 0
    queue_ms: float = 0


def build_relay(folder: Path) -> Path:
    """Compiles relay.c; the program's path."""
    program = folder / "relay"
    subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, SOURCE], check=True)
    return program


class Relay:
    """A running relay. Use as a context manager; the same seed and the same order of packets meet the same fate."""

    def __init__(self, program: Path, seed: int = 1):
        self._process = subprocess.Popen([program, str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, process_group=0)
        self._lock, self._ports = threading.Lock(), {}
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _door(self))
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, name="relay")
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        self._process.stdin.close()
        self._process.wait(LEAVE_LIMIT_S)
        self._process.stdout.close()

    @property
    def script(self) -> str:
        """JavaScript for a page, run before its own: moves the candidates of each answer to the relay."""
        return _SCRIPT % f"http://127.0.0.1:{self._http.server_port}/"

    def place(self, host: str, port: int) -> int:
        """The relay's port that stands for an address of the appliance."""
        with self._lock:
            if (host, port) not in self._ports:
                self._ports[host, port] = self._ask(f"map {host} {port}")["port"]
            return self._ports[host, port]

    def impair(self, down: Impairment = Impairment(), up: Impairment = Impairment()):
        """Sets both directions, from the next packet on: `down` is towards the viewers."""
        for way, impairment in (("down", down), ("up", up)):
            self._command(f"{way} " + " ".join(f"{name}={value:.6f}" for name, value in asdict(impairment).items()))

    def cut(self, is_cut: bool):
        """Pulls the cable, or puts it back: meanwhile nothing passes, and what was under way is gone."""
        self._command(f"cut {int(is_cut)}")

    def tally(self) -> dict:
        """{"flows", "flows_refused", "waiting", "down": {...}, "up": {...}}: packets, octets, delivered, lost, cut, overrun and the like."""
        return self._command("tally")

    def _command(self, line):
        with self._lock:
            return self._ask(line)

    def _ask(self, line):
        self._process.stdin.write(line + "\n")
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer


def _door(relay):
    """The HTTP door through which a page asks for a candidate's place: GET /?host=ADDRESS&port=NUMBER."""
    class Door(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = parse_qs(urlsplit(self.path).query)
            body = str(relay.place(asked["host"][0], int(asked["port"][0]))).encode()
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Door
