"""What of an answer may stay as it is, and what all else becomes: the same text the same replacement, everywhere.

A list of what stays, never of what goes: numbers, booleans, nulls and the structure always; an instant by its form; a
word of an enumeration in a field that holds one; the name of a field when Neon's API types have it or all its words.
Any other text is replaced, so text that nobody foresaw cannot leave.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_INSTANT = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?|\d\d:\d\d", re.ASCII)
_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", re.ASCII)
_VERSION = re.compile(r"\d{1,8}(\.\d{1,6}){0,3}", re.ASCII)
_LSN = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}")
_NUMBER = re.compile(r"\d{1,4}", re.ASCII)
_COUNT = re.compile(r"\d{1,6}", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PREFIXED = re.compile(r"(org|br|ep|snap)-[A-Za-z0-9-]+", re.ASCII)
_HOST = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+\.?", re.ASCII)
_BETWEEN_WORDS = re.compile(r"[_\-. :]")
_MOST_PARTS = 8
_PUNCTUATION = ".,;:!?()[]{}'\"`"
_POOLER = "-pooler"
_LONGEST_HOST = 253
_CONTENT_TYPES = frozenset({"application/json", "text/html", "text/plain", "application/problem+json"})
_DATES = frozenset({"date", "retry-after"})
_COUNTS = frozenset({
    "retry-after", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset",
    "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset",
})  # fmt: skip


@dataclass(frozen=True)
class Vocabulary:
    """The words that stay.

    ``fields`` are names of fields, ``segments`` parts of paths, ``values`` the words of enumerations, which stay only
    in ``word_fields``; ``message`` those of an error's text; ``version_fields`` hold versions. What stands below one of
    ``maps`` is somebody's own.
    """

    fields: frozenset[str]
    segments: frozenset[str]
    values: frozenset[str]
    message: frozenset[str]
    word_fields: frozenset[str]
    version_fields: frozenset[str]
    maps: frozenset[str]

    @cached_property
    def field_words(self) -> frozenset[str]:
        """The words that the names of fields are made of: a field that Neon adds is mostly made of them too."""
        return frozenset(word for name in self.fields for word in name.split("_") if word.isalpha())

    def has_field(self, name: str) -> bool:
        """Whether a name is one that the API may have given to a field."""
        words = name.split("_")
        return name in self.fields or (len(words) <= _MOST_PARTS and all(word in self.field_words for word in words))

    def has_value(self, text: str) -> bool:
        """Whether a text consists of words of enumerations, such as ``launch_v3`` or ``aws-eu-central-1``."""
        parts = _BETWEEN_WORDS.split(text.lower())
        words = [part for part in parts if not (part.isascii() and part.isdigit() and len(part) < 4)]
        return len(parts) <= _MOST_PARTS and bool(words) and all(word in self.values for word in words)


class Pseudonyms:
    """Replaces, and remembers by what. Two texts never become the same."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._words = vocabulary
        self._of: dict[str, str] = {}
        self._domains: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._count = 0

    @property
    def texts(self) -> int:
        """Different texts that were replaced."""
        return len(self._of)

    @property
    def field_names(self) -> int:
        """Different names within objects that were replaced."""
        return len(self._names)

    def body(self, tree: Json, *, error: bool = False) -> Json:
        """A JSON answer with its texts replaced; of an ``error`` the known words of the message stay."""
        if error and isinstance(tree, dict) and isinstance(message := tree.get("message"), str):
            rest = {name: value for name, value in tree.items() if name != "message"}
            replaced = self._object(rest, own=False)
            told = {"message": self.message(message)}
            return {**told, **replaced} if next(iter(tree)) == "message" else {**replaced, **told}
        return self._tree(tree, "", own=False)

    def message(self, text: str) -> str:
        """The text of an error: words that the list has stay, and so do small numbers; everything else is replaced."""
        return " ".join(self._token(token) for token in text.split())

    def path(self, path: str) -> str:
        """A path with everything replaced that is no fixed part of a route."""
        return "/".join(part if not part or part in self._words.segments else self.of(part) for part in path.split("/"))

    def route(self, route: str) -> str:
        """A route as `route_of` makes it, with ``{id}`` for a part that is neither fixed nor a name in braces."""
        known = self._words.segments
        return "/".join(
            part if not part or part in known or part.startswith("{") else "{id}" for part in route.split("/")
        )

    def query(self, pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """The parameters of a question; a list separated by commas is replaced item by item."""
        return [
            (self.name(name), ",".join(self._parameter(name, part) for part in value.split(",")))
            for name, value in pairs
        ]

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The few headers that say something of the API; others are left out, and so is a value of unknown form."""
        found: dict[str, str] = {}
        for name, value in headers.items():
            known = name.lower()
            if known == "content-type" and value.partition(";")[0].strip().lower() in _CONTENT_TYPES:
                found[known] = value.partition(";")[0].strip().lower()
            elif (known in _DATES and _HTTP_DATE.fullmatch(value)) or (known in _COUNTS and _COUNT.fullmatch(value)):
                found[known] = value
        return found

    def name(self, name: str) -> str:
        """The name of a field or a parameter: as it is when it is one of the API's, else what stands for it."""
        if not name or self._words.has_field(name):
            return name
        return self._names.setdefault(name, self.of(name))

    def of(self, text: str, field: str = "") -> str:
        """What stands for a text; ``field`` only chooses its form when it is new."""
        known = self._of.get(text)
        if known is None:
            known = self._of[text] = self._form(text, field)
        return known

    def _tree(self, tree: Json, field: str, *, own: bool) -> Json:
        if isinstance(tree, dict):
            return self._object(tree, own=own or field in self._words.maps)
        if isinstance(tree, list):
            return [self._tree(item, field, own=own) for item in tree]
        return self._text(tree, field, own=own) if isinstance(tree, str) else tree

    def _object(self, tree: dict[str, Json], *, own: bool) -> dict[str, Json]:
        replaced: dict[str, Json] = {}
        for name, value in tree.items():
            said = self._names.setdefault(name, self.of(name)) if own and name else self.name(name)
            replaced[said] = self._tree(value, name, own=own)
        return replaced

    def _text(self, text: str, field: str, *, own: bool) -> str:
        if not text:
            return text
        if not own:
            if _INSTANT.fullmatch(text):
                return text
            if field in self._words.word_fields and self._words.has_value(text):
                return text
            if field in self._words.version_fields and _VERSION.fullmatch(text):
                return text
            if field.endswith("lsn") and _LSN.fullmatch(text):
                return text
        return self.of(text, field)

    def _parameter(self, name: str, part: str) -> str:
        if not part or _INSTANT.fullmatch(part) or _COUNT.fullmatch(part) or part in ("true", "false"):
            return part
        if name in self._words.word_fields and self._words.has_value(part):
            return part
        return self.of(part, name)

    def _token(self, token: str) -> str:
        core = token.strip(_PUNCTUATION)
        if not core or core.lower() in self._words.message or _NUMBER.fullmatch(core) or _INSTANT.fullmatch(core):
            return token
        before, _, after = token.partition(core)
        return f"{before}{self.of(core)}{after}"

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _form(self, text: str, field: str) -> str:
        """A replacement of the same kind, so that whoever reads a host or an id still can."""
        if len(text) <= _LONGEST_HOST and _HOST.fullmatch(text) and not _is_address(text):
            first, _, domain = text.partition(".")
            pooled = _POOLER if first.endswith(_POOLER) else ""
            return f"{self.of(first.removesuffix(_POOLER), 'host')}{pooled}.{self._domain(domain)}"
        if "@" in text and "://" not in text:
            return f"user{self._next()}@{self._domain(text.rpartition('@')[2])}"
        number = self._next()
        if _UUID.fullmatch(text):
            return f"00000000-0000-4000-8000-{number:012x}"
        if _is_address(text):
            mask = "/32" if "/" in text else ""
            return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}{mask}"
        if prefixed := _PREFIXED.fullmatch(text):
            return f"{prefixed[1]}-x{number}"
        return f"https://url{number}.invalid/" if "://" in text else f"{_kind(field)}-{number}"

    def _domain(self, domain: str) -> str:
        """A domain is a host too, and one host may be the domain of another."""
        if "." in domain:
            return self.of(domain)
        if domain not in self._domains:
            self._domains[domain] = f"d{self._next()}.invalid"
        return self._domains[domain]


_KINDS: Final = ("id", "name", "cursor", "host", "email", "key", "token")


def _kind(field: str) -> str:
    """What a replacement is called: the last word of its field where that is one of a few, else ``text``."""
    last = field.rpartition("_")[2].removesuffix("s")
    return last if last in _KINDS else "text"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
