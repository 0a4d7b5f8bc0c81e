"""The migrations of a tool as files in git, to find what is pending, unknown or changed.

Only the files are read: no tool is run. Checksums are computed where the tool's form is known (Flyway's CRC-32 over
lines, Prisma's and Drizzle's SHA-256), and are absent everywhere else.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from collectors.errors import UsageError
from exporter.drift.domain.migrations import Expected, Manifest, ancestry


class ManifestError(UsageError):
    """The files cannot be used: the message says which, what is wrong, and what to do."""


def read(tool: str, path: Path) -> Manifest:
    """The manifest of one tool: ``path`` is its plan file (Sqitch) or the folder with its migrations.

    Raises:
        ManifestError: there is no such tool, path or migration, or a file cannot be understood.
    """
    reader = READERS.get(tool)
    if reader is None:
        raise ManifestError(f"{tool}: no such migration tool; use one of {', '.join(sorted(READERS))}")
    try:
        expected = tuple(reader(path))
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "not UTF-8 text"
        raise ManifestError(f"{path}: {reason}; name the {tool} migrations' file or folder") from None
    if not expected:
        raise ManifestError(f"{path}: holds no {tool} migration; name the file or folder that does")
    return Manifest(tool, expected, heads_only=tool in ("alembic", "golang-migrate"))


def _sqitch(path: Path) -> Iterator[Expected]:
    project = ""
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("%project="):
            project = line.partition("=")[2].strip()
        elif line.strip() and line[0] not in "%@#" and not line.startswith("-"):
            yield Expected(f"{project}:{line.split()[0]}")


_FLYWAY = re.compile(r"(?:V(?P<version>[0-9][0-9._]*)|R)__(?P<description>.+)\.sql\Z")


def _flyway(path: Path) -> Iterator[Expected]:
    found = []
    for file in path.rglob("*.sql"):
        if match := _FLYWAY.match(file.name):
            version = (match["version"] or "").replace("_", ".").strip(".")
            name = version or "R__" + match["description"].replace("_", " ")
            parts = tuple(int(part) for part in version.split(".") if part) if version else ()
            found.append((not version, parts, Expected(name, _flyway_checksum(file), repeatable=not version)))
    yield from (expected for _, _, expected in sorted(found, key=lambda file: (*file[:2], file[2].id)))


def _flyway_checksum(file: Path) -> str:
    crc = 0
    for line in re.split(r"\r\n|\r|\n", file.read_text("utf-8-sig")):
        crc = zlib.crc32(line.encode(), crc)
    return str(crc - (1 << 32) if crc >= 1 << 31 else crc)


_CHANGESET = re.compile(r"--\s*changeset\s+(?P<author>[^:\s]+):(?P<id>\S+)", re.IGNORECASE)


def _liquibase(path: Path) -> Iterator[Expected]:
    files = [path] if path.is_file() else sorted(path.rglob("*.sql"))
    root = path.parent if path.is_file() else path
    for file in files:
        for match in _CHANGESET.finditer(file.read_text("utf-8")):
            yield Expected(f"{file.relative_to(root).as_posix()}::{match['id']}::{match['author']}")


def _prisma(path: Path) -> Iterator[Expected]:
    for file in sorted(path.glob("*/migration.sql")):
        yield Expected(file.parent.name, hashlib.sha256(file.read_bytes()).hexdigest())


def _alembic(path: Path) -> Iterator[Expected]:
    parents: dict[str, tuple[str, ...]] = {}
    for file in sorted(path.glob("*.py")):
        known = dict(_assigned(file))
        revision, down = known.get("revision"), known.get("down_revision")
        if isinstance(revision, str):
            above = (down,) if isinstance(down, str) else tuple(down) if isinstance(down, list | tuple) else ()
            parents[revision] = tuple(str(name) for name in above)
    ancestors = ancestry(parents)
    for revision in sorted(parents, key=lambda name: (len(ancestors[name]), name)):
        yield Expected(revision, ancestors=ancestors[revision])


def _assigned(file: Path) -> Iterator[tuple[str, object]]:
    """Literals that a Python file assigns at its top level; the file is parsed, never run."""
    try:
        tree = ast.parse(file.read_text("utf-8"))
    except SyntaxError as problem:
        raise ManifestError(f"{file}:{problem.lineno}: not Python; correct the file") from None
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        value = getattr(node, "value", None)
        for target in targets:
            if isinstance(target, ast.Name) and value is not None:
                try:
                    yield target.id, ast.literal_eval(value)
                except ValueError:
                    continue


def _django(path: Path) -> Iterator[Expected]:
    for file in sorted(path.glob("**/migrations/[0-9]*.py")):
        yield Expected(f"{file.parent.parent.name}.{file.stem}")


def _typeorm(path: Path) -> Iterator[Expected]:
    named = (re.fullmatch(r"(\d{13})-(\w+)\.(?:ts|js)", file.name) for file in path.iterdir())
    for stamp, name in sorted(match.groups() for match in named if match):
        yield Expected(f"{name}{stamp}")


def _rails(path: Path) -> Iterator[Expected]:
    yield from (Expected(version) for version in _versions(path, r"(\d{14})_\w+\.rb"))


def _goose(path: Path) -> Iterator[Expected]:
    yield from (Expected(str(int(version))) for version in _versions(path, r"(\d+)_\w+\.(?:sql|go)"))


def _golang(path: Path) -> Iterator[Expected]:
    before: list[str] = []
    for version in _versions(path, r"(\d+)_.+\.up\.\w+"):
        yield Expected(str(int(version)), ancestors=frozenset(before))
        before.append(str(int(version)))


def _versions(path: Path, pattern: str) -> list[str]:
    found = (re.fullmatch(pattern, file.name) for file in path.iterdir())
    return sorted({match[1] for match in found if match}, key=int)


def _knex(path: Path) -> Iterator[Expected]:
    for file in sorted(path.iterdir()):
        if file.suffix in (".js", ".ts", ".cjs", ".mjs"):
            yield Expected(file.name)


def _drizzle(path: Path) -> Iterator[Expected]:
    journal = path / "meta" / "_journal.json"
    try:
        for migration in json.loads(journal.read_text("utf-8"))["entries"]:
            text = (path / f"{migration['tag']}.sql").read_bytes()
            yield Expected(str(migration["when"]), hashlib.sha256(text).hexdigest())
    except (ValueError, KeyError, TypeError):
        raise ManifestError(f"{journal}: not Drizzle's journal; generate it again") from None


def _atlas(path: Path) -> Iterator[Expected]:
    yield from (Expected(version) for version in _versions(path, r"(\d+)(?:_.*)?\.sql"))


READERS: dict[str, Callable[[Path], Iterator[Expected]]] = {
    "sqitch": _sqitch,
    "flyway": _flyway,
    "liquibase": _liquibase,
    "prisma": _prisma,
    "alembic": _alembic,
    "django": _django,
    "typeorm": _typeorm,
    "rails": _rails,
    "golang-migrate": _golang,
    "knex": _knex,
    "goose": _goose,
    "drizzle": _drizzle,
    "atlas": _atlas,
}
