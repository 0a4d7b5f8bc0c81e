"""The runbooks of our alerts under /runbooks/: a notification links here, so that it needs no other site to be of use.

They come with the program (alerts/runbooks/*.md, in the wheel as a resource) and are read once, when first asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from html import escape
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from exporter.serving.style import CSS

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
        (traversable for traversable in folder.iterdir() if traversable.name.endswith(".md")),
        key=lambda entry: entry.name,
    )
    return {traversable.name.removesuffix(".md"): traversable.read_text("utf-8") for traversable in found}


def page(path: str) -> str | None:
    """The page under a path: /runbooks lists all, /runbooks/NAME is one; None when there is no such runbook."""
    name = path.removeprefix(PREFIX).strip("/")
    if not name:
        items = "".join(f'<li><a href="{PREFIX}/{escape(entry)}">{escape(entry)}</a></li>' for entry in texts())
        return _html("Runbooks", f"<section><ul>{items}</ul></section>")
    text = texts().get(name)
    return None if text is None else _html(name, "".join(_blocks(text)))


def _html(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)} - neonmeter</title>'
        f"<style>{CSS}pre{{overflow-x:auto;background:var(--bg);padding:10px;border-radius:6px}}</style>"
        f"<header><h1>{escape(title)}</h1></header>"
        f'<main>{body}<nav><a href="{PREFIX}">All runbooks</a><a href="/">Overview</a></nav></main></html>'
    )


def _inline(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text, quote=False))


def _blocks(text: str) -> Iterator[str]:
    """Headings of two levels, paragraphs of one line, lists and fenced code: our runbooks use nothing else."""
    listing = opened = False
    code: list[str] | None = None
    for line in text.splitlines():
        if code is not None:
            if line.startswith("```"):
                yield f"<pre><code>{escape(chr(10).join(code), quote=False)}</code></pre>"
                code = None
            else:
                code.append(line)
            continue
        if listing and not line.startswith("- "):
            yield "</ul>"
        elif not listing and line.startswith("- "):
            yield "<ul>"
        listing = line.startswith("- ")
        if line.startswith("```"):
            code = []
        elif line.startswith("## "):
            yield f"{'</section>' if opened else ''}<section><h2>{_inline(line[3:])}</h2>"
            opened = True
        elif listing:
            yield f"<li>{_inline(line[2:])}</li>"
        elif line and not line.startswith("# "):
            yield f"<p>{_inline(line)}</p>"
    yield f"{'</ul>' if listing else ''}{'</section>' if opened else ''}"
