"""Debian's Chromium, without a window, driven by its DevTools protocol over two pipes.

    python -m tests.launch.chromium runs/a/report.html docs/report.png --width 1280

takes a picture of a page.
"""

from __future__ import annotations

import argparse
import base64
import fcntl
import io
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, final

from PIL import Image

TIMEOUT_S = 40.0
FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",  # it opens this project's own pages, and root has no sandbox
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-pings",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # nothing outside can be reached, whatever a page asks for
)
# Chromium reads commands from descriptor 3 and answers on 4.
_PIPES = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'


class BrowserError(Exception):
    """Chromium ended, did not answer in time or refused a command."""


@final
class Page:
    """One page, and everything it complained about or asked for since it was opened."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, path: Path, *, width_px: int, height_px: int = 800, scheme: str = "light") -> None:
        """Load a file in a window of that size; returns when all of it is loaded and painted."""
        size = {"width": width_px, "height": height_px, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._browser.events.clear()
        answer = self._call("Page.navigate", url=path.resolve().as_uri())
        if "errorText" in answer:
            raise BrowserError(f"{path}: {answer['errorText']}")
        self._browser.wait_for("Page.loadEventFired")
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression (of plain data); a promise is waited for."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def complaints(self) -> list[str]:
        """What the console shows: errors and warnings, of scripts, of the network and of the page's policy."""
        self._call("Runtime.evaluate", expression="0")  # so that what was on its way has come
        found = []
        for event in self._browser.events:
            method, params = event["method"], event["params"]
            if method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(params["entry"]["text"])
            elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                found.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
            elif method == "Runtime.exceptionThrown":
                found.append(params["exceptionDetails"]["text"])
        return found

    def requests(self) -> list[str]:
        """Addresses that the page asked for, its own and `data:` left out."""
        sent = [e["params"] for e in self._browser.events if e["method"] == "Network.requestWillBeSent"]
        own = self.evaluate("location.href")
        return [s["request"]["url"] for s in sent if s["request"]["url"] != own and s["request"]["url"][:5] != "data:"]

    def picture(self, height_px: int | None = None) -> bytes:
        """A PNG of the page from its top, as wide as the window; all of it without `height_px`."""
        size = self._call("Page.getLayoutMetrics")
        full_px = size["cssContentSize"]["height"]
        height = full_px if height_px is None else min(full_px, height_px)
        return self._capture({"x": 0, "y": 0, "width": size["cssLayoutViewport"]["clientWidth"], "height": height})

    def picture_of(self, selector: str) -> bytes:
        """A PNG of one element."""
        find_it = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        box = self.evaluate(f"(b => [b.x + scrollX, b.y + scrollY, b.width, b.height])({find_it})")
        return self._capture(dict(zip(("x", "y", "width", "height"), box, strict=True)))

    def _capture(self, clip: dict[str, float]) -> bytes:
        clip = {**clip, "scale": 1}
        shot = self._call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, session=self._session, **params)


@final
class Browser:
    """A running Chromium: commands go out with a number, answers come back with it, events come in between."""

    def __init__(self, process: subprocess.Popen[bytes], to_fd: int, from_fd: int) -> None:
        self.events: list[dict[str, Any]] = []
        self._process = process
        self._to_fd = to_fd
        self._from_fd = from_fd
        self._pending = b""
        self._number = 0

    def page(self) -> Page:
        """A new, empty page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        return Page(self, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send one command and wait for its answer. Raises BrowserError."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to_fd, data) :]
        deadline_s = time.monotonic() + TIMEOUT_S
        while True:
            answer = self._receive(deadline_s, method)
            if answer.get("id") != self._number:
                continue
            if "error" in answer:
                raise BrowserError(f"{method}: {answer['error']}")
            result: dict[str, Any] = answer["result"]
            return result

    def wait_for(self, method: str) -> None:
        """Until such an event has come. Raises BrowserError."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while not any(event["method"] == method for event in self.events):
            self._receive(deadline_s, method)

    def close(self) -> None:
        """End it."""
        with suppress(BrowserError, OSError):
            self.call("Browser.close")
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._to_fd)
        os.close(self._from_fd)

    def _receive(self, deadline_s: float, waiting_for: str) -> dict[str, Any]:
        while b"\0" not in self._pending:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([self._from_fd], [], [], left_s)[0]:
                raise BrowserError(f"chromium: no {waiting_for} within {TIMEOUT_S:.0f} s")
            data = os.read(self._from_fd, 1 << 20)
            if not data:
                raise BrowserError(f"chromium ended while it was asked for {waiting_for}")
            self._pending += data
        line, self._pending = self._pending.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message


def find() -> str | None:
    """The program; None where it is not installed."""
    return shutil.which("chromium")


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium with a new, empty profile; ended and removed afterwards. Raises BrowserError if it is not installed."""
    program = find()
    if program is None:
        raise BrowserError("there is no program chromium; install it: make system")
    with tempfile.TemporaryDirectory(prefix="kimad-chromium-", ignore_cleanup_errors=True) as profile:
        ends = [fd for pair in (os.pipe(), os.pipe()) for fd in pair]
        # Numbers that 3 and 4 do not overwrite in the child.
        read, to, from_, write = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in ends)
        for fd in ends:
            os.close(fd)
        process = subprocess.Popen(
            ["bash", "-c", _PIPES, "bash", str(read), str(write), program, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(read, write),
            env={**os.environ, "HOME": profile, "XDG_CONFIG_HOME": profile, "XDG_CACHE_HOME": profile},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(read)
        os.close(write)
        running = Browser(process, to, from_)
        try:
            yield running
        finally:
            running.close()


def main() -> None:
    """Take a picture of a page."""
    parser = argparse.ArgumentParser(description="Take a picture of an HTML page with Chromium.")
    parser.add_argument("page", type=Path, help="an HTML file")
    parser.add_argument("picture", type=Path, help="the PNG file to write")
    parser.add_argument("--width", type=int, default=1280, help="of the window, in pixels")
    parser.add_argument("--height", type=int, help="cut the picture off below, in pixels; default: the whole page")
    parser.add_argument("--dark", action="store_true", help="as people see it who prefer dark pages")
    options = parser.parse_args()
    with browser() as running:
        page = running.page()
        page.open(options.page, width_px=options.width, scheme="dark" if options.dark else "light")
        taken = Image.open(io.BytesIO(page.picture(options.height)))
    # A palette makes the file four times smaller, and is not seen in plots.
    taken.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(options.picture, optimize=True)


if __name__ == "__main__":
    main()
