"""The section of drift: baselines, intended differences, and migrations in git."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from exporter.settings.section import Section
from exporter.settings.tree import CoreSettings

_BASELINE = re.compile(r"parent|approved|none|branch:.+|git:.+")


def _baseline(text: str) -> str:
    if not _BASELINE.fullmatch(text):
        raise ValueError("write parent, approved, none, branch:NAME or git:FILE")
    return text


class BaselineSettings(Section):
    """The baseline of the branches that match; the first match wins."""

    project: str = Field("*", description="Glob over project id or name.")
    branch: str = Field("*", description="Glob over branch id or name.")
    database: str = Field("*", description="Glob over the database name.")
    baseline: Annotated[str, AfterValidator(_baseline)] = Field(
        description="parent (the branch it was made from), branch:NAME (of the same project), git:FILE (made by "
        "`neonmeter fingerprint -o FILE`), approved (`neonmeter drift approve`), or none."
    )


class TemplateSettings(Section):
    """The schema that every tenant schema should equal; without one, the most common schema is the template."""

    project: str = Field("*", description="Glob over project id or name.")
    database: str = Field("*", description="Glob over the database name.")
    schema_: str = Field(alias="schema", description="Name of the template schema.")


class IgnoreSettings(Section):
    """An intended difference, optionally until a date."""

    kind: str = Field("*", description="Glob over the kind of object: table, column, index, grant, ...")
    schema_: str = Field("*", alias="schema", description="Glob over the schema; @ stands for the tenant's own.")
    identity: str = Field("*", description="Glob over the object, such as orders.note for a column.")
    reason: str = Field(min_length=3, description="Reason for the difference.")
    expires: date | None = Field(
        None, description="Date (UTC) from which the difference is reported again; empty: never."
    )

    @property
    def expires_at(self) -> float | None:
        """Unix seconds."""
        return None if self.expires is None else datetime(*self.expires.timetuple()[:3], tzinfo=UTC).timestamp()


class ManifestSettings(Section):
    """Migrations of a database in git, to find pending ones."""

    project: str = Field("*", description="Glob over project id or name.")
    database: str = Field("*", description="Glob over the database name.")
    tool: str = Field(description="sqitch, flyway, liquibase, prisma, alembic, django, typeorm, rails, ...")
    path: Path = Field(description="The plan file (Sqitch) or the folder of the migrations.")


class DriftSettings(Section):
    """Detection of schemas, migrations and settings that differ from their baseline."""

    enabled: bool = Field(True, description="false: read no fingerprint and no migration history.")
    baselines: list[BaselineSettings] = Field(
        [], description="The first match wins; by default a branch is compared with its parent, and a default branch "
                        "with its approval."
    )  # fmt: skip
    templates: list[TemplateSettings] = Field([], description="The first match wins.")
    ignore: list[IgnoreSettings] = Field([], description="Intended differences.")
    manifests: list[ManifestSettings] = Field([], description="Migrations in git.")
    column_order: bool = Field(False, description="true: report a different order of columns (kind order).")
    approvals: Path | None = Field(
        None, description="Folder of approvals (`neonmeter drift approve`); empty: beside storage.path."
    )
    desired: Path | None = Field(None, description="YAML file with the desired server settings; see docs/drift.md.")


class DriftTree(CoreSettings):
    """The settings that drift reads: the shared sections and its own."""

    drift: DriftSettings = DriftSettings()
