"""Bodies of HTTP answers, read with a bound: how many bytes arrive, and how many they become when decompressed.

httpx decompresses each chunk whole before anybody sees it, and one layer after the other, so that two kilobytes of
``gzip, gzip`` become gigabytes. Here the bytes are taken as they are sent, and decompressed in steps up to the limit.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx

ACCEPT_ENCODING = "gzip, deflate"
"""What :class:`BodyReader` can decode; to be sent with each request."""
_STEP = 1 << 20
_SMALL = 64 * 1024
"""Up to this size (bytes as sent) a body is decoded on the event loop, where that is quicker than a thread; it may
become at most :data:`_STEP` there."""
_OF_THE_CODING = ("content-encoding", "content-length", "transfer-encoding")
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


class BodyTooLargeError(httpx.DecodingError):
    """A body is larger than its reader's limit."""


class BodyReader:
    """Reads the bodies of one client's answers. Each has at most ``limit`` bytes, as sent and decompressed.

    Large bodies are read one after the other, so that many of them at once take the memory of one.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._large = asyncio.Lock()

    async def read(self, response: httpx.Response, limit: int | None = None) -> bytes:
        """The decoded body of an answer that was opened with ``stream``; ``limit`` instead of the reader's.

        Raises:
            BodyTooLargeError: it is over the limit.
            httpx.DecodingError: it is compressed more than once, in an unknown way, or damaged.
            httpx.HTTPError: the connection failed.
        """
        limit = self.limit if limit is None else limit
        coding = _coding(response)
        if response.is_stream_consumed:  # made in memory, by a transport without a network
            if len(response.content) > limit:
                raise _too_large(limit, response)
            return response.content
        chunks = response.aiter_raw(_SMALL)
        raw = bytearray()
        if await _fill(raw, chunks, min(limit, _STEP)):
            if not coding:
                return bytes(raw)
            if len(raw) <= _SMALL:
                try:
                    return _decoded(raw, coding, min(limit, _STEP), response)
                except BodyTooLargeError:
                    if limit <= _STEP:
                        raise
        async with self._large:
            if not await _fill(raw, chunks, limit):
                raw.clear()
                raise _too_large(limit, response)
            return await asyncio.to_thread(_decoded, raw, coding, limit, response) if coding else bytes(raw)


async def _fill(raw: bytearray, chunks: AsyncIterator[bytes], limit: int) -> bool:
    """Add chunks to ``raw`` while it is not over the limit; whether that were all of them."""
    while len(raw) <= limit:
        try:
            raw += await anext(chunks)
        except StopAsyncIteration:
            return True
    return False


class BoundedClient(httpx.AsyncClient):
    """An ``httpx.AsyncClient`` whose answers have bodies of at most ``body_limit`` bytes.

    Each request may also raise what `BodyReader.read` raises.
    """

    def __init__(self, body_limit: int, **options: Any) -> None:
        super().__init__(**options)
        self.headers["Accept-Encoding"] = ACCEPT_ENCODING
        self._bodies = BodyReader(body_limit)

    async def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:
        """See httpx. With ``stream`` nothing is read, and nothing bounded."""
        response = await super().send(request, stream=True, **options)
        if stream:
            return response
        try:
            body = await self._bodies.read(response)
        finally:
            await response.aclose()
        plain = [(name, value) for name, value in response.headers.multi_items() if name not in _OF_THE_CODING]
        return httpx.Response(response.status_code, headers=plain, content=body, request=request)


def _coding(response: httpx.Response) -> str:
    """The one content coding; empty for none.

    Raises:
        httpx.DecodingError: there are several, or one that was not offered.
    """
    named = [coding.strip().lower() for coding in response.headers.get("Content-Encoding", "").split(",")]
    codings = [coding for coding in named if coding not in ("", "identity")]
    if len(codings) > 1:
        raise httpx.DecodingError(
            f"the body is compressed {len(codings)} times, which is refused", request=response.request
        )
    if codings and codings[0] not in ("gzip", "x-gzip", "deflate"):
        raise httpx.DecodingError(
            f"the body's Content-Encoding {codings[0][:20]!r} was not offered", request=response.request
        )
    return codings[0] if codings else ""


def _too_large(limit: int, response: httpx.Response) -> BodyTooLargeError:
    size = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit >> 10} KiB"
    return BodyTooLargeError(f"the answer is over {size} and was not read", request=response.request)


def _decoded(raw: bytes | bytearray, coding: str, limit: int, response: httpx.Response) -> bytes:
    """Decompress in steps, so that a body over the limit never exists as a whole."""
    kinds = (_GZIP,) if coding.endswith("gzip") else (_ZLIB, _RAW)  # "deflate" without its header is common
    for kind in kinds:
        try:
            return _inflated(raw, kind, limit, response)
        except zlib.error as problem:
            if kind == kinds[-1]:
                raise httpx.DecodingError(f"the body is damaged: {problem}", request=response.request) from None
    raise AssertionError("unreachable: the last kind returns or raises")


def _inflated(raw: bytes | bytearray, kind: int, limit: int, response: httpx.Response) -> bytes:
    body, rest = bytearray(), bytes(raw)
    while rest:  # a gzip stream may have several members
        decoder = zlib.decompressobj(kind)
        while not decoder.eof:
            part = decoder.decompress(rest, _STEP)
            rest = decoder.unconsumed_tail
            body += part
            if len(body) > limit:
                body.clear()  # whoever holds the error holds this frame
                raise _too_large(limit, response)
            if not part and not rest and not decoder.eof:
                raise zlib.error("it ends too early")
        rest = decoder.unused_data if decoder.unused_data.startswith(_GZIP_MAGIC) else b""
    return bytes(body)
