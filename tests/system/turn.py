"""A TURN server of the tests' own: coturn on loopback, in a folder of its own, as a hospital would run one beside its firewall."""
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from tests.system.theatre import free_ports

REALM = "hospital.example"
START_LIMIT_S = 10
LEAVE_LIMIT_S = 10
# coturn refuses loopback peers, and with good reason: whoever may use it could reach every service of its machine. Here they are all there is.
CONFIGURATION = """\
listening-ip=127.0.0.1
relay-ip=127.0.0.1
listening-port={port}
realm={realm}
{credentials}
allow-loopback-peers
no-cli
no-tls
no-dtls
no-multicast-peers
pidfile={folder}/turnserver.pid
userdb={folder}/turn.sqlite
log-file={folder}/turn.log
simple-log
"""


class TurnServer:
    """coturn with one user, or with a shared secret. Use as a context manager."""

    def __init__(self, folder: Path, secret=""):
        assert shutil.which("turnserver"), "coturn is missing: apt-get install coturn"
        self.folder, self.secret = folder, secret
        [self.port] = free_ports(1)
        credentials = f"use-auth-secret\nstatic-auth-secret={secret}" if secret else "lt-cred-mech\nuser=viewer:password"
        (folder / "turn.conf").write_text(CONFIGURATION.format(port=self.port, realm=REALM, credentials=credentials, folder=folder))

    def __enter__(self):
        self._process = subprocess.Popen(["turnserver", "-c", self.folder / "turn.conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                         process_group=0, env={"PATH": os.environ["PATH"]})
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                assert time.monotonic() < deadline and self._process.poll() is None, "coturn did not start: " + self.log()
                time.sleep(0.05)

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(LEAVE_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def url(self, transport):
        """turn: URL for "udp" or "tcp" between viewer and server."""
        return f"turn:127.0.0.1:{self.port}?transport={transport}"

    def settings(self, transport):
        """The [[ice_server]] table of the appliance's configuration."""
        credentials = f'secret = "{self.secret}"' if self.secret else 'username = "viewer"\ncredential = "password"'
        return f'[[ice_server]]\nurl = "{self.url(transport)}"\n{credentials}\n'

    def log(self):
        """What coturn wrote."""
        return "".join(path.read_text() for path in self.folder.glob("turn*.log"))
