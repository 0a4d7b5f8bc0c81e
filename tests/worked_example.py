"""The worked examples of CONTRIBUTING.md, carried out on a copy of the sources exactly as they stand there.

An example is what stands between ``<!-- example: NAME -->`` and ``<!-- end of example -->``. Each fenced block in it is
one change to the file that the text above the block names last, in backticks: a block of kind ``diff`` edits it (lines
without a sign must be there), any other block is the whole of a new file.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(
    r"(?P<before>.*?)^(?P<fence>`{3,})(?P<kind>\w+)\n(?P<text>.*?)^(?P=fence)$", re.DOTALL | re.MULTILINE
)
_PATH = re.compile(r"`([\w./-]+/[\w.-]+)`")


class Change(NamedTuple):
    """A block of an example: the text of a new file, or (``kind`` diff) an edit of one that is there."""

    path: str
    kind: str
    text: str


def changes(example: str) -> Iterator[Change]:
    """The blocks of an example in their order."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    section = re.search(rf"<!-- example: {example} -->\n(.*?)<!-- end of example -->", page, re.DOTALL)
    assert section, f"CONTRIBUTING.md has no example {example!r}"
    path = ""
    for block in _BLOCK.finditer(section[1]):
        path = [path, *_PATH.findall(block["before"])][-1]
        yield Change(path, block["kind"], block["text"])


def follow(example: str, folder: Path) -> Path:
    """A copy of the sources in ``folder`` in which an example was followed; the root of the copy."""
    root = folder / "checkout"
    caches = shutil.ignore_patterns("__pycache__", "node_modules", ".*_cache", ".git", ".venv")
    for name in ("collectors", "exporter", "dashboards", "alerts", "deploy", "docs", "tests"):
        shutil.copytree(ROOT / name, root / name, ignore=caches)
    for path in (*ROOT.glob("*.md"), ROOT / "pyproject.toml"):
        shutil.copy(path, root)
    # The servers of the tests are large and not touched by any example.
    (root / "tests/npm/node_modules").symlink_to((ROOT / "tests/npm/node_modules").resolve())
    for change in changes(example):
        path = root / change.path
        if change.kind == "diff":
            path.write_text(_edited(path.read_text(), change))
        else:
            assert not path.exists(), f"{change.path} exists already"
            path.write_text(change.text)
    return root


def _edited(text: str, change: Change) -> str:
    lines = change.text.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[:1] in " -")
    new = "".join(line[1:] for line in lines if line[:1] in " +")
    assert text.count(old) == 1, f"{change.path} does not hold once what the example edits:\n{old}"
    return text.replace(old, new)


def run(root: Path, *arguments: str) -> str:
    """Run Python in the copy; its output, which is shown when it fails."""
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    ran = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout
