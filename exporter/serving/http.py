"""The HTTP/1.1 server: connections, deadlines, limits and the parsing of request heads.

One thread per connection, bounded in number. Sockets block and their timeouts are the kernel's (SO_RCVTIMEO,
SO_SNDTIMEO), so sending a whole snapshot is one system call that releases the GIL once, not once per full socket
buffer: this keeps scrapes fast while collectors run. Paths and their responses are in ``exporter.serving.routes``.
``python -m tests.bench serving-libraries`` compares it with other servers; docs/architecture.md has the figures.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from operator import itemgetter

from exporter.version import __version__

HEAD_LIMIT = 16_384
"""Maximum size of request line and headers in bytes; a longer head gets a 431."""
BODY_LIMIT = 65_536
"""Maximum size of a request body in bytes. Bodies are read and discarded: no route uses one."""
_IOV_MAX = min(1024, os.sysconf("SC_IOV_MAX")) if hasattr(os, "sysconf") else 1024


@dataclass(frozen=True, slots=True)
class Request:
    """A parsed request. Header names are lower case; the values of a repeated header are joined by commas."""

    method: str
    path: str
    query: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Response:
    """A response; the body is sent chunk by chunk without being copied, and ``length`` is their total size in bytes."""

    status: int
    headers: tuple[tuple[str, str], ...]
    chunks: tuple[bytes, ...]
    length: int


class BadRequestError(Exception):
    """The request is malformed or not supported; ``status`` is the HTTP status of the response."""

    def __init__(self, status: int, message: str) -> None:
        """``message`` is the body of the response, one line."""
        super().__init__(message)
        self.status = status


def text_response(status: int, text: str, *headers: tuple[str, str]) -> Response:
    """A plain text response, with exactly one newline at its end."""
    body = (text.rstrip("\n") + "\n").encode("utf-8", "replace")
    return Response(status, (("Content-Type", "text/plain; charset=utf-8"), *headers), (body,), len(body))


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the server; times in seconds."""

    connections: int = 64
    """Open connections. One more closes the connection whose client has kept the server waiting longest."""
    spare: int = 4
    """Connections beyond these for the paths that watch us, when all others are being answered."""
    idle: float = 120.0
    """Keep-alive timeout. Longer than any sensible scrape interval."""
    head: float = 10.0
    """From the first byte of a request to the end of its head, and again for its body."""
    answer: float = 30.0
    """For sending one response."""


class _Connection:
    """One client connection, served by a thread of its own."""

    def __init__(self, sock: socket.socket, limits: Limits) -> None:
        self.socket = sock
        self.spare = False
        """Whether it was admitted beyond the limit, for the paths that watch us alone."""
        self.limits = limits
        self.buffer = b""
        self.waiting_since: float | None = time.monotonic()
        """Since when it is the client's turn, to send a request or to read the response; None while we make one.

        Set before a response is sent and not again after it, so that clients can know the order: who got an earlier
        response has been waited for longer.
        """

    def close(self) -> None:
        """Shut the connection down; safe from any thread, and wakes the one that serves it."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def _set_timeout(self, option: int, seconds: float) -> None:
        whole, fraction = divmod(max(seconds, 0.001), 1)
        self.socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(whole), int(fraction * 1e6)))

    def read_head(self) -> bytes | None:
        """The head of the next request without its blank line; None when the client left or stayed idle.

        Raises:
            BadRequestError: the head is too long or too slow.
        """
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
        if end > HEAD_LIMIT:
            raise BadRequestError(431, "the request head is longer than 16 KiB")
        head, self.buffer = self.buffer[:end], self.buffer[end + 4 :]
        return head

    def _receive(self, seconds: float) -> bool:
        self._set_timeout(socket.SO_RCVTIMEO, seconds)
        try:
            received = self.socket.recv(65_536)
        except BlockingIOError:
            return False
        self.buffer += received
        return bool(received)

    def skip_body(self, length: int) -> bool:
        """Discard a request body of ``length`` bytes; False when it did not arrive in time."""
        deadline = time.monotonic() + self.limits.head
        while len(self.buffer) < length:
            if not self._receive(deadline - time.monotonic()):
                return False
        self.buffer = self.buffer[length:]
        return True

    def send(self, chunks: tuple[bytes, ...]) -> None:
        """Send all chunks within ``limits.answer`` seconds.

        Raises:
            OSError: the client left or reads too slowly.
        """
        deadline = time.monotonic() + self.limits.answer
        for start in range(0, len(chunks), _IOV_MAX):
            batch: list[bytes | memoryview] = list(chunks[start : start + _IOV_MAX])
            while batch:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError("the client reads too slowly")
                self._set_timeout(socket.SO_SNDTIMEO, left)
                batch = _unsent(batch, self.socket.sendmsg(batch))


def _unsent(batch: list[bytes | memoryview], sent: int) -> list[bytes | memoryview]:
    """The rest of a batch after its first ``sent`` bytes."""
    for index, chunk in enumerate(batch):
        if sent < len(chunk):
            return [memoryview(chunk)[sent:], *batch[index + 1 :]]
        sent -= len(chunk)
    return []


def parse_head(head: bytes) -> tuple[Request, int, bool]:
    """Parse a request head: the request, the length of its body in bytes, and whether to keep the connection.

    Raises:
        BadRequestError: it is malformed or not supported (a chunked body, HTTP/2).
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
        raise BadRequestError(501, "chunked bodies are not supported")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise BadRequestError(400, "malformed Content-Length")
    if len(length) > 9 or int(length) > BODY_LIMIT:
        raise BadRequestError(413, "the request body is too large")
    target = parts[1]
    if target.lower().startswith("http://"):  # absolute form, as sent to a proxy
        target = "/" + target[7:].partition("/")[2]
    path, _, query = target.partition("?")
    options = {option.strip().lower() for option in headers.get("connection", "").split(",")}
    keep = "close" not in options if parts[2] != "HTTP/1.0" else "keep-alive" in options
    return Request(parts[0], path, query, headers), int(length), keep


def response_head(response: Response, *, keep: bool) -> bytes:
    """Status line and headers, with the blank line that ends them."""
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


_BUSY = text_response(503, "too many connections are being answered; raise http.max_connections")


class HttpServer:
    """Accepts connections and answers each request with the response that ``answer`` returns.

    ``answer`` runs on the connection's thread and should be fast. An exception that it raises goes to ``on_error``, and
    the client gets a 500.
    """

    def __init__(
        self,
        answer: Callable[[Request], Response],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        spare_paths: Collection[str] = (),
        on_error: Callable[[Exception], None] = lambda _error: None,
    ) -> None:
        """Bind the address, so that a port in use is an error at start; port 0 takes a free one.

        ``spare_paths`` are answered also while as many other requests are being answered as the limits allow.

        Raises:
            OSError: the address cannot be bound.
        """
        self._answer = answer
        self._limits = limits or Limits()
        self._spare_paths = frozenset(spare_paths)
        self._on_error = on_error
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=256)
        self._listener.setblocking(False)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._stop_writer, self._stop_reader = socket.socketpair()
        self._lock = threading.Lock()
        self._connections: set[_Connection] = set()
        self._stopping = False
        self._thread = threading.Thread(target=self._accept_all, name="http-accept", daemon=True)

    @property
    def url(self) -> str:
        """The address as a URL."""
        host, port = self.address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def start(self) -> None:
        """Start accepting connections."""
        self._thread.start()

    def stop(self) -> None:
        """Stop accepting and shut every connection down, also in the middle of a response; the port is free then."""
        self._stopping = True
        self._stop_writer.send(b"x")
        if self._thread.is_alive():
            self._thread.join(5)
        self._listener.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.close()
        self._stop_writer.close()
        self._stop_reader.close()

    @property
    def connections(self) -> int:
        """Number of open connections."""
        with self._lock:
            return len(self._connections)

    def _accept_all(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._stop_reader, selectors.EVENT_READ)
            while not self._stopping:
                selector.select()
                if self._stopping:
                    return
                try:
                    sock, _peer = self._listener.accept()
                except BlockingIOError:
                    continue
                except OSError:  # no file descriptor left, or the client has gone: neither may stop the server
                    time.sleep(0.05)
                    continue
                self._admit(sock)

    def _admit(self, sock: socket.socket) -> None:
        """Start a thread for a new client.

        At the limit, the connection whose client has kept the server waiting longest is closed, be it idle, slow to
        send its request or slow to read its response: slow clients then displace each other, and a scrape, done in
        milliseconds, always finds a place. When every response is still being made, the new client gets a 503, but for
        one that asks for a spare path.
        """
        sock.setblocking(True)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(sock, self._limits)
        with self._lock:
            full = len(self._connections) >= self._limits.connections
            waiting = [(since, entry) for entry in self._connections if (since := entry.waiting_since) is not None]
            most = self._limits.connections + (self._limits.spare if self._spare_paths else 0)
            connection.spare = len(self._connections) - len(waiting) >= self._limits.connections
            admitted = bool(waiting) or len(self._connections) < most
            if full and waiting:
                _, slowest = min(waiting, key=itemgetter(0))
                self._connections.discard(slowest)
                slowest.close()
            if admitted:
                self._connections.add(connection)
        if not admitted:
            with contextlib.suppress(OSError), sock:
                sock.setblocking(False)
                sock.send(response_head(_BUSY, keep=False) + _BUSY.chunks[0])
            return
        try:
            threading.Thread(target=self._serve, args=(connection,), name="http-client", daemon=True).start()
        except RuntimeError as error:  # the system has no thread for us now; it may have one for the next client
            with self._lock:
                self._connections.discard(connection)
            sock.close()
            self._on_error(error)

    def _serve(self, connection: _Connection) -> None:
        try:
            with connection.socket, contextlib.suppress(OSError):
                while not self._stopping and self._serve_one(connection):
                    pass
        finally:
            with self._lock:
                self._connections.discard(connection)

    def _serve_one(self, connection: _Connection) -> bool:
        """Answer one request; False when the connection is to be closed.

        Raises:
            OSError: the client left or reads too slowly.
        """
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
        except BadRequestError as error:
            keep, response = False, text_response(error.status, str(error))
        else:
            body = request.method != "HEAD"
            connection.waiting_since = None
            if connection.spare:
                keep = False
            refused = connection.spare and request.path not in self._spare_paths
            response = _BUSY if refused else self._respond(request)
        connection.waiting_since = time.monotonic()
        connection.send((response_head(response, keep=keep), *(response.chunks if body else ())))
        return keep

    def _respond(self, request: Request) -> Response:
        try:
            return self._answer(request)
        except Exception as error:
            self._on_error(error)
            return text_response(500, "internal error; see the log of neonmeter")
