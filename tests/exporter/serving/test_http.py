"""The server: many clients at once, slow ones, rude ones, broken requests; each answer is one whole generation."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from exporter.serving.http import BadRequestError, HttpServer, Limits, Request, Response, parse_head, text_response
from tests.exporter.serving.served import TestView, endpoint, families, serving


@contextlib.contextmanager
def raw(server: HttpServer) -> Iterator[socket.socket]:
    with socket.create_connection(server.address, timeout=10) as client:
        yield client


def talk(server: HttpServer, sent: bytes) -> bytes:
    """Everything the server says until it ends the connection."""
    with raw(server) as client:
        client.sendall(sent)
        said = b""
        while more := client.recv(65_536):
            said += more
        return said


@pytest.fixture
def view() -> TestView:
    made = TestView()
    for number in range(40):
        made.builder.put(number, endpoint(number), families(1))
    made.publish(1.0)
    return made


def test_100_scrapes_at_once_while_publishing_are_each_one_generation(view: TestView) -> None:
    stop = threading.Event()

    def publish() -> None:
        mark = 1
        while not stop.is_set():
            mark += 1
            for number in range(40):
                view.builder.put(number, endpoint(number), families(mark))
            view.publish(float(mark))

    seen: set[str] = set()
    problems: list[str] = []

    def scrape(server: HttpServer, *, packed: bool) -> None:
        wanted = {"Accept-Encoding": "gzip"} if packed else {"Accept-Encoding": "identity"}
        try:
            with httpx.Client(trust_env=False, timeout=30) as client:
                for _ in range(3):
                    with client.stream("GET", f"{server.url}/metrics", headers=wanted) as answer:
                        body = b"".join(answer.iter_raw())
                    text = gzip.decompress(body) if packed else body
                    marks = {
                        line.rsplit(b" ", 1)[1] for line in text.splitlines() if line.startswith(b"neonmeter_test_mark")
                    }
                    lines = text.count(b"\n")
                    if len(marks) != 1 or lines != 40 * 21 + 6:
                        problems.append(f"{answer.headers['x-neonmeter-generation']}: {marks} {lines}")
                    seen.add(answer.headers["x-neonmeter-generation"])
        except Exception as problem:
            problems.append(repr(problem))

    publisher = threading.Thread(target=publish)
    with serving(view, limits=Limits(connections=128)) as (server, _client):
        publisher.start()
        clients = [threading.Thread(target=scrape, args=(server,), kwargs={"packed": i % 2 == 0}) for i in range(100)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        stop.set()
        publisher.join()
    assert problems == []
    assert len(seen) > 1


def test_a_client_that_does_not_read_blocks_nobody_and_is_cut_off() -> None:
    view = TestView()
    for number in range(400):
        view.builder.put(number, endpoint(number), families(1, 200))
    size = view.publish(1.0).plain_length
    assert size > 10_000_000  # more than the kernel buffers for one connection
    with serving(view, limits=Limits(answer=4)) as (server, client), contextlib.ExitStack() as stack:
        slow = [stack.enter_context(raw(server)) for _ in range(5)]
        for one in slow:
            one.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            one.recv(100)
        assert len(client.get("/metrics", headers={"Accept-Encoding": "identity"}).content) == size
        assert client.get("/healthz").status_code == 200
        deadline = time.monotonic() + 60
        while server.connections > 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert server.connections == 1


def test_a_slow_but_steady_reader_gets_everything(view: TestView) -> None:
    with serving(view) as (server, _client), raw(server) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        said = b""
        while more := client.recv(1500):
            said += more
        assert said.partition(b"\r\n\r\n")[2] == b"".join(view.current.plain)


def test_keep_alive_pipelining_and_close(view: TestView) -> None:
    get = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
    with serving(view) as (server, _client):
        said = talk(server, (get + b"\r\n") * 3 + get + b"Connection: close\r\n\r\n" + get)
        assert said.count(b"HTTP/1.1 200 OK") == 4
        assert said.count(b"Connection: keep-alive") == 3
        old = talk(server, b"GET /healthz HTTP/1.0\r\n\r\n")
        assert old.startswith(b"HTTP/1.1 200 OK")
        assert b"Connection: close" in old


def test_head_sends_the_length_and_no_body(view: TestView) -> None:
    with serving(view) as (server, _client):
        said = talk(server, b"HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert f"Content-Length: {view.current.plain_length}\r\n".encode() in said
        assert said.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", 400),
        (b"POST /-/reload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST /-/reload HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 20_000, 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400),  # a TLS hello
    ],
)
def test_broken_requests_get_their_status_and_the_connection_ends(view: TestView, sent: bytes, status: int) -> None:
    with serving(view) as (server, client):
        with contextlib.suppress(ConnectionResetError):  # we end it while the rest of a long head is still coming
            assert talk(server, sent).startswith(f"HTTP/1.1 {status} ".encode())
        assert client.get("/healthz").status_code == 200


def test_a_head_that_never_ends_is_cut_off(view: TestView) -> None:
    with serving(view, limits=Limits(head=0.3)) as (server, _client):
        assert talk(server, b"GET /metrics HTT").startswith(b"HTTP/1.1 408 ")


def test_an_idle_connection_ends(view: TestView) -> None:
    with serving(view, limits=Limits(idle=0.2)) as (server, _client):
        assert talk(server, b"") == b""


def test_a_body_is_read_and_thrown_away(view: TestView) -> None:
    with serving(view) as (_server, client):
        assert client.post("/-/reload", content=b"x" * 5000).status_code == 200
        assert client.get("/healthz").status_code == 200


def test_when_full_the_longest_idle_makes_room(view: TestView) -> None:
    with serving(view, limits=Limits(connections=3)) as (server, _client), contextlib.ExitStack() as stack:
        idle = [stack.enter_context(raw(server)) for _ in range(3)]
        for one in idle:
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in one.recv(4096)
        with raw(server) as late:
            late.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in late.recv(4096)
        assert idle[0].recv(1) == b""
        idle[2].sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in idle[2].recv(4096)


@pytest.mark.fault("network: clients of ours that send or read slowly")
def test_when_full_slow_readers_and_senders_make_room_and_a_scrape_finds_its_place() -> None:
    view = TestView()
    for number in range(100):
        view.builder.put(number, endpoint(number), families(1, 200))
    size = view.publish(1.0).plain_length
    with serving(view, limits=Limits(connections=4)) as (server, _client), contextlib.ExitStack() as stack:
        slow = []
        for number in range(12):
            client = stack.enter_context(raw(server))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + (b"\r\n" if number % 2 else b"X-Slow: "))
            if number % 2:
                assert client.recv(100)
            slow.append(client)
        for _ in range(3):
            answer = httpx.get(f"{server.url}/metrics", headers={"Accept-Encoding": "identity"}, trust_env=False)
            assert len(answer.content) == size
        assert server.connections <= 4
        with contextlib.suppress(ConnectionResetError):
            assert slow[0].recv(1) == b""


def test_when_full_of_busy_ones_the_next_is_told() -> None:
    hold, asked = threading.Event(), threading.Event()

    def answer(_request: Request) -> Response:
        asked.set()
        hold.wait(20)
        return text_response(200, "late")

    server = HttpServer(answer, limits=Limits(connections=1))
    server.start()
    try:
        with raw(server) as busy:
            busy.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert asked.wait(20)
            assert talk(server, b"").startswith(b"HTTP/1.1 503 ")
            hold.set()
            assert b"late" in busy.recv(4096)
    finally:
        hold.set()
        server.stop()


@pytest.mark.fault("network: as many clients as there are places")
def test_when_full_of_busy_ones_what_watches_us_finds_a_place() -> None:
    hold = threading.Event()

    def answer(request: Request) -> Response:
        if request.path == "/slow":
            hold.wait(60)
        return text_response(200, request.path)

    server = HttpServer(answer, limits=Limits(connections=4, spare=2), spare_paths=("/metrics",))
    server.start()
    try:
        with contextlib.ExitStack() as stack:
            for count in range(1, 5):
                stack.enter_context(raw(server)).sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
                while len([True for entry in server._connections if entry.waiting_since is None]) < count:
                    time.sleep(0.01)
            for _ in range(20):
                said = talk(server, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                assert said.startswith(b"HTTP/1.1 200 ") and b"Connection: close" in said
                assert talk(server, b"GET /targets HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 503 ")
            hold.set()
    finally:
        hold.set()
        server.stop()


@pytest.mark.fault("network: requests with heads without end")
@pytest.mark.parametrize("size", [16_385, 20_000, 60_000, 200_000])
@pytest.mark.parametrize("ended", [True, False])
def test_a_head_over_the_limit_is_refused_however_it_arrives(view: TestView, size: int, ended: bool) -> None:
    with serving(view) as (server, _):
        head = b"GET /healthz HTTP/1.1\r\nX: " + b"a" * size + (b"\r\nHost: x\r\n\r\n" if ended else b"")
        with raw(server) as client, contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.sendall(head)
            assert client.recv(4096).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("kind", [RuntimeError, OSError])
@pytest.mark.fault("ourselves: a page raises an error")
def test_a_bug_in_a_page_is_a_500_and_goes_to_the_log(kind: type[Exception]) -> None:
    problems: list[Exception] = []

    def answer(_request: Request) -> Response:
        raise kind("secret")

    server = HttpServer(answer, on_error=problems.append)
    server.start()
    try:
        answered = httpx.get(server.url, trust_env=False)
        assert answered.status_code == 500
        assert "secret" not in answered.text
        assert [str(problem) for problem in problems] == ["secret"]
    finally:
        server.stop()


def test_stop_ends_connections_and_frees_the_port(view: TestView) -> None:
    with serving(view) as (server, client):
        client.get("/healthz")
        port = server.address[1]
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False)
    again = HttpServer(lambda _request: text_response(200, "x"), port=port)
    again.start()
    again.stop()


def test_a_taken_port_is_told_at_once(view: TestView) -> None:
    with serving(view) as (server, _client), pytest.raises(OSError, match="in use"):
        HttpServer(lambda _request: text_response(200, "x"), port=server.address[1])


def test_heads() -> None:
    request, length, keep = parse_head(b"POST http://h:1/a/b?c=d HTTP/1.1\r\nA: 1\r\na:  2 \r\nContent-Length: 3")
    assert (request.method, request.path, request.query) == ("POST", "/a/b", "c=d")
    assert request.headers["a"] == "1, 2"
    assert (length, keep) == (3, True)
    with pytest.raises(BadRequestError):
        parse_head(b"")


def test_ipv6() -> None:
    try:
        server = HttpServer(lambda _request: text_response(200, "six"), host="::1")
    except OSError as problem:
        pytest.skip(f"no IPv6 on this machine: {problem}")
    server.start()
    try:
        assert server.url.startswith("http://[::1]:")
        assert httpx.get(server.url, trust_env=False).text == "six\n"
    finally:
        server.stop()
