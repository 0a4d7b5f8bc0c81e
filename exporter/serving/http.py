"""The HTTP server: hands out bytes that were made before anybody asked, and pages for a person.

One thread a connection, bounded; blocking sockets with the deadlines in the kernel: the send of a whole snapshot gives
up the GIL once instead of at every full buffer, which is what keeps scrapes quick while collecting. Sockets and
deadlines are here; what is answered on which path is in ``exporter.serving.routes``.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from exporter.version import __version__

HEAD_LIMIT = 16_384
"""Bytes of request line and headers; a longer head is refused."""
BODY_LIMIT = 65_536
"""Bytes of a request body that are read and thrown away; no route of ours takes one."""
_IOV_MAX = min(1024, os.sysconf("SC_IOV_MAX")) if hasattr(os, "sysconf") else 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One parsed request. Header names are lower case; a repeated header is joined by commas."""

    method: str
    path: str
    query: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Response:
    """One answer: the body as chunks that are sent as they are."""

    status: int
    headers: tuple[tuple[str, str], ...]
    chunks: tuple[bytes, ...]
    length: int


class BadRequestError(Exception):
    """The client sent something that is no HTTP/1.x request we take; carries the status to answer."""

    def __init__(self, status: int, message: str) -> None:
        """``message`` is one line for the answer."""
        super().__init__(message)
        self.status = status


def text_response(status: int, text: str, *headers: tuple[str, str]) -> Response:
    """A one-line plain answer."""
    body = (text.rstrip("\n") + "\n").encode("utf-8", "replace")
    return Response(status, (("Content-Type", "text/plain; charset=utf-8"), *headers), (body,), len(body))


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines in seconds and bounds of the server."""

    connections: int = 64
    idle: float = 120.0
    """Keep-alive: how long a connection may say nothing. Longer than any sensible scrape interval."""
    head: float = 10.0
    """From the first byte of a request to its last."""
    answer: float = 30.0
    """For sending one answer; a slower client is cut off."""


class _Connection:
    """One client, from accept to close, on its own thread."""

    def __init__(self, sock: socket.socket, limits: Limits) -> None:
        self.socket = sock
        self.limits = limits
        self.buffer = b""
        self.waiting_since: float | None = time.monotonic()
        """When the wait for the next request began; None while one is answered."""

    def close(self) -> None:
        """End it, from any thread; the blocked one wakes up."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def _deadline(self, which: int, seconds: float) -> None:
        whole, part = divmod(max(seconds, 0.001), 1)
        self.socket.setsockopt(socket.SOL_SOCKET, which, struct.pack("ll", int(whole), int(part * 1e6)))

    def read_head(self) -> bytes | None:
        """The head of the next request without its blank line; None when the client is gone or says nothing.

        Raises:
            BadRequestError: the head is too long or comes too slowly.
        """
        self.waiting_since = time.monotonic()
        began: float | None = None
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            if len(self.buffer) > HEAD_LIMIT:
                raise BadRequestError(431, "the request head is longer than 16 KiB")
            if self.buffer and began is None:
                began = time.monotonic()
            left = self.limits.idle if began is None else began + self.limits.head - time.monotonic()
            if left <= 0:
                raise BadRequestError(408, "the request head took too long")
            if not self._receive(left):
                if self.buffer and began is not None and time.monotonic() >= began + self.limits.head:
                    raise BadRequestError(408, "the request head took too long")
                return None
        head, self.buffer = self.buffer[:end], self.buffer[end + 4 :]
        self.waiting_since = None
        return head

    def _receive(self, seconds: float) -> bool:
        self._deadline(socket.SO_RCVTIMEO, seconds)
        try:
            received = self.socket.recv(65_536)
        except BlockingIOError:
            return False
        self.buffer += received
        return bool(received)

    def skip_body(self, length: int) -> bool:
        """Throw away a request body; False when it did not come."""
        deadline = time.monotonic() + self.limits.head
        while len(self.buffer) < length:
            if not self._receive(deadline - time.monotonic()):
                return False
        self.buffer = self.buffer[length:]
        return True

    def send(self, chunks: tuple[bytes, ...]) -> None:
        """Send everything within the deadline for an answer.

        Raises:
            OSError: the client is gone or too slow.
        """
        deadline = time.monotonic() + self.limits.answer
        self._deadline(socket.SO_SNDTIMEO, self.limits.answer)
        for start in range(0, len(chunks), _IOV_MAX):
            batch: list[bytes | memoryview] = list(chunks[start : start + _IOV_MAX])
            left = sum(map(len, batch))
            while left:
                sent = self.socket.sendmsg(batch)
                left -= sent
                if left:
                    if time.monotonic() >= deadline:
                        raise TimeoutError("the client reads too slowly")
                    batch = _unsent(batch, sent)


def _unsent(batch: list[bytes | memoryview], sent: int) -> list[bytes | memoryview]:
    """What is left of a batch after its first ``sent`` bytes."""
    for index, chunk in enumerate(batch):
        if sent < len(chunk):
            return [memoryview(chunk)[sent:], *batch[index + 1 :]]
        sent -= len(chunk)
    return []


def parse_head(head: bytes) -> tuple[Request, int, bool]:
    """A request, the length of its body, and whether the connection may live on.

    Raises:
        BadRequestError: malformed, or something we do not take (a chunked body, HTTP/2).
    """
    first, *lines = head.decode("latin-1").lstrip("\r\n").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[0].isalpha() or not parts[2].startswith("HTTP/1."):
        raise BadRequestError(400, "not an HTTP/1.1 request")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequestError(400, "malformed header")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if "transfer-encoding" in headers:
        raise BadRequestError(501, "chunked bodies are not taken")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise BadRequestError(400, "malformed Content-Length")
    if len(length) > 9 or int(length) > BODY_LIMIT:
        raise BadRequestError(413, "the request body is too large")
    target = parts[1]
    if target.lower().startswith("http://"):  # what a client sends that takes us for a proxy
        target = "/" + target[7:].partition("/")[2]
    path, _, query = target.partition("?")
    wishes = {wish.strip().lower() for wish in headers.get("connection", "").split(",")}
    keep = "close" not in wishes if parts[2] != "HTTP/1.0" else "keep-alive" in wishes
    return Request(parts[0], path, query, headers), int(length), keep


def response_head(response: Response, *, keep: bool) -> bytes:
    """Status line and headers with the blank line."""
    phrase = HTTPStatus(response.status).phrase
    lines = [
        f"HTTP/1.1 {response.status} {phrase}",
        f"Date: {formatdate(usegmt=True)}",
        f"Server: neonmeter/{__version__}",
        *(f"{name}: {value}" for name, value in response.headers),
        f"Content-Length: {response.length}",
        f"Connection: {'keep-alive' if keep else 'close'}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


class HttpServer:
    """Listens, and answers with what ``answer`` makes of each request.

    ``answer`` runs on the connection's thread and must be quick; an exception in it becomes a 500 and goes to
    ``on_error``.
    """

    def __init__(
        self,
        answer: Callable[[Request], Response],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        on_error: Callable[[Exception], None] = lambda _problem: None,
    ) -> None:
        """Bind at once, so that a port that is taken is told at start.

        Raises:
            OSError: the address cannot be bound.
        """
        self._answer = answer
        self._limits = limits or Limits()
        self._on_error = on_error
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=256)
        self._listener.setblocking(False)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._wake, self._woken = socket.socketpair()
        self._lock = threading.Lock()
        self._connections: set[_Connection] = set()
        self._stopping = False
        self._thread = threading.Thread(target=self._accept_all, name="http-accept", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def stop(self) -> None:
        """Stop to listen and end every connection; returns when the listener is gone."""
        self._stopping = True
        self._wake.send(b"x")
        if self._thread.is_alive():
            self._thread.join(5)
        self._listener.close()
        with self._lock:
            open_now = list(self._connections)
        for connection in open_now:
            connection.close()
        self._wake.close()
        self._woken.close()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        with self._lock:
            return len(self._connections)

    def _accept_all(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._stopping:
                selector.select()
                if self._stopping:
                    return
                try:
                    sock, _peer = self._listener.accept()
                except BlockingIOError:
                    continue
                except OSError:  # no file descriptor left, or the client gave up: neither may end the server
                    time.sleep(0.05)
                    continue
                self._admit(sock)

    def _admit(self, sock: socket.socket) -> None:
        """Start a thread for a client; over the bound the connection that idles longest makes room, or we decline."""
        sock.setblocking(True)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(sock, self._limits)
        with self._lock:
            full = len(self._connections) >= self._limits.connections
            idle = [known for known in self._connections if known.waiting_since is not None] if full else []
            if full and idle:
                oldest = min(idle, key=lambda known: known.waiting_since or 0.0)
                self._connections.discard(oldest)
                oldest.close()
            if not full or idle:
                self._connections.add(connection)
        if full and not idle:
            busy = text_response(503, "too many connections are being answered; raise http.max_connections")
            with contextlib.suppress(OSError), sock:
                sock.setblocking(False)
                sock.send(response_head(busy, keep=False) + busy.chunks[0])
            return
        try:
            threading.Thread(target=self._serve, args=(connection,), name="http-client", daemon=True).start()
        except RuntimeError as problem:  # the system gives us no thread now; it may the next time
            with self._lock:
                self._connections.discard(connection)
            sock.close()
            self._on_error(problem)

    def _serve(self, connection: _Connection) -> None:
        try:
            with connection.socket, contextlib.suppress(OSError):
                while not self._stopping and self._serve_one(connection):
                    pass
        finally:
            with self._lock:
                self._connections.discard(connection)

    def _serve_one(self, connection: _Connection) -> bool:
        """Answer one request; False when the connection ends."""
        keep, body = False, True
        try:
            head = connection.read_head()
            if head is None:
                return False
            request, length, keep = parse_head(head)
            if length:
                if "100-continue" in request.headers.get("expect", "").lower():
                    connection.send((b"HTTP/1.1 100 Continue\r\n\r\n",))
                if not connection.skip_body(length):
                    return False
            body = request.method != "HEAD"
            response = self._answer(request)
        except BadRequestError as problem:
            keep, response = False, text_response(problem.status, str(problem))
        except OSError:
            raise
        except Exception as problem:
            self._on_error(problem)
            response = text_response(500, "an error of ours; the log has it")
        connection.send((response_head(response, keep=keep), *(response.chunks if body else ())))
        return keep
