"""Reads the generated TypeScript types of `@neon/sdk`: the routes, and the fields of what they answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|[A-Za-z_$][\w$]*|-?\d+(?:\.\d+)?|\.\.\.|=>|[{}\[\]()<>|&;:?,=.]")
_DECLARED = re.compile(r"^export type (\w+) = ", re.MULTILINE)
TYPES = Path("dist") / "client" / "types.gen.d.ts"


@dataclass
class Shape:
    """A type: the fields of an object, the type of items, names of other types that are merged in, and literals."""

    fields: dict[str, Shape] = field(default_factory=dict)
    items: Shape | None = None
    names: list[str] = field(default_factory=list)
    literals: list[str] = field(default_factory=list)

    def merge(self, other: Shape) -> Shape:
        """This or that, or both: what either has may be there."""
        fields = dict(self.fields)
        for name, shape in other.fields.items():
            fields[name] = fields[name].merge(shape) if name in fields else shape
        items = self.items or other.items
        if self.items is not None and other.items is not None:
            items = self.items.merge(other.items)
        return Shape(fields, items, self.names + other.names, self.literals + other.literals)


class _Parser:
    """Types by recursive descent; what is not an object, a list, a union or a name is an empty shape."""

    def __init__(self, text: str) -> None:
        self.tokens = _TOKEN.findall(text)
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        token = self.peek()
        if wanted and token != wanted:
            raise ValueError(f"{wanted!r} expected, found {' '.join(self.tokens[self.at : self.at + 5])!r}")
        self.at += 1
        return token

    def type(self) -> Shape:
        if self.peek() == "|":
            self.take()
        shape = self.single()
        while self.peek() in ("|", "&"):
            self.take()
            shape = shape.merge(self.single())
        return shape

    def single(self) -> Shape:
        token = self.take()
        if token == "{":
            shape = self.object()
        elif token == "(":
            shape = self.type()
            self.take(")")
        elif token == "[":  # a tuple
            shape = Shape()
            while self.peek() != "]":
                shape = shape.merge(self.type())
                if self.peek() == ",":
                    self.take()
            self.take("]")
        elif token.startswith("'"):
            shape = Shape(literals=[token[1:-1]])
        elif token in ("Array", "ReadonlyArray"):
            self.take("<")
            shape = Shape(items=self.type())
            self.take(">")
        else:
            shape = self.name(token)
        while self.peek() == "[":
            self.take()
            if self.peek() == "]":
                shape = Shape(items=shape)
            else:
                self.type()
            self.take("]")
        return shape

    def name(self, token: str) -> Shape:
        if token in ("keyof", "readonly"):
            return self.single()
        if self.peek() == "<":
            self.take()
            inner = self.type()
            while self.peek() == ",":
                self.take()
                self.type()
            self.take(">")
            return inner
        return Shape(names=[token]) if token[:1].isupper() else Shape()

    def object(self) -> Shape:
        found: dict[str, Shape] = {}
        while self.peek() != "}":
            token = self.take()
            if token == "readonly" and self.peek() not in (":", "?"):
                token = self.take()
            if token == "[":  # [key: string]: of a map
                while self.take() != "]":
                    pass
                token = "*"
            if self.peek() == "?":
                self.take()
            self.take(":")
            found[token.strip("'")] = self.type()
            if self.peek() in (";", ","):
                self.take()
        self.take("}")
        return Shape(found)


class Sdk:
    """The types of one version of the client."""

    def __init__(self, package: Path) -> None:
        """``package`` is the folder of the npm package."""
        text = _COMMENT.sub("", (package / TYPES).read_text("utf-8"))
        starts = [(found[1], found.end()) for found in _DECLARED.finditer(text)]
        ends = [*(found.start() for found in _DECLARED.finditer(text)), len(text)][1:]
        self._texts = {name: text[start:end] for (name, start), end in zip(starts, ends, strict=True)}
        self._shapes: dict[str, Shape] = {}

    @cached_property
    def routes(self) -> dict[str, str]:
        """By route that can be read (GET), the name of the operation."""
        reading = re.compile(r"url: '([^']+)'")
        found: dict[str, str] = {}
        for name in self._texts:
            if name.endswith("Data") and name.startswith(("Get", "List", "Count", "Query")):
                route = reading.search(self._texts[name])
                if route and f"{name.removesuffix('Data')}Responses" in self._texts:
                    found.setdefault(route[1], name.removesuffix("Data"))
        return found

    def answer(self, route: str) -> Shape:
        """What a route answers with 200.

        Raises:
            KeyError: it is not there.
        """
        return self.resolved(self.shape(f"{self.routes[route]}Responses").fields["200"])

    def shape(self, name: str) -> Shape:
        """A declared type.

        Raises:
            KeyError: it is not there.
        """
        if name not in self._shapes:
            self._shapes[name] = _Parser(self._texts[name]).type()
        return self._shapes[name]

    def resolved(self, shape: Shape) -> Shape:
        """With the types that it names put in, one level deep."""
        done: set[str] = set()
        while names := [name for name in shape.names if name in self._texts and name not in done]:
            rest = Shape(shape.fields, shape.items, [], shape.literals)
            for name in names:
                done.add(name)
                rest = rest.merge(self.shape(name))
            shape = rest
        return shape

    def paths(self, shape: Shape, before: str = "", depth: int = 8) -> Iterator[str]:
        """Every field below a shape, as ``branches.created_by.name``; of lists and maps those of the items."""
        shape = self.resolved(shape)
        if shape.items is not None:
            yield from self.paths(shape.items, before, depth)
        if depth:
            for name, inner in shape.fields.items():
                path = before if name == "*" else f"{before}.{name}".lstrip(".")
                yield path
                yield from self.paths(inner, path, depth - 1)
