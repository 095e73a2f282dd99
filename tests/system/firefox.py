"""Drives a real Firefox through WebDriver BiDi over its own WebSocket; no driver program in between."""
import asyncio
import json
import subprocess
import threading
import time
from pathlib import Path

import aiohttp

from tests.system.theatre import free_ports

PREFERENCES = """\
user_pref("media.autoplay.default", 0);
user_pref("media.peerconnection.ice.loopback", true);
user_pref("media.peerconnection.ice.obfuscate_host_addresses", false);
user_pref("media.gmp-manager.updateEnabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("toolkit.telemetry.reportingpolicy.firstRun", false);
user_pref("app.update.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "data:,");
user_pref("browser.safebrowsing.malware.enabled", false);
user_pref("browser.safebrowsing.phishing.enabled", false);
"""


class Firefox:
    """One browser process with one tab."""

    def __init__(self, profile: Path):
        (profile / "user.js").write_text(PREFERENCES)
        [port] = free_ports(1)
        with open(profile / "firefox.log", "wb") as log:
            self._process = subprocess.Popen(["firefox-esr", "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", str(port),
                                              "about:blank"], stdout=log, stderr=log, process_group=0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._number = 0
        self._socket = self._http = None
        deadline = time.monotonic() + 60
        while True:
            try:
                self._await(self._connect(f"ws://127.0.0.1:{port}/session"))
                break
            except (aiohttp.ClientError, OSError):
                assert time.monotonic() < deadline and self._process.poll() is None, "Firefox did not start: " + (profile / "firefox.log").read_text()
                time.sleep(0.3)
        self.call("session.new", capabilities={"alwaysMatch": {"acceptInsecureCerts": True}})
        self._context = self.call("browsingContext.getTree")["contexts"][0]["context"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("browser.close")
        except (AssertionError, aiohttp.ClientError, TimeoutError):
            self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._await(self._http.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _connect(self, url):
        self._http = self._http or aiohttp.ClientSession()
        self._socket = await self._http.ws_connect(url, max_msg_size=0)

    def _await(self, coroutine, seconds=60):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(seconds)

    async def _call(self, message):
        await self._socket.send_str(json.dumps(message))
        while True:
            answer = json.loads((await self._socket.receive_str()))
            if answer.get("id") == message["id"]:
                return answer

    def call(self, method, **parameters):
        """One command and its result."""
        self._number += 1
        answer = self._await(self._call({"id": self._number, "method": method, "params": parameters}))
        assert answer["type"] == "success", f"{method}: {answer}"
        return answer["result"]

    def open(self, url, width=1280, height=800):
        """Loads the address in the tab, in a window of this size."""
        self.call("browsingContext.setViewport", context=self._context, viewport={"width": width, "height": height})
        self.call("browsingContext.navigate", context=self._context, url=url, wait="complete")
        return self

    def close(self):
        """Leaves the page; the tab stays."""
        self.call("browsingContext.navigate", context=self._context, url="about:blank", wait="complete")

    def evaluate(self, expression):
        """The value of a JavaScript expression, through JSON."""
        answer = self.call("script.evaluate", expression=f"Promise.resolve({expression}).then(value => JSON.stringify(value) ?? 'null')",
                           target={"context": self._context}, awaitPromise=True)
        assert answer["type"] == "success", answer
        return json.loads(answer["result"]["value"])

    def wait(self, expression, seconds=30):
        """The first true value of an expression."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            value = self.evaluate(expression)
            if value:
                return value
            time.sleep(0.1)
        raise AssertionError(f"not within {seconds} s: {expression}; page: {self.evaluate('document.body.innerText.slice(0, 500)')}")
