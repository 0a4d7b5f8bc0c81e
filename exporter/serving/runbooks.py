"""The runbooks of our alerts under /runbooks/: a notification links here, so that it needs no other site to be of use.

They come with the program (alerts/runbooks/*.md, in the wheel as a resource) and are read once, when first asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from exporter.documents.html import render

PREFIX = "/runbooks"
_CODE = re.compile(r"`([^`]+)`")


def _folder() -> Traversable:
    packed = resources.files("exporter") / "resources" / "alerts" / "runbooks"
    return packed if packed.is_dir() else Path(__file__).resolve().parents[2] / "alerts" / "runbooks"


@cache
def texts() -> Mapping[str, str]:
    """Markdown by the name of the alert; empty where the program came without its alerts."""
    folder = _folder()
    if not folder.is_dir():
        return {}
    found = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".md")),
        key=lambda file: file.name,
    )
    return {file.name.removesuffix(".md"): file.read_text("utf-8") for file in found}


def page(path: str) -> str | None:
    """The page under a path: /runbooks lists all, /runbooks/NAME is one; None when there is no such runbook."""
    name = path.removeprefix(PREFIX).strip("/")
    if not name:
        return _page("Runbooks", names=list(texts()))
    text = texts().get(name)
    return None if text is None else _page(name, sections=_sections(text))


def _page(title: str, names: Sequence[str] = (), sections: Sequence[Section] = ()) -> str:
    return render(
        "exporter.serving:runbooks.html.j2",
        title=f"{title} - neonmeter",
        refresh_seconds=0,
        heading=title,
        prefix=PREFIX,
        names=names,
        sections=sections,
    )


Inline = list[str]
"""A line in parts: every second one is code."""


@dataclass(slots=True)
class Block:
    """A paragraph, a list or fenced code."""

    text: Inline = field(default_factory=list)
    items: list[Inline] = field(default_factory=list)
    code: str | None = None


@dataclass(slots=True)
class Section:
    """A heading with what stands under it."""

    title: Inline
    blocks: list[Block] = field(default_factory=list)


def _sections(text: str) -> list[Section]:
    """Headings of two levels, paragraphs of one line, lists and fenced code: our runbooks use nothing else."""
    sections: list[Section] = []
    blocks: list[Block] = []
    code: list[str] | None = None
    before = ""
    for line in text.splitlines():
        if code is not None:
            if line.startswith("```"):
                blocks.append(Block(code="\n".join(code)))
                code = None
            else:
                code.append(line)
        elif line.startswith("```"):
            code = []
        elif line.startswith("## "):
            sections.append(Section(_inline(line[3:])))
            blocks = sections[-1].blocks
        elif line.startswith("- "):
            if not before.startswith("- "):
                blocks.append(Block())
            blocks[-1].items.append(_inline(line[2:]))
        elif line and not line.startswith("# "):
            blocks.append(Block(_inline(line)))
        before = line
    return sections


def _inline(text: str) -> Inline:
    return _CODE.split(text)
