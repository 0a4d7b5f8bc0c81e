"""Broken, slow and greedy requests, and what a server makes of them: for ``tests.bench.serving_libraries``.

The behaviour of our own server is held by tests/exporter/serving/test_http.py; here the same inputs go to any server.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

LIMITS = {"idle": 2.0, "head": 1.0, "answer": 2.0, "connections": 64}
"""What the server under test is started with, so that deadlines pass within the checks."""

BROKEN = {
    "nonsense": b"nonsense\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "header without colon": b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
    "negative length": b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"GET / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n",
    "chunked body": b"POST /-/reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "huge body": b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n",
    "head of 20 KB": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000,
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
}


@contextlib.contextmanager
def _connected(port: int, seconds: float) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as client:
        yield client


def _talk(port: int, sent: bytes, seconds: float = 4.0) -> bytes | None:
    """Everything the server says until it ends the connection; None when it does not end it in time."""
    said, until = b"", time.monotonic() + seconds
    with _connected(port, seconds) as client:
        try:
            client.sendall(sent)
            while more := client.recv(65_536):
                said += more
                if time.monotonic() > until:
                    return None
        except TimeoutError:
            return None
        except OSError:
            pass
    return said


def _status(said: bytes | None) -> str:
    if said is None:
        return "kept open"
    return said[9:12].decode("latin-1") if said.startswith(b"HTTP/1.") else "closed"


def _dripping_head(port: int) -> str:
    """Whether a head that comes by one byte a quarter of a second is cut off after its deadline of a second."""
    began = time.monotonic()
    with _connected(port, 5) as client, contextlib.suppress(OSError):
        client.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        client.setblocking(False)
        while time.monotonic() < began + 5:
            with contextlib.suppress(BlockingIOError):
                client.recv(4096)
                return f"cut {time.monotonic() - began:.1f} s"
            client.send(b"x")
            time.sleep(0.25)
        return "never"
    return f"cut {time.monotonic() - began:.1f} s"


def _reader_that_stops(port: int) -> str:
    """Whether a client that reads nothing is cut off after the answer's deadline of two seconds."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(5)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        length = int(client.recv(2048).lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        time.sleep(5)
        left = length
        with contextlib.suppress(OSError):
            while more := client.recv(1 << 20):
                left -= len(more)
    return "cut" if left > 4096 else "never"


def _pipelining(port: int) -> str:
    get = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
    said = _talk(port, (get + b"\r\n") * 3 + get + b"Connection: close\r\n\r\n" + get)
    return "no end" if said is None else f"{said.count(b'HTTP/1.1 200')} of 4"


def _head(port: int) -> str:
    said = _talk(port, b"HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") or b""
    return "ok" if b"content-length: " in said.lower() and said.endswith(b"\r\n\r\n") else "wrong"


def _idle_ends(port: int) -> str:
    began = time.monotonic()
    return "never" if _talk(port, b"", 5) is None else f"{time.monotonic() - began:.1f} s"


def _one_over_the_limit(port: int) -> str:
    """What the 65th client gets when 64 idle ones are connected."""
    with contextlib.ExitStack() as stack:
        get = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        for _ in range(64):
            client = stack.enter_context(_connected(port, 5))
            client.sendall(get)
            client.recv(4096)
        return _status(_talk(port, get.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")))


def check_hostile(port: int) -> dict[str, str]:
    """What the server at ``port`` does, by check; it was started with ``LIMITS``."""
    done = {what: _status(_talk(port, sent)) for what, sent in BROKEN.items()}
    done["head dripping, 1 s allowed"] = _dripping_head(port)
    done["idle, 2 s allowed"] = _idle_ends(port)
    done["reader that stops, 2 s allowed"] = _reader_that_stops(port)
    done["pipelining"] = _pipelining(port)
    done["HEAD"] = _head(port)
    done["one over 64 idle"] = _one_over_the_limit(port)
    return done
