"""What a database is measured by: its parent, a named branch, a file in git, or what somebody approved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from collectors.neon.models import Branch, Project
from collectors.postgres.domain.fingerprint import Fingerprint
from exporter.drift.approvals import Approval, Approvals
from exporter.drift.settings import DriftSettings
from exporter.sampling.computes import DatabaseRef
from exporter.sampling.fingerprint_store import FingerprintStore, FingerprintSummary
from exporter.settings.dsn import matches


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


class GitFiles:
    """Fingerprint files, read again when they change."""

    def __init__(self) -> None:
        self._held: dict[Path, tuple[tuple[int, int], Fingerprint | str]] = {}

    def read(self, path: Path) -> Fingerprint | str:
        """The fingerprint, or one line on why there is none."""
        try:
            stat = path.stat()
            mark = (stat.st_mtime_ns, stat.st_size)
            held = self._held.get(path)
            if held is not None and held[0] == mark:
                return held[1]
            found: Fingerprint | str = Fingerprint.from_json(path.read_text("utf-8"), taken_at=stat.st_mtime)
        except OSError as problem:
            return f"{path}: {problem.strerror}"
        except ValueError as problem:
            found = f"{path}: {problem}"
        self._held[path] = (mark, found)
        return found


class Baselines:
    """Answers what a database is measured by."""

    def __init__(self, settings: DriftSettings, fingerprints: FingerprintStore, approvals: Approvals) -> None:
        self._settings = settings
        self._fingerprints = fingerprints
        self._approvals = approvals
        self._git = GitFiles()

    def of(
        self,
        key: DatabaseRef,
        project: Project,
        branches: Mapping[str, Branch],
        held: Mapping[DatabaseRef, FingerprintSummary],
        approvals: Mapping[DatabaseRef, Approval],
    ) -> Baseline:
        """The baseline of one database; ``branches`` are those of its project, by id."""
        branch = branches[key.branch_id]
        policy = self._policy(key, project, branch)
        if policy == "none":
            return Baseline("none", why="no baseline is wanted here (drift.baselines)")
        if policy.startswith("git:"):
            return self._file(Path(policy.removeprefix("git:")), key)
        if policy == "approved" or (policy == "default" and (key in approvals or not branch.parent_id)):
            return _approved(key, approvals.get(key))
        if policy.startswith("branch:"):
            wanted = policy.removeprefix("branch:")
            other = next((entry for entry in branches.values() if matches(wanted, entry.id, entry.name)), None)
            return _branch("branch", wanted, other, key, held)
        return _branch("parent", branch.parent_id, branches.get(branch.parent_id), key, held)

    def fingerprint(self, baseline: Baseline) -> Fingerprint | None:
        """The body of a baseline."""
        if baseline.path is not None:
            found = self._git.read(baseline.path)
            return found if isinstance(found, Fingerprint) else None
        if baseline.key is None:
            return None
        if baseline.policy == "approved":
            return self._approvals.read(baseline.key)
        return self._fingerprints.read(baseline.key)

    def _policy(self, key: DatabaseRef, project: Project, branch: Branch) -> str:
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
        found = self._git.read(path)
        if isinstance(found, str):
            return Baseline("git", path.name, why=found)
        return Baseline("git", path.name, found.digest, path=path)


def _approved(key: DatabaseRef, approval: Approval | None) -> Baseline:
    if approval is None:
        return Baseline("approved", why="nobody has approved it yet: `neonmeter drift approve`")
    return Baseline("approved", approval.by, approval.digest, key)


def _branch(
    policy: str, name: str, other: Branch | None, key: DatabaseRef, held: Mapping[DatabaseRef, FingerprintSummary]
) -> Baseline:
    if other is None:
        return Baseline(policy, name, why=f"the project has no branch {name}" if name else "it has no parent")
    there = key._replace(branch_id=other.id)
    known = held.get(there)
    if known is None:
        why = f"{key.datname} of branch {other.name} has not been read yet: it is asleep, or has no such database"
        return Baseline(policy, other.name, why=why)
    return Baseline(policy, other.name, known.digest, there)
