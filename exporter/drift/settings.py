"""The section of drift: what each branch is measured by, what is meant to differ, and where git holds the rest."""

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
    """What the branches that match are compared with; the first that matches wins."""

    project: str = Field("*", description="Glob over project id or name.")
    branch: str = Field("*", description="Glob over branch id or name.")
    database: str = Field("*", description="Glob over the database name.")
    baseline: Annotated[str, AfterValidator(_baseline)] = Field(
        description="parent (the branch it was made from), branch:NAME (of the same project), git:FILE (made by "
        "`neonmeter fingerprint -o FILE`), approved (`neonmeter drift approve`), or none."
    )


class TemplateSettings(Section):
    """The schema that every tenant's schema should be like; without one it is what most of them are like."""

    project: str = Field("*", description="Glob over project id or name.")
    database: str = Field("*", description="Glob over the database name.")
    schema_: str = Field(alias="schema", description="Name of the template schema.")


class IgnoreSettings(Section):
    """A difference that is meant, until a day."""

    kind: str = Field("*", description="Glob over the kind of object: table, column, index, grant, ...")
    schema_: str = Field("*", alias="schema", description="Glob over the schema; @ is a tenant's own.")
    identity: str = Field("*", description="Glob over the object, as orders.note for a column of a table.")
    reason: str = Field(min_length=3, description="Why it may differ.")
    expires: date | None = Field(None, description="The day (UTC) from which it counts again; empty: never.")

    @property
    def expires_at(self) -> float | None:
        """Unix seconds."""
        return None if self.expires is None else datetime(*self.expires.timetuple()[:3], tzinfo=UTC).timestamp()


class ManifestSettings(Section):
    """Where git holds the migrations of a database, to tell what is pending."""

    project: str = Field("*", description="Glob over project id or name.")
    database: str = Field("*", description="Glob over the database name.")
    tool: str = Field(description="sqitch, flyway, liquibase, prisma, alembic, django, typeorm, rails, ...")
    path: Path = Field(description="The plan file (Sqitch) or the folder of the migrations.")


class DriftSettings(Section):
    """Schemas, migrations and settings that are not what they should be."""

    enabled: bool = Field(True, description="false: read no fingerprint and no migration history.")
    baselines: list[BaselineSettings] = Field(
        [], description="First match wins; otherwise a branch is measured by its parent, a default branch by what was "
                        "approved."
    )  # fmt: skip
    templates: list[TemplateSettings] = Field([], description="First match wins.")
    ignore: list[IgnoreSettings] = Field([], description="Differences that are meant.")
    manifests: list[ManifestSettings] = Field([], description="Migrations in git.")
    column_order: bool = Field(
        False, description="true: the order of a table's columns counts, as a kind of its own (order)."
    )
    approvals: Path | None = Field(
        None, description="Folder of what was approved (`neonmeter drift approve`); empty: beside the ledger."
    )
    desired: Path | None = Field(None, description="YAML file of what settings should be: see docs/drift.md.")


class DriftTree(CoreSettings):
    """The settings that drift reads: the shared sections and its own."""

    drift: DriftSettings = DriftSettings()
