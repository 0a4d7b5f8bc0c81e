"""HTTP servers to compare with ours, each behind the same interface: an adapter, and all that we would have to write.

Each takes what ``HttpServer`` takes and offers ``address``, ``start`` and ``stop``. The limits are set as far as the
library has a setting; what it has none for is missing and shows in ``tests.bench.serving_libraries``. A library that
takes a body as one piece gets the snapshot joined, once a generation.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import logging
import socket
import threading
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from operator import itemgetter
from typing import Any, Protocol

from exporter.demo.postgres import free_port
from exporter.serving import http
from exporter.serving.http import HttpServer, Limits, Request, Response, text_response

Answer = Callable[[Request], Response]


class Server(Protocol):
    """What the bench needs of a server."""

    address: tuple[str, int]

    def start(self) -> None: ...

    def stop(self) -> None: ...


class _Joined:
    """The body of an answer as one piece; the last one is cached, so that a generation is joined once."""

    def __init__(self) -> None:
        self._last: tuple[tuple[bytes, ...], bytes] = ((), b"")

    def body(self, response: Response) -> bytes:
        if len(response.chunks) == 1:
            return response.chunks[0]
        chunks, body = self._last
        if chunks is not response.chunks:
            body = b"".join(response.chunks)
            self._last = response.chunks, body
        return body


def _answer_or_500(answer: Answer, request: Request) -> Response:
    try:
        return answer(request)
    except Exception:
        return text_response(500, "internal error")


class Cheroot:
    """cheroot: a pool of threads; idle connections wait in a selector."""

    needs = ("cheroot",)
    own_send = False

    def __init__(self, answer: Answer, limits: Limits) -> None:
        from cheroot.server import Gateway, HTTPServer

        joined, own_send = _Joined(), self.own_send

        class Adapter(Gateway):  # type: ignore[misc]
            def respond(self) -> None:
                request = self.req
                request.rfile.read()
                headers = {
                    name.decode("latin-1").lower(): value.decode("latin-1") for name, value in request.inheaders.items()
                }
                method, path, query = (
                    part.decode("latin-1") for part in (request.method, request.path, request.qs or b"")
                )
                response = _answer_or_500(answer, Request(method, path, query, headers))
                request.status = f"{response.status} {HTTPStatus(response.status).phrase}".encode()
                request.outheaders = [
                    (name.encode(), value.encode("latin-1", "replace")) for name, value in response.headers
                ]
                request.outheaders.append((b"Content-Length", str(response.length).encode()))
                request.ensure_headers_sent()
                if method == "HEAD":
                    return
                if own_send:  # around the library's writer, which copies what is left at every partial send
                    sock = request.conn.socket
                    sock.setblocking(True)
                    http._Connection(sock, limits).send(response.chunks)
                    sock.settimeout(limits.head)
                else:
                    request.write(joined.body(response))

        self._server = HTTPServer(("127.0.0.1", 0), Adapter, minthreads=limits.connections)
        self._server.timeout = limits.head  # of one recv or send, and of an idle connection too: there is one setting
        self._server.max_request_header_size = http.HEAD_LIMIT
        self._server.max_request_body_size = http.BODY_LIMIT
        self._server.keep_alive_conn_limit = limits.connections
        self._server.request_queue_size = 256
        self._server.shutdown_timeout = 1
        self._server.error_log = lambda *_arguments, **_options: None
        self._server.prepare()
        self.address: tuple[str, int] = self._server.bind_addr[:2]
        self._thread = threading.Thread(target=self._server.serve, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.stop()
        self._thread.join(10)


class CherootOwnSend(Cheroot):
    """cheroot for heads and threads, our send for the body."""

    own_send = True


class Uvicorn:
    """uvicorn with httptools on asyncio's loop, in a thread of its own."""

    needs: tuple[str, ...] = ("uvicorn", "httptools")
    loop = "asyncio"

    def __init__(self, answer: Answer, limits: Limits) -> None:
        import uvicorn

        joined = _Joined()

        async def app(
            scope: dict[str, Any],
            receive: Callable[[], Awaitable[dict[str, Any]]],
            send: Callable[[dict[str, Any]], Awaitable[None]],
        ) -> None:
            size = 0
            while (message := await receive())["type"] == "http.request":
                size += len(message["body"])
                if not message["more_body"] or size > http.BODY_LIMIT:
                    break
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            request = Request(scope["method"], scope["path"], scope["query_string"].decode("latin-1"), headers)
            too_large = text_response(413, "the request body is too large")
            response = too_large if size > http.BODY_LIMIT else _answer_or_500(answer, request)
            fields = [(name.encode(), value.encode("latin-1", "replace")) for name, value in response.headers]
            fields.append((b"content-length", str(response.length).encode()))
            await send({"type": "http.response.start", "status": response.status, "headers": fields})
            await send({"type": "http.response.body", "body": joined.body(response)})

        # limit_concurrency counts idle connections too and answers every request beyond with 503, so it is left off.
        config = uvicorn.Config(
            app,
            http=self.protocol(limits),
            loop=self.loop,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=int(limits.idle),
            timeout_graceful_shutdown=1,
        )
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it logs a traceback per request that is cut
        self._server = uvicorn.Server(config)
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def protocol(self, _limits: Limits) -> Any:
        return "httptools"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)


class UvicornUvloop(Uvicorn):
    """uvicorn with httptools on uvloop, in a thread of its own."""

    needs = ("uvicorn", "httptools", "uvloop")
    loop = "uvloop"


class UvicornLimits(UvicornUvloop):
    """The same with the limits that it lacks, in a subclass of its protocol, which is no documented interface."""

    def protocol(self, limits: Limits) -> Any:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

        return type("Limited", (LimitsAround, HttpToolsProtocol), {"limits": limits, "waiting": {}})


class LimitsAround:
    """What uvicorn's protocol lacks: a bound on connections and on heads; deadlines for idling, heads and answers."""

    limits: Limits
    waiting: dict[Any, float | None]
    """Connections, and since when it is the client's turn; shared by all."""
    head_bytes = 0
    timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        idle = [(since, connection) for connection, since in self.waiting.items() if since is not None]
        if len(self.waiting) >= self.limits.connections:
            if not idle:
                return self.refuse(503, "too many connections are being answered")
            oldest = min(idle, key=itemgetter(0))[1]
            del self.waiting[oldest]
            oldest.transport.abort()
        self.waiting[self] = self.loop.time()
        return self.limit(self.limits.idle)

    def connection_lost(self, exc: Exception | None) -> None:
        self.waiting.pop(self, None)
        self.limit(None)
        super().connection_lost(exc)

    def limit(self, seconds: float | None, status: int = 0) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = None if seconds is None else self.loop.call_later(seconds, self.expire, status)

    def expire(self, status: int) -> None:
        if status:
            self.refuse(status, "the request head took too long")
        else:
            self.transport.abort()

    def refuse(self, status: int, text: str) -> None:
        head = b"content-length: %d\r\nconnection: close\r\n\r\n" % len(text)
        self.transport.write(
            b"HTTP/1.1 %d %s\r\n" % (status, HTTPStatus(status).phrase.encode()) + head + text.encode()
        )
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        if not self.head_bytes:
            self.limit(self.limits.head, 408)
        self.head_bytes += len(data)
        super().data_received(data)
        if self.head_bytes > http.HEAD_LIMIT:
            self.refuse(431, "the request head is too long")

    def on_headers_complete(self) -> None:
        self.head_bytes = 0
        if self in self.waiting:
            self.waiting[self] = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self.head_bytes = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        if self in self.waiting:
            self.waiting[self] = self.loop.time()
        if not self.flow.write_paused:
            self.limit(self.limits.idle)
        super().on_response_complete()

    def pause_writing(self) -> None:
        self.limit(self.limits.answer)
        super().pause_writing()

    def resume_writing(self) -> None:
        self.limit(self.limits.idle)
        super().resume_writing()


class Granian:
    """granian's embedded server (Rust; called experimental by its authors), its asyncio loop in a thread of its own."""

    needs = ("granian",)

    def __init__(self, answer: Answer, limits: Limits) -> None:
        from granian.constants import HTTPModes, Interfaces
        from granian.http import HTTP1Settings
        from granian.server.embed import Server as Embedded

        joined = _Joined()

        async def app(scope: Any, protocol: Any) -> None:
            await protocol()
            headers = {name: scope.headers.get(name) for name in scope.headers.keys()}  # noqa: SIM118 - no mapping
            request = Request(scope.method, scope.path, scope.query_string, headers)
            response = _answer_or_500(answer, request)
            fields = [*response.headers, ("Content-Length", str(response.length))]
            if request.method == "HEAD":
                protocol.response_empty(response.status, fields)
            else:
                protocol.response_bytes(response.status, fields, joined.body(response))

        self.address: tuple[str, int] = ("127.0.0.1", free_port())
        self._server = Embedded(
            app,
            address=self.address[0],
            port=self.address[1],
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,
            websockets=False,
            backlog=1024,  # bounds what it serves at once, too
            log_enabled=False,
            http1_settings=HTTP1Settings(
                header_read_timeout=int(limits.head * 1000), max_buffer_size=max(8192, http.HEAD_LIMIT)
            ),
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._server.serve())
        finally:
            self._loop.close()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._server.stop)
        self._thread.join(10)


class Ours(HttpServer):
    """The one in ``exporter.serving.http``."""

    needs: tuple[str, ...] = ()

    def __init__(self, answer: Answer, limits: Limits) -> None:
        super().__init__(answer, limits=limits)


CANDIDATES: dict[str, type[Any]] = {
    "ours": Ours,
    "cheroot": Cheroot,
    "cheroot+send": CherootOwnSend,
    "uvicorn": Uvicorn,
    "uvicorn+uvloop": UvicornUvloop,
    "uvicorn+limits": UvicornLimits,
    "granian": Granian,
}


def missing(name: str) -> list[str]:
    """The packages of a candidate that are not installed."""
    return [package for package in CANDIDATES[name].needs if importlib.util.find_spec(package) is None]


def lines_around(name: str) -> int:
    """Lines of our own code that a candidate takes, without blank ones: its adapter, or all of ours.

    Without what is needed in any case: the request, the response, the limits.
    """
    candidate = CANDIDATES[name]
    common = sum(map(_lines, (http.Request, http.Response, http.Limits, http.text_response)))
    if candidate is Ours:
        return _lines(http) - common
    parts: list[Any] = [part for part in candidate.__mro__ if part.__module__ == __name__]
    if candidate is CherootOwnSend:
        parts += [http._Connection.send, http._unsent]
    if candidate is UvicornLimits:
        parts.append(LimitsAround)
    return sum(map(_lines, parts))


def _lines(part: Any) -> int:
    return sum(bool(line.strip()) for line in inspect.getsource(part).splitlines())
