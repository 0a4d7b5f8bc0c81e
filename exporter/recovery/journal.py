"""The drills' journal: a file in which each line holds the digest of the one before, signed when there is a key.

A line that was changed, dropped or put in between shows; a cut-off end shows only to who noted the last digest.

A drill writes a line before it makes anything, so that what a killed drill left can be found.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from collectors.errors import UsageError
from exporter.settings import CoreSettings

BEGAN, ENDED, CLEANED = "began", "ended", "cleaned"
OK, FAILED, ABORTED = "ok", "failed", "aborted"
_NAME = re.compile(r"neonmeter-drill-(\d{8}T\d{6})Z-[0-9a-f]{6}\Z")
"""By its name alone a branch is known as one that a drill made, and that may be deleted."""
START = "0" * 64
"""What the first line holds as the digest of the line before."""


class JournalError(UsageError):
    """The file cannot be used; one line for a person."""

    heading = "neonmeter cannot start with the settings:"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at on the restored branch; ``ok`` None: it could not be decided."""

    name: str
    ok: bool | None
    detail: str


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill, as it is written down. Instants in unix seconds."""

    id: str
    project_id: str
    project_name: str
    branch_id: str
    branch_name: str
    at: float
    """The instant that was gone back to."""
    started_at: float
    copy_name: str
    """Name of the branch that was made."""
    kind: str = "pitr"
    copy_id: str = ""
    ended_at: float = 0.0
    result: str = ""
    """ok, failed, aborted; empty while it runs."""
    rto_seconds: float | None = None
    rpo_seconds: float | None = None
    steps: tuple[tuple[str, float], ...] = ()
    """What was done, and how many seconds it took."""
    checks: tuple[Check, ...] = ()
    error: str = ""
    cleaned: bool = False
    """Whether the branch that was made is known to be gone."""


@dataclass(frozen=True, slots=True)
class JournalCheck:
    """What checking the whole file brought; ``problem`` is empty when every line fits."""

    lines: int = 0
    signed: int = 0
    foreign: int = 0
    """Lines signed with another key than the one at hand: they cannot be checked."""
    head: str = START
    """Digest of the last line: whoever notes it can tell later whether the end was cut off."""
    problem: str = ""


@dataclass(slots=True)
class DrillJournal:
    """The file; ``key`` signs and checks. Reading needs neither key nor lock."""

    path: Path
    key: bytes | None = field(default=None, repr=False)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the file: one drill at a time, or one would delete the other's branch. A kill lets go of it.

        Raises:
            JournalError: another drill holds it, or the folder cannot be written.
        """
        name = self.path.with_name(self.path.name + ".lock")
        try:
            name.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield
        except BlockingIOError:
            raise JournalError(
                f"{self.path}: another drill is running; wait for it, or give this one its own recovery.drills"
            ) from None

    def write(self, what: str, drill: Drill, at: float) -> None:
        """Append a line; it is on the disk when this returns. Only inside ``alone``.

        Raises:
            JournalError: the disk refuses it.
        """
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o640)
            with os.fdopen(handle, "r+b") as file:
                lines = file.read().split(b"\n")
                file.truncate(sum(len(line) + 1 for line in lines[:-1]))  # Half a line was never written: killed.
                file.seek(0, os.SEEK_END)
                before = _digest(lines[-2]) if len(lines) > 1 else START
                file.write(self._line(len(lines), what, drill, at, before) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as problem:
            raise JournalError(f"{self.path}: {problem.strerror}; nothing was written") from None

    def _line(self, number: int, what: str, drill: Drill, at: float, before: str) -> bytes:
        tree: dict[str, Any] = {"n": number, "at": at, "what": what, "drill": asdict(drill), "before": before}
        if self.key is not None:
            tree["key"] = key_name(self.key)
            tree["signature"] = _sign(self.key, tree)
        return _plain(tree)

    def drills(self) -> tuple[Drill, ...]:
        """Every drill, oldest first, as its last line has it.

        Raises:
            JournalError: the file is not one of ours.
        """
        found: dict[str, Drill] = {}
        for number, line in enumerate(self._lines(), 1):
            try:
                drill = _drill(json.loads(line)["drill"])
            except (ValueError, TypeError, KeyError):
                raise JournalError(
                    f"{self.path}: line {number} is not an entry of a drill; see `neonmeter drill verify`"
                ) from None
            found[drill.id] = drill
        return tuple(found.values())

    def verify(self) -> JournalCheck:
        """Check every digest and, with the key, every signature.

        Raises:
            JournalError: the file cannot be read.
        """
        before, signed, foreign = START, 0, 0
        lines = self._lines()
        for number, line in enumerate(lines, 1):
            try:
                tree = json.loads(line)
                problem = self._wrong(tree, number, before, signed)
            except (ValueError, TypeError, KeyError, AttributeError):
                problem = "it is not an entry"
            if problem:
                return JournalCheck(len(lines), signed, foreign, before, f"line {number}: {problem}")
            signed += "signature" in tree
            foreign += "signature" in tree and (self.key is None or tree["key"] != key_name(self.key))
            before = _digest(line)
        return JournalCheck(len(lines), signed, foreign, before)

    def _wrong(self, tree: Mapping[str, Any], number: int, before: str, signed: int) -> str:
        if tree["n"] != number or tree["before"] != before:
            return "it does not follow the line before: one was changed, removed or inserted"
        if "signature" not in tree:
            return "it is not signed, although earlier lines are" if signed else ""
        if self.key is not None and tree["key"] == key_name(self.key):
            unsigned = {key: value for key, value in tree.items() if key != "signature"}
            if not hmac.compare_digest(_sign(self.key, unsigned), str(tree["signature"])):
                return "its signature does not match: it was changed"
        return ""

    def _lines(self) -> Sequence[bytes]:
        try:
            return self.path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return ()
        except OSError as problem:
            raise JournalError(f"{self.path}: {problem.strerror}") from None


def copy_name(now: float) -> str:
    """A name that says what the branch is for and since when (unix seconds), and that no other branch has."""
    return f"neonmeter-drill-{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%S}Z-{secrets.token_hex(3)}"


def began_at(name: str) -> float | None:
    """When the drill of a branch of this name began (unix seconds); None when it is not a drill's."""
    found = _NAME.match(name)
    if found is None:
        return None
    try:
        return datetime.strptime(found[1] + "+0000", "%Y%m%dT%H%M%S%z").timestamp()
    except ValueError:
        return None


def path_of(settings: CoreSettings) -> Path:
    """The file of the settings, or one beside the store."""
    store = settings.storage.path
    return settings.recovery.drills or store.with_name(store.name + ".drills")


def key_name(key: bytes) -> str:
    """Tells keys apart without telling them."""
    return hashlib.sha256(b"neonmeter drill key" + key).hexdigest()[:12]


def _sign(key: bytes, tree: Mapping[str, Any]) -> str:
    return hmac.new(key, _plain(tree), hashlib.sha256).hexdigest()


def _plain(tree: Mapping[str, Any]) -> bytes:
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _drill(tree: Mapping[str, Any]) -> Drill:
    steps = tuple((str(name), float(seconds)) for name, seconds in tree["steps"])
    checks = tuple(Check(**check) for check in tree["checks"])
    return Drill(**{**tree, "steps": steps, "checks": checks})
