"""A server that answers each request with the same bytes, whatever they are: on a socket of its own, in a thread."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

ZEROS = b" " * (1 << 20)


def bomb(mebibytes: int, *codings: str) -> bytes:
    """Blanks, compressed as the codings say, the first one first; made without ever holding them whole."""
    first, *rest = codings or ("identity",)
    if first == "identity":
        body = ZEROS * mebibytes
    else:
        packer = zlib.compressobj(9, zlib.DEFLATED, {"gzip": 31, "deflate": 15, "raw": -15}[first])
        body = b"".join([*(packer.compress(ZEROS) for _ in range(mebibytes)), packer.flush()])
    for coding in rest:
        body = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    return body


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A response with its length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def endless() -> Iterator[bytes]:
    """A response whose body never ends."""
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"100000\r\n" + ZEROS + b"\r\n"


@contextmanager
def serving(response: bytes | Callable[[], Iterable[bytes]]) -> Iterator[str]:
    """The URL of a server that sends ``response`` to whoever asks anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def work() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client, contextlib.suppress(OSError):
                        client.settimeout(30)
                        request = client.recv(65536)
                        while b"\r\n\r\n" not in request:
                            request += client.recv(65536)
                        for part in (response,) if isinstance(response, bytes) else response():
                            client.sendall(part)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(60)
