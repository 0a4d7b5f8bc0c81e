"""What somebody approved: fingerprints as files, fit for git; so approving needs no agent, and waits for none.

One file a database: ``<folder>/<project id>/<branch id>/<database>.json`` holds who, when, why and the fingerprint.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from collectors.postgres.domain.fingerprint import Fingerprint
from exporter.drift.settings import DriftTree
from exporter.sampling.computes import DatabaseRef


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody said that this is how the database should be. ``at`` in unix seconds."""

    digest: str
    at: float
    by: str
    reason: str


class Approvals:
    """The folder. A file that cannot be read is no approval, and is named in ``problems``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[Path, tuple[tuple[int, int], Approval]] = {}
        self.problems: dict[Path, str] = {}

    def all(self) -> dict[DatabaseRef, Approval]:
        """Every approval by database; files that did not change are not read again."""
        found: dict[DatabaseRef, Approval] = {}
        self.problems = {}
        for path in sorted(self._folder.glob("*/*/*.json")):
            key = DatabaseRef(path.parent.parent.name, path.parent.name, unquote(path.stem))
            try:
                stat = path.stat()
                mark = (stat.st_mtime_ns, stat.st_size)
                held = self._held.get(path)
                if held is None or held[0] != mark:
                    held = self._held[path] = (mark, _approval(json.loads(path.read_text("utf-8"))))
                found[key] = held[1]
            except (OSError, ValueError, KeyError, TypeError) as problem:
                self.problems[path] = f"{type(problem).__name__}: not an approval; approve again"
        return found

    def read(self, key: DatabaseRef) -> Fingerprint | None:
        """The approved fingerprint of one database; None without one."""
        try:
            tree = json.loads(self.path(key).read_text("utf-8"))
            return Fingerprint.from_json(json.dumps(tree["fingerprint"]), taken_at=float(tree["approved"]["at"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, key: DatabaseRef, found: Fingerprint, *, by: str, reason: str, at: float) -> Path:
        """Approve; answers the file. A reader meets the old or the new one, never a half.

        Raises:
            OSError: the folder cannot be written.
        """
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        told = json.dumps({"by": by, "at": at, "reason": reason, "digest": found.digest}, ensure_ascii=False)
        handle, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            # One object a line, as in a fingerprint file: what an approval changed is then what git shows.
            file.write(f'{{"approved": {told},\n"fingerprint": {found.to_json()}}}\n')
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
        return path

    def path(self, key: DatabaseRef) -> Path:
        """Where the approval of one database is."""
        return self._folder / key.project_id / key.branch_id / f"{quote(key.datname, safe='')}.json"


def approvals_of(settings: DriftTree) -> Approvals:
    """The folder of the settings, or one beside the ledger."""
    ledger = settings.storage.path
    return Approvals(settings.drift.approvals or ledger.with_name(ledger.name + ".approved"))


def _approval(tree: Any) -> Approval:
    told = tree["approved"]
    return Approval(str(told["digest"]), float(told["at"]), str(told["by"]), str(told["reason"]))
