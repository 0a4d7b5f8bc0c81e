"""Asking a running agent over HTTP, with nothing but the standard library: the healthcheck and the demo do."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from urllib.parse import urlsplit

BODY_LIMIT = 1024 * 1024 * 1024
"""Bytes of a page: the /metrics of 10,000 projects has 144 MB. The healthcheck asks for less."""


def ask(url: str, timeout: float = 3.0, most: int = BODY_LIMIT) -> tuple[int, str]:
    """GET one page; status and text, of which no more than ``most`` bytes are read.

    Raises:
        OSError: no answer, or none that is HTTP.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout)
    try:
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        answer = connection.getresponse()
        return answer.status, answer.read(most).decode("utf-8", "replace")
    except http.client.HTTPException as problem:
        raise OSError(f"no HTTP answer ({type(problem).__name__})") from None
    finally:
        connection.close()


def wait_until_ready(url: str, seconds: float, alive: Callable[[], bool]) -> bool:
    """Whether the agent at ``url`` got ready in time; gives up at once when ``alive`` says that it ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and alive():
        try:
            if ask(f"{url}/readyz")[0] == 200:
                return True
        except OSError:
            pass
        time.sleep(0.1)
    return False
