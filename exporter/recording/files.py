"""A recording on disk: a folder with ``recording.json`` and one file of JSON lines for each kind of question.

Each line is one request with its answer, after the replacement; the folder is its owner's only (modes 0700 and 0600).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from collectors.errors import USAGE, NeonmeterError
from exporter.recording.domain.pseudonyms import Json

FORMAT = 1
SUMMARY = "recording.json"
SUSPENDS = "suspends.jsonl"


class RecordingError(NeonmeterError):
    """The folder cannot be used."""

    exit_code = USAGE


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer.

    ``at`` is this machine's clock when the answer was there (unix seconds), ``seconds`` how long it took. ``body`` is
    None when the answer was no JSON; ``unread`` then says so, with its size.
    """

    at: float
    seconds: float
    route: str
    path: str
    query: list[tuple[str, str]]
    status: int
    headers: dict[str, str]
    body: Json
    method: str = "GET"
    unread: str = ""


@dataclass(slots=True)
class Summary:
    """What a recording holds. ``clock`` is the API's clock minus ours in seconds: least, median, most."""

    neonmeter: str
    recorded_at: float
    hours: int
    format: int = FORMAT
    requests: int = 0
    routes: dict[str, int] = field(default_factory=dict)
    projects: int = 0
    branches: int = 0
    computes: int = 0
    usage_rows: int = 0
    operations: int = 0
    suspends: int = 0
    clock: tuple[float, float, float] | None = None
    replaced_texts: int = 0
    replaced_field_names: int = 0
    not_read: list[str] = field(default_factory=list)


class RecordingWriter:
    """Writes into a folder that it makes, or that is empty."""

    def __init__(self, folder: Path) -> None:
        """Make the folder.

        Raises:
            RecordingError: it holds something already, or cannot be made.
        """
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise RecordingError(f"{folder}: the folder is not empty; name a new one")
        except OSError as problem:
            raise RecordingError(f"{folder}: {problem.strerror}; name a folder that can be made") from None

    def add(self, exchange: Exchange) -> None:
        """Append one exchange to the file of its kind.

        Raises:
            RecordingError: the disk is full, or the folder has gone.
        """
        self._append(_file_of(exchange.path), asdict(exchange))

    def add_suspend(self, row: Json) -> None:
        """Append one suspend to its file.

        Raises:
            RecordingError: as `add`.
        """
        self._append(SUSPENDS, row)

    def finish(self, summary: Summary) -> None:
        """Write the summary; without it a recording is incomplete.

        Raises:
            RecordingError: as `add`.
        """
        self._write(SUMMARY, json.dumps(asdict(summary), indent=2) + "\n")

    def _append(self, name: str, row: object) -> None:
        self._write(name, json.dumps(row, allow_nan=False, separators=(",", ":")) + "\n")

    def _write(self, name: str, text: str) -> None:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
            with os.fdopen(os.open(self.folder / name, flags, 0o600), "w", encoding="ascii") as file:
                file.write(text)
        except OSError as problem:
            raise RecordingError(f"{self.folder / name}: {problem.strerror}") from None


def read_summary(folder: Path) -> dict[str, Any]:
    """What a recording says of itself.

    Raises:
        RecordingError: it is none, is incomplete, or of a later format.
    """
    try:
        found = json.loads((folder / SUMMARY).read_text("utf-8"))
        form, at = found["format"], float(found["recorded_at"])
    except OSError as problem:
        raise RecordingError(
            f"{folder / SUMMARY}: {problem.strerror}; name a folder that `neonmeter record` has filled to its end"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise RecordingError(f"{folder / SUMMARY}: this is not the summary of a recording") from None
    if form != FORMAT or not 0 < at < 1e11:
        raise RecordingError(f"{folder / SUMMARY}: format {form!r} is not {FORMAT}; use the neonmeter that made it")
    return dict(found)


def read_exchanges(folder: Path) -> Iterator[Exchange]:
    """All exchanges, file by file, each in the order in which they happened.

    Raises:
        RecordingError: a line is damaged.
    """
    for path in sorted(folder.glob("*.jsonl")):
        if path.name == SUSPENDS:
            continue
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = json.loads(line)
                    row["query"] = [(str(name), str(value)) for name, value in row["query"]]
                    yield Exchange(**row)
                except (ValueError, KeyError, TypeError, RecursionError):
                    raise RecordingError(f"{path}:{number}: this is no recorded request") from None


def _file_of(path: str) -> str:
    parts = path.strip("/").split("/")
    if parts[0] == "consumption_history":
        return "consumption.jsonl"
    if parts[0] != "projects":
        return "account.jsonl"
    if len(parts) <= 2 or parts[2:] in (["branches"], ["endpoints"]):
        return "inventory.jsonl"
    return "operations.jsonl" if parts[2:] == ["operations"] else "security.jsonl"
