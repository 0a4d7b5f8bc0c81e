"""Migration histories compared: with the baseline branch, with the files in git, and of tenants among each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from collectors.base import Status
from collectors.neon.models import Project
from collectors.postgres.domain.migrations import History, majority
from exporter.drift import manifests
from exporter.drift.domain.migrations import Divergence, Manifest, MigrationState, behind, divergence, standing
from exporter.drift.manifests import ManifestError
from exporter.drift.settings import DriftSettings
from exporter.drift.store import StoredHistories
from exporter.settings.dsn import matches


@dataclass(frozen=True, slots=True)
class ToolMigrations:
    """The histories of one migration tool in one database: in a schema-per-tenant system there is one per schema."""

    tool: str
    histories: tuple[History, ...]
    usual: History | None = None
    """The history that most schemas share; None when none could be read."""
    baseline: Divergence | None = None
    """How the usual history differs from that of the baseline branch; None where there is no other."""
    files: MigrationState | None = None
    """How it differs from the files in git; None without a manifest that can be read."""
    manifest_error: str = ""
    schemas_behind: Mapping[str, tuple[str, ...]] | None = field(default=None)
    """Migrations that the usual history has and a schema lacks, by schema; None where there is one history only."""

    @property
    def unreadable(self) -> list[str]:
        """Schemas whose history could not be read."""
        return [history.schema for history in self.histories if history.status is not Status.OK]


class MigrationsEvaluator:
    """Compares histories by the settings of drift. A manifest is read once."""

    def __init__(self, settings: DriftSettings) -> None:
        self._settings = settings
        self._manifests: dict[int, Manifest | str] = {}

    def evaluate(
        self, datname: str, stored: StoredHistories, baseline: StoredHistories | None, project: Project
    ) -> dict[str, ToolMigrations]:
        """The histories of one database by tool; ``baseline`` are those of the database that it is compared with."""
        by_tool: dict[str, list[History]] = {}
        for history in stored.facts.histories:
            by_tool.setdefault(history.tool, []).append(history)
        there = baseline.facts.histories if baseline is not None else ()
        return {
            tool: self._tool(
                tool, datname, by_tool[tool], usual_history(other for other in there if other.tool == tool), project
            )
            for tool in sorted(by_tool)
        }

    def _tool(
        self, tool: str, datname: str, histories: list[History], other: History | None, project: Project
    ) -> ToolMigrations:
        usual = usual_history(histories)
        if usual is None:
            return ToolMigrations(tool, tuple(histories))
        files = self._files(tool, datname, usual, project)
        schemas_behind = None
        if len(histories) > 1:
            read = {history.schema: history.migrations for history in histories if history.status is Status.OK}
            late = behind(usual.migrations, read)
            schemas_behind = {name: differs.behind for name, differs in late.items() if differs.behind}
        return ToolMigrations(
            tool,
            tuple(histories),
            usual,
            divergence(other.migrations, usual.migrations) if other is not None else None,
            files if isinstance(files, MigrationState) else None,
            files if isinstance(files, str) else "",
            schemas_behind,
        )

    def _files(self, tool: str, datname: str, usual: History, project: Project) -> MigrationState | str:
        """Against the first manifest that matches; text says why it cannot be compared, empty: there is no manifest."""
        for place, setting in enumerate(self._settings.manifests):
            if setting.tool != tool or not matches(setting.database, datname):
                continue
            if not matches(setting.project, project.id, project.name):
                continue
            if place not in self._manifests:
                try:
                    self._manifests[place] = manifests.read(tool, setting.path)
                except ManifestError as problem:
                    self._manifests[place] = str(problem)
            manifest = self._manifests[place]
            return manifest if isinstance(manifest, str) else standing(manifest, usual.migrations)
        return ""


def usual_history(histories: Iterable[History]) -> History | None:
    """The history that most schemas share; None when none could be read."""
    readable = [history for history in histories if history.status is Status.OK]
    most = majority(readable)
    return next((history for history in readable if history.digest == most), None)
