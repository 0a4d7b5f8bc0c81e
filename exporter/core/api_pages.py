"""Finished pages of detail under /api/v1/: what is too much for a label, as JSON and Markdown, made beforehand.

Whoever works something out puts its pages here as bytes; serving picks them up on its own threads and computes nothing.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = "/api/v1/"
JSON = "application/json"
MARKDOWN = "text/markdown; charset=utf-8"


@dataclass(frozen=True, slots=True)
class ApiPage:
    """One page, finished: a large fleet has many, so they are stored compressed, to about a tenth."""

    packed: bytes
    content_type: str = JSON

    @classmethod
    def of(cls, page: object) -> ApiPage:
        """Text is Markdown, everything else becomes JSON; what is finished stays as it is."""
        if isinstance(page, ApiPage):
            return page
        if isinstance(page, str):
            return cls(_packed(page), MARKDOWN)
        return cls(_packed(json.dumps(page, indent=1, ensure_ascii=False) + "\n"))

    @property
    def body(self) -> bytes:
        """What is sent."""
        return zlib.decompress(self.packed)


def _packed(text: str) -> bytes:
    return zlib.compress(text.encode("utf-8", "replace"), 1)


class ApiPages:
    """All pages by path. Safe from any thread: a change makes a new mapping and swaps it."""

    def __init__(self) -> None:
        self._pages: Mapping[str, ApiPage] = {}
        self._lock = threading.Lock()

    def replace(self, owner: str, pages: Mapping[str, object]) -> None:
        """All pages of one owner at once, by their path below it: see `ApiPage.of`.

        ``replace("drift", {"p1/br1": {...}, "p1/br1.md": "..."})`` is /api/v1/drift/p1/br1 and /api/v1/drift/p1/br1.md.
        """
        made = {f"{PREFIX}{owner}/{path}".rstrip("/"): ApiPage.of(page) for path, page in pages.items()}
        with self._lock:
            kept = {path: page for path, page in self._pages.items() if not _inside(path, owner)}
            self._pages = kept | made

    def put(self, owner: str, path: str, page: object) -> None:
        """One page more, or another one in its place."""
        with self._lock:
            self._pages = {**self._pages, f"{PREFIX}{owner}/{path}".rstrip("/"): ApiPage.of(page)}

    def retire(self, owner: str) -> None:
        """Take all pages of a owner away: its feature was switched off."""
        self.replace(owner, {})

    def get(self, path: str) -> ApiPage | None:
        """The page under a path; /api/v1 itself lists them all."""
        pages = self._pages
        if path.rstrip("/") + "/" == PREFIX:
            return ApiPage.of({"pages": sorted(pages)})
        return pages.get(path.rstrip("/"))


def _inside(path: str, owner: str) -> bool:
    return path == PREFIX + owner or path.startswith(f"{PREFIX}{owner}/")
