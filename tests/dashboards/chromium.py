"""Headless Chromium, driven over a pipe by its own protocol: no port is opened, and no driver is needed."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

PAINT_SECONDS = 0.6
ON_3_AND_4 = """import os, sys
reads, writes = os.dup(int(sys.argv[1])), os.dup(int(sys.argv[2]))
os.dup2(reads, 3)
os.dup2(writes, 4)
os.set_inheritable(3, True)
os.set_inheritable(4, True)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""The browser reads descriptor 3 and writes descriptor 4; a shell can only move descriptors below 10 there."""
NAMES = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-component-update",
    "--force-device-scale-factor=1", "--remote-debugging-pipe",
)  # fmt: skip


def find_chromium() -> str | None:
    """The browser's path; None when there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class PageFailedError(Exception):
    """The page did not come to what was waited for."""


class Browser:
    """A browser with one page at a time."""

    def __init__(self, reader: int, writer: int) -> None:
        self._reader, self._writer = os.fdopen(reader, "rb"), os.fdopen(writer, "wb")
        self._number, self._rest = 0, b""
        self.console: list[str] = []

    def close(self) -> None:
        """Close both pipes; the browser takes that as its end."""
        self._reader.close()
        with contextlib.suppress(BrokenPipeError):
            self._writer.close()

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; what the page says meanwhile is kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._writer.write(json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        self._writer.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise PageFailedError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Runtime.exceptionThrown":
            self.console.append(str(event["params"]["exceptionDetails"].get("exception", {}).get("description")))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._reader.fileno(), 1 << 20)
            if not piece:
                raise PageFailedError("the browser has gone")
            self._rest += piece
        one, _, self._rest = self._rest.partition(b"\0")
        parsed: dict[str, Any] = json.loads(one)
        return parsed

    @contextlib.contextmanager
    def page(self, url: str, width: int, height: int) -> Iterator[Page]:
        """Open a page; it is closed at the end."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Emulation.setDeviceMetricsOverride", session, width=width, height=height, deviceScaleFactor=1,
                  mobile=False)  # fmt: skip
        self.call("Runtime.enable", session)
        self.call("Page.enable", session)
        self.call("Page.navigate", session, url=url)
        try:
            yield Page(self, session)
        finally:
            self.call("Target.closeTarget", targetId=target)


class Page:
    """One open page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def evaluate(self, expression: str) -> Any:
        """The JSON value of an expression in the page."""
        found = self._browser.call("Runtime.evaluate", self._session, expression=expression, returnByValue=True)
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float) -> Any:
        """Until the expression is true; its value.

        Raises:
            PageFailedError: it did not become so in time, or the page failed.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if failed := self.evaluate("window.__failed"):
                raise PageFailedError(failed)
            if value := self.evaluate(expression):
                return value
            time.sleep(0.2)
        raise PageFailedError(f"{expression} did not come true; the page said {self._browser.console[-3:]}")

    def picture(self, width: int, height: int) -> bytes:
        """A PNG of the whole page: what lies below the window is not painted, so the window is made as high."""
        self._browser.call("Emulation.setDeviceMetricsOverride", self._session, width=width, height=height,
                           deviceScaleFactor=1, mobile=False)  # fmt: skip
        time.sleep(PAINT_SECONDS)
        taken = self._browser.call("Page.captureScreenshot", self._session, format="png")
        return base64.b64decode(taken["data"])


@contextlib.contextmanager
def chromium(program: str) -> Iterator[Browser]:
    """Start a browser with a profile of its own; it ends with the block."""
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    profile = tempfile.mkdtemp(prefix="neonmeter-chromium-")
    process = subprocess.Popen(
        [sys.executable, "-c", ON_3_AND_4, str(to_read), str(from_write), program, *SWITCHES,
         f"--user-data-dir={profile}"],
        pass_fds=(to_read, from_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(to_read)
    os.close(from_write)
    browser = Browser(from_read, to_write)
    try:
        yield browser
    finally:
        browser.close()
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
        shutil.rmtree(profile, ignore_errors=True)
