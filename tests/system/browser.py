"""Drives a real Chromium through the DevTools protocol over a pipe; no driver program in between."""
import base64
import json
import os
import select
import subprocess
import time
from pathlib import Path

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--ignore-certificate-errors", "--autoplay-policy=no-user-gesture-required",
         "--remote-debugging-pipe", "--hide-scrollbars", "--mute-audio")


class Browser:
    """One browser process."""

    def __init__(self, profile: Path, *flags):
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()

        def place_pipes():  # Chromium speaks on descriptors 3 and 4
            source_in, source_out = os.dup(to_browser), os.dup(from_browser)
            os.dup2(source_in, 3)
            os.dup2(source_out, 4)

        with open(profile / "chromium.log", "wb") as log:
            self._process = subprocess.Popen(["chromium", *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"],
                                             close_fds=False, preexec_fn=place_pipes, stdout=log, stderr=log, process_group=0)
        os.close(to_browser)
        os.close(from_browser)
        self._number, self._buffer = 0, b""

    @property
    def pid(self):
        return self._process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close")
        except (AssertionError, BrokenPipeError):
            self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def call(self, method, session=None, seconds=30, **parameters):
        """One command and its result."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        payload = json.dumps(message).encode() + b"\0"
        while payload:
            payload = payload[os.write(self._write, payload):]
        deadline = time.monotonic() + seconds
        while True:
            answer = self._receive(deadline, method)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _receive(self, deadline, what):
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"Chromium did not answer {what} in time"
            chunk = os.read(self._read, 1 << 20)
            assert chunk, f"Chromium ended during {what}"
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(line)

    def open(self, url, width=1280, height=800, mobile=False, script=""):
        """A new tab (in front) that loads the address, after `script` has run in it."""
        return Page(self, url, width, height, mobile, script)


class Page:
    """One tab."""

    def __init__(self, browser, url, width, height, mobile, script):
        self._browser = browser
        context = browser.call("Target.createBrowserContext")["browserContextId"]
        self._target = browser.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        self._context = context
        self._session = browser.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        self.resize(width, height, mobile)
        self.call("Security.setIgnoreCertificateErrors", ignore=True)
        self.call("Page.enable")
        if script:  # it may speak with the test, which the page's own policy would not allow
            self.call("Page.setBypassCSP", enabled=True)
            self.call("Page.addScriptToEvaluateOnNewDocument", source=script)
        self.call("Page.navigate", url=url)

    def call(self, method, seconds=30, **parameters):
        return self._browser.call(method, self._session, seconds, **parameters)

    def resize(self, width, height, mobile=False):
        """Another window, or another device in the hand."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if mobile else 1, mobile=mobile)

    def evaluate(self, expression, seconds=30):
        """The value of a JavaScript expression; a promise is awaited."""
        answer = self.call("Runtime.evaluate", seconds, expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression, seconds=15):
        """The first true value of an expression."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            value = self.evaluate(expression)
            if value:
                return value
            time.sleep(0.05)
        state = self.evaluate("JSON.stringify({text: document.body.innerText.slice(0, 500), viewer: window.applianceViewer && window.applianceViewer.state})")
        raise AssertionError(f"not within {seconds} s: {expression}\npage: {state}")

    def screenshot(self, path):
        """A PNG of the page."""
        Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        """Closes the tab and forgets its cookies and storage."""
        self._browser.call("Target.closeTarget", targetId=self._target)
        self._browser.call("Target.disposeBrowserContext", browserContextId=self._context)
