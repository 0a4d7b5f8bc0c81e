"""What a database is compared with: its parent, a named branch, a file in git, or what somebody approved.

Approvals are files too, fit for git, so that approving needs no agent: ``<folder>/<project id>/<branch id>/
<database>.json`` holds who, when, why and the fingerprint.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import quote, unquote

from collectors.errors import UsageError
from collectors.neon.inventory import Inventory
from collectors.neon.models import Branch, Project
from collectors.postgres.domain.fingerprint import Fingerprint
from exporter.drift.settings import DriftSettings, DriftTree
from exporter.sampling.computes import DatabaseRef
from exporter.sampling.fingerprint_store import FingerprintStore, FingerprintSummary
from exporter.settings.dsn import matches

BranchKey = tuple[str, str]
"""Project id, branch id."""
Content = TypeVar("Content")


class FileCache(Generic[Content]):
    """Parsed files; one is parsed again when its size or its time of modification changed."""

    def __init__(self, parse: Callable[[Path, float], Content]) -> None:
        """``parse`` gets a path and its time of modification (unix seconds)."""
        self._parse = parse
        self._contents: dict[Path, tuple[tuple[int, int], Content | ValueError]] = {}

    def read(self, path: Path) -> Content:
        """The content of a file, as it is now.

        Raises:
            OSError: it cannot be read.
            ValueError: it cannot be parsed, nor could it the last time.
        """
        stat = path.stat()
        version = (stat.st_mtime_ns, stat.st_size)
        cached = self._contents.get(path)
        if cached is None or cached[0] != version:
            cached = self._contents[path] = (version, self._parsed(path, stat.st_mtime))
        if isinstance(cached[1], ValueError):
            raise cached[1]
        return cached[1]

    def _parsed(self, path: Path, modified: float) -> Content | ValueError:
        try:
            return self._parse(path, modified)
        except ValueError as problem:
            return problem


@dataclass(frozen=True, slots=True)
class BranchContext:
    """A branch, its project, and all branches of it by id."""

    project: Project
    branch: Branch
    branches: Mapping[str, Branch]

    @property
    def name(self) -> str:
        """``project/branch``, for a person."""
        return f"{self.project.name}/{self.branch.name}"


def branches_of(inventory: Inventory) -> dict[BranchKey, BranchContext]:
    """Every branch of the inventory."""
    by_project: dict[str, dict[str, Branch]] = {}
    for branch in inventory.branches.values():
        by_project.setdefault(branch.project_id, {})[branch.id] = branch
    return {
        (project_id, branch_id): BranchContext(inventory.projects[project_id], branch, branches)
        for project_id, branches in by_project.items()
        if project_id in inventory.projects
        for branch_id, branch in branches.items()
    }


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody approved the fingerprint with this digest. ``at`` in unix seconds."""

    digest: str
    at: float
    by: str
    reason: str


class ApprovalError(UsageError):
    """The folder of approvals cannot be written."""

    heading = "neonmeter cannot start with the settings:"


class Approvals:
    """The folder of approvals. A file that cannot be read is no approval, and is named in ``problems``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = FileCache(_approval)
        self.problems: dict[Path, str] = {}

    def all(self) -> dict[DatabaseRef, Approval]:
        """Every approval by database."""
        found: dict[DatabaseRef, Approval] = {}
        self.problems = {}
        for path in sorted(self._folder.glob("*/*/*.json")):
            try:
                approval = self._files.read(path)
            except (OSError, ValueError, KeyError, TypeError) as problem:
                self.problems[path] = f"{type(problem).__name__}: not an approval; approve again"
            else:
                found[DatabaseRef(path.parent.parent.name, path.parent.name, unquote(path.stem))] = approval
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
            ApprovalError: the folder cannot be written.
        """
        path = self.path(key)
        approved = json.dumps({"by": by, "at": at, "reason": reason, "digest": found.digest}, ensure_ascii=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                # One object a line, as in a fingerprint file: what an approval changed is then what git shows.
                file.write(f'{{"approved": {approved},\n"fingerprint": {found.to_json()}}}\n')
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except OSError as problem:
            raise ApprovalError(f"drift.approvals: {problem.filename}: {problem.strerror}") from problem
        return path

    def path(self, key: DatabaseRef) -> Path:
        """Where the approval of one database is."""
        return self._folder / key.project_id / key.branch_id / f"{quote(key.datname, safe='')}.json"


def approvals_of(settings: DriftTree) -> Approvals:
    """The folder of the settings, or one beside the store."""
    store = settings.storage.path
    return Approvals(settings.drift.approvals or store.with_name(store.name + ".approved"))


def _approval(path: Path, modified: float) -> Approval:
    del modified
    approved = json.loads(path.read_text("utf-8"))["approved"]
    return Approval(str(approved["digest"]), float(approved["at"]), str(approved["by"]), str(approved["reason"]))


def fingerprint_file(path: Path, modified: float) -> Fingerprint:
    """The fingerprint in a file, with its time of modification (unix seconds) as the time it was taken.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds none; the message says what to do.
    """
    return Fingerprint.from_json(path.read_text("utf-8"), taken_at=modified)


@dataclass(frozen=True, slots=True)
class Baseline:
    """The policy, and what it leads to. ``digest`` is empty where there is nothing to compare with; ``why`` says so."""

    policy: str
    """``parent``, ``branch``, ``git``, ``approved`` or ``none``: the value of the label."""
    name: str = ""
    """What a person calls it: the branch, the file, who approved."""
    digest: str = ""
    key: DatabaseRef | None = None
    path: Path | None = None
    why: str = ""

    @property
    def title(self) -> str:
        """The policy with the name: ``parent main``."""
        return f"{self.policy} {self.name}".rstrip()


class Baselines:
    """Finds the baseline of a database by the settings."""

    def __init__(self, settings: DriftSettings, fingerprints: FingerprintStore, approvals: Approvals) -> None:
        self._settings = settings
        self._fingerprints = fingerprints
        self._approvals = approvals
        self._git = FileCache(fingerprint_file)

    def of(
        self,
        key: DatabaseRef,
        context: BranchContext,
        summaries: Mapping[DatabaseRef, FingerprintSummary],
        approvals: Mapping[DatabaseRef, Approval],
    ) -> Baseline:
        """The baseline of one database; ``summaries`` are those of all databases that were read."""
        branch = context.branch
        policy = self._policy(key, context)
        if policy == "none":
            return Baseline("none", why="no baseline is wanted here (drift.baselines)")
        if policy.startswith("git:"):
            return self._file(Path(policy.removeprefix("git:")), key)
        if policy == "approved" or (policy == "default" and (key in approvals or not branch.parent_id)):
            return _approved(key, approvals.get(key))
        if policy.startswith("branch:"):
            wanted = policy.removeprefix("branch:")
            named = (other for other in context.branches.values() if matches(wanted, other.id, other.name))
            return _branch("branch", wanted, next(named, None), key, summaries)
        return _branch("parent", branch.parent_id, context.branches.get(branch.parent_id), key, summaries)

    def fingerprint(self, baseline: Baseline) -> Fingerprint | None:
        """The fingerprint of a baseline, with its objects; None when it is gone meanwhile."""
        if baseline.path is not None:
            try:
                return self._git.read(baseline.path)
            except (OSError, ValueError):
                return None
        if baseline.key is None:
            return None
        if baseline.policy == "approved":
            return self._approvals.read(baseline.key)
        return self._fingerprints.read(baseline.key)

    def _policy(self, key: DatabaseRef, context: BranchContext) -> str:
        project, branch = context.project, context.branch
        for rule in self._settings.baselines:
            if (
                matches(rule.project, project.id, project.name)
                and matches(rule.branch, branch.id, branch.name)
                and matches(rule.database, key.datname)
            ):
                return rule.baseline
        return "default"

    def _file(self, path: Path, key: DatabaseRef) -> Baseline:
        path = Path(str(path).replace("{database}", key.datname))
        try:
            digest = self._git.read(path).digest
        except OSError as problem:
            return Baseline("git", path.name, why=f"{path}: {problem.strerror}")
        except ValueError as problem:
            return Baseline("git", path.name, why=f"{path}: {problem}")
        return Baseline("git", path.name, digest, path=path)


def _approved(key: DatabaseRef, approval: Approval | None) -> Baseline:
    if approval is None:
        return Baseline("approved", why="it is not approved yet: `neonmeter drift approve`")
    return Baseline("approved", approval.by, approval.digest, key)


def _branch(
    policy: str, name: str, other: Branch | None, key: DatabaseRef, summaries: Mapping[DatabaseRef, FingerprintSummary]
) -> Baseline:
    if other is None:
        return Baseline(policy, name, why=f"the project has no branch {name}" if name else "it has no parent")
    there = key._replace(branch_id=other.id)
    known = summaries.get(there)
    if known is None:
        why = f"{key.datname} of branch {other.name} has not been read yet: it is asleep, or has no such database"
        return Baseline(policy, other.name, why=why)
    return Baseline(policy, other.name, known.digest, there)
