"""Peer: Janus's streaming plugin fanning out one already encoded H.264 file. Started by the fan-out bench where Debian's `janus` is installed.

Janus makes the offer, so a viewer asks for it first: negotiate() is what takes the place of a WHEP POST.
"""
import asyncio
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

PAYLOAD_TYPE = 96
MOUNTPOINT = 1
START_LIMIT_S = 10
DATAGRAM_BYTES = 1200  # as ours: the count of packets a second must be comparable

_PLUGIN = "libjanus_streaming.so"
_GENERAL = """\
general: {{
  configs_folder = "{folder}"
  plugins_folder = "{libraries}/plugins"
  transports_folder = "{libraries}/transports"
  events_folder = "{folder}"
  loggers_folder = "{folder}"
  session_timeout = 0
  debug_level = 3
}}
plugins: {{ disable = "{other_plugins}" }}
transports: {{ disable = "{other_transports}" }}
"""
_HTTP = """\
general: {{ json = "compact", base_path = "/janus", http = true, ip = "127.0.0.1", port = {port}, https = false }}
admin: {{ admin_http = false }}
"""
_STREAMING = """\
clip: {{ type = "rtp", id = {mountpoint}, media = ({{ type = "video", mid = "v", label = "clip", port = {port}, iface = "127.0.0.1",
  pt = {payload_type}, codec = "h264", fmtp = "profile-level-id=42e01f;packetization-mode=1" }}) }}
"""


def installed():
    """Whether Janus can be started here."""
    return shutil.which("janus") is not None


class Janus:
    """A running Janus with one mountpoint that plays the clip for ever. Everything it needs lies in `folder`."""

    def __init__(self, folder, clip):
        http_port, media_port = _free_tcp_port(), _free_udp_port()
        self.url = f"http://127.0.0.1:{http_port}/janus"
        _write_configuration(folder, http_port, media_port)
        self._processes = [subprocess.Popen(["janus", "-C", folder / "janus.jcfg", "-F", folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)]
        self._processes.append(subprocess.Popen(
            ["ffmpeg", "-loglevel", "error", "-re", "-stream_loop", "-1", "-i", clip, "-c", "copy", "-payload_type", str(PAYLOAD_TYPE), "-f", "rtp",
             f"rtp://127.0.0.1:{media_port}?pkt_size={DATAGRAM_BYTES}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        self._wait()

    @property
    def pid(self):
        """The server's process; FFmpeg, which feeds it, is not counted."""
        return self._processes[0].pid

    def close(self):
        """Ends both processes."""
        for process in self._processes:
            process.kill()
            process.wait()

    def _wait(self):
        until = time.monotonic() + START_LIMIT_S
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/info", timeout=1).close()
                return
            except (urllib.error.URLError, OSError):
                if time.monotonic() > until or self._processes[0].poll() is not None:
                    self.close()
                    raise AssertionError("Janus did not start") from None
                time.sleep(0.1)


async def negotiate(http, url, answer):
    """Watches the mountpoint: `answer(offer_sdp)` is awaited for the viewer's answer, which goes back to Janus."""
    session = (await _ask(http, url, janus="create"))["data"]["id"]
    handle = (await _ask(http, f"{url}/{session}", janus="attach", plugin="janus.plugin.streaming"))["data"]["id"]
    await _ask(http, f"{url}/{session}/{handle}", janus="message", body={"request": "watch", "id": MOUNTPOINT})
    event = await _event(http, f"{url}/{session}")
    jsep = {"type": "answer", "sdp": await answer(event["jsep"]["sdp"])}
    await _ask(http, f"{url}/{session}/{handle}", janus="message", body={"request": "start"}, jsep=jsep)


async def _ask(http, url, **request):
    async with http.post(url, json={"transaction": "bench", **request}) as response:
        reply = await response.json()
    if reply["janus"] == "error":
        raise RuntimeError(f"Janus refused {request['janus']}: {reply['error']['reason']}")
    return reply


async def _event(http, url):
    """The next event that carries a session description."""
    async with asyncio.timeout(START_LIMIT_S):
        while True:
            async with http.get(url, params={"maxev": 1}) as response:
                event = await response.json()
            if "jsep" in event:
                return event


def _write_configuration(folder, http_port, media_port):
    libraries = _libraries()
    others = {kind: ",".join(sorted(path.name for path in (libraries / kind).glob("*.so") if path.name not in (_PLUGIN, "libjanus_http.so")))
              for kind in ("plugins", "transports")}
    (folder / "janus.jcfg").write_text(_GENERAL.format(folder=folder, libraries=libraries, other_plugins=others["plugins"],
                                                       other_transports=others["transports"]))
    (folder / "janus.transport.http.jcfg").write_text(_HTTP.format(port=http_port))
    (folder / "janus.plugin.streaming.jcfg").write_text(_STREAMING.format(mountpoint=MOUNTPOINT, port=media_port, payload_type=PAYLOAD_TYPE))


def _libraries():
    """Debian's folder of Janus's plugins."""
    return next(path for path in Path("/usr/lib").glob("*/janus") if (path / "plugins" / _PLUGIN).exists())


def _free_tcp_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _free_udp_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
