"""Finished pages of detail under /api/v1/: what is too much for a label, as JSON and Markdown, made beforehand.

Whoever works something out puts its pages here as bytes; serving picks them up on its own threads and computes nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = "/api/v1/"
JSON = "application/json"
MARKDOWN = "text/markdown; charset=utf-8"


@dataclass(frozen=True, slots=True)
class ApiPage:
    """One page: its bytes and their type."""

    body: bytes
    content_type: str = JSON


class ApiPages:
    """All pages by path. Safe from any thread: a change makes a new mapping and swaps it."""

    def __init__(self) -> None:
        self._pages: Mapping[str, ApiPage] = {}
        self._lock = threading.Lock()

    def replace(self, owner: str, pages: Mapping[str, object | str]) -> None:
        """All pages of one owner at once, by their path below it: text is Markdown, everything else becomes JSON.

        ``replace("drift", {"p1/br1": {...}, "p1/br1.md": "..."})`` is /api/v1/drift/p1/br1 and /api/v1/drift/p1/br1.md.
        """
        made = {f"{PREFIX}{owner}/{path}".rstrip("/"): _detail(page) for path, page in pages.items()}
        with self._lock:
            kept = {path: page for path, page in self._pages.items() if not _inside(path, owner)}
            self._pages = kept | made

    def put(self, owner: str, path: str, page: object) -> None:
        """One page more, or another one in its place."""
        with self._lock:
            self._pages = {**self._pages, f"{PREFIX}{owner}/{path}".rstrip("/"): _detail(page)}

    def retire(self, owner: str) -> None:
        """Take all pages of a owner away: its feature was switched off."""
        self.replace(owner, {})

    def get(self, path: str) -> ApiPage | None:
        """The page under a path; /api/v1 itself lists them all."""
        pages = self._pages
        if path.rstrip("/") + "/" == PREFIX:
            return _detail({"pages": sorted(pages)})
        return pages.get(path.rstrip("/"))


def _inside(path: str, owner: str) -> bool:
    return path == PREFIX + owner or path.startswith(f"{PREFIX}{owner}/")


def _detail(page: object) -> ApiPage:
    if isinstance(page, str):
        return ApiPage(page.encode("utf-8", "replace"), MARKDOWN)
    return ApiPage((json.dumps(page, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace"))
