"""Migration histories against the baseline branch, against the files in git, and of tenants among each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from collectors.base import Status
from collectors.metric import Families
from collectors.neon.models import Project
from collectors.postgres.domain.migrations import History, majority
from exporter.drift import manifests, metrics
from exporter.drift.baselines import Baseline
from exporter.drift.domain.migrations import Manifest, MigrationState, behind, divergence, standing
from exporter.drift.manifests import ManifestError
from exporter.drift.settings import DriftSettings
from exporter.drift.store import StoredHistories
from exporter.sampling.computes import DatabaseRef
from exporter.settings.dsn import matches

Known = Mapping[DatabaseRef, StoredHistories]


class HasBaseline(Protocol):
    """What is needed of a finding."""

    @property
    def baseline(self) -> Baseline: ...  # noqa: D102


class Histories:
    """Fills the series of migrations of a branch; answers the page by database."""

    def __init__(self, settings: DriftSettings) -> None:
        self._settings = settings
        self._manifests: dict[int, Manifest | str] = {}

    def fill(
        self, families: Families, findings: Mapping[DatabaseRef, HasBaseline], known: Known, project: Project
    ) -> dict[DatabaseRef, object]:
        """Compare each tool's usual history of each database."""
        told: dict[DatabaseRef, object] = {}
        for key, found in findings.items():
            if key not in known:
                continue
            tools: dict[str, object] = {}
            other = known.get(found.baseline.key) if found.baseline.key else None
            for tool, histories in by_tool(known[key].facts.histories).items():
                labels = (key.datname, tool)
                usual = usual_of(other, tool)
                tools[tool] = self._tool(families, labels, histories, project, baseline=usual)
            told[key] = tools
        return told

    def _tool(
        self,
        families: Families,
        labels: tuple[str, str],
        histories: list[History],
        project: Project,
        *,
        baseline: History | None,
    ) -> dict[str, object]:
        usual = usual_among(histories)
        told: dict[str, object] = {"histories": len(histories)}
        unreadable = [history.schema for history in histories if history.status is not Status.OK]
        if unreadable:
            told["unreadable_schemas"] = unreadable
        if usual is None:
            return told
        told |= {"applied": usual.count("applied"), "failed": [m.id for m in usual.migrations if m.state == "failed"]}
        if baseline is not None:
            differs = divergence(baseline.migrations, usual.migrations)
            families.set(metrics.DIVERGENCE, (*labels, "behind"), len(differs.behind))
            families.set(metrics.DIVERGENCE, (*labels, "ahead"), len(differs.ahead))
            told |= {"behind": differs.behind, "ahead": differs.ahead, "changed": differs.changed}
        where = self._standing(*labels, project, usual)
        if isinstance(where, MigrationState):
            families.set(metrics.PENDING, labels, len(where.pending))
            families.set(metrics.MISMATCHED, labels, len(where.mismatched))
            families.set(metrics.OUT_OF_ORDER, labels, len(where.out_of_order))
            families.set(metrics.UNKNOWN, labels, len(where.unknown))
            told |= {"pending": where.pending, "checksum_mismatch": where.mismatched,
                     "out_of_order": where.out_of_order, "unknown": where.unknown}  # fmt: skip
        elif where:
            told["manifest_error"] = where
        if len(histories) > 1:
            late = behind(
                usual.migrations, {history.schema: history.migrations for history in histories if _read(history)}
            )
            lacking = {name: entry.behind for name, entry in late.items() if entry.behind}
            families.set(metrics.TENANTS_BEHIND, labels, len(lacking))
            told["schemas_behind"] = {name: list(ids) for name, ids in list(lacking.items())[:100]}
        return told

    def _standing(self, datname: str, tool: str, project: Project, usual: History) -> MigrationState | str | None:
        for place, manifest in enumerate(self._settings.manifests):
            if manifest.tool != tool or not matches(manifest.database, datname):
                continue
            if not matches(manifest.project, project.id, project.name):
                continue
            if place not in self._manifests:
                try:
                    self._manifests[place] = manifests.read(tool, manifest.path)
                except ManifestError as problem:
                    self._manifests[place] = str(problem)
            found = self._manifests[place]
            return found if isinstance(found, str) else standing(found, usual.migrations)
        return None


def by_tool(histories: Iterable[History]) -> dict[str, list[History]]:
    """Histories by tool, sorted."""
    found: dict[str, list[History]] = {}
    for history in histories:
        found.setdefault(history.tool, []).append(history)
    return dict(sorted(found.items()))


def usual_among(histories: Iterable[History]) -> History | None:
    """The history that most schemas share; None when none could be read."""
    readable = [history for history in histories if _read(history)]
    most = majority(readable)
    return next((history for history in readable if history.digest == most), None)


def usual_of(other: StoredHistories | None, tool: str) -> History | None:
    """The same of another database."""
    return usual_among(history for history in other.facts.histories if history.tool == tool) if other else None


def _read(history: History) -> bool:
    return history.status is Status.OK
