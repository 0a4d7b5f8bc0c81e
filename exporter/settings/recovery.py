"""The section of recovery: RTO and RPO targets, and what a drill needs to verify them. See docs/recovery.md."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from exporter.settings.section import Seconds, Secret, Section

Table = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?$")]
Column = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_$]*$")]


class BranchScoped(Section):
    """A setting that is for some projects and branches."""

    project: str = Field("*", description="Glob over project id or name.")
    branch: str = Field("*", description="Glob over branch id or name.")


class RecoveryTarget(BranchScoped):
    """Recovery targets of the projects and branches that match."""

    rto_seconds: Seconds = Field(
        description="Recovery time objective: seconds from the decision to restored, verified data."
    )
    rpo_seconds: Seconds = Field(description="Recovery point objective: seconds of writes that may be lost.")


class Sentinel(BranchScoped):
    """A table that must have rows on a restored branch."""

    database: str = Field("*", description="Glob over the database name.")
    table: Table = Field(description="Table as schema.table.")
    min_rows: int = Field(1, ge=0, description="Minimum number of rows; fewer fail the drill.")


class Heartbeat(BranchScoped):
    """A timestamp column that is written continuously: its newest value shows how much a restore would lose."""

    database: str = Field("*", description="Glob over the database name.")
    table: Table = Field(description="Table as schema.table.")
    column: Column = Field(description="A timestamptz set when a row is written, preferably indexed.")


class Marker(Secret, BranchScoped):
    """A table in which a drill writes one row before and one after the instant it restores to."""

    dsn: str = Field(
        description="Template such as postgresql://drill@{host}/app, with a role that may INSERT into the table."
    )
    table: Table = Field("neonmeter_drill", description="Table (id text, at timestamptz); see docs/recovery.md.")


class RecoverySettings(Secret):
    """Recovery targets, and the drills that measure them."""

    enabled: bool = Field(True, description="false: no series about restore windows, snapshots and drills.")
    targets: list[RecoveryTarget] = Field([], description="The first match wins.")
    write_key: SecretStr | None = Field(
        None, description="API key used only by drills, never by the agent; prefer NEONMETER_DRILL_KEY or a file."
    )
    write_key_file: Path | None = Field(None, description="File with that key, read when a drill starts.")
    dsn: str | None = Field(
        None,
        description="Template to read a restored branch, such as postgresql://drill@{host}/app; empty: postgres.dsn.",
    )
    sentinels: list[Sentinel] = Field([], description="Every match is checked.")
    heartbeats: list[Heartbeat] = Field([], description="Every match is read; the newest value counts.")
    markers: list[Marker] = Field(
        [], description="The first match wins. A marker wakes the branch, because the drill writes to it."
    )
    drills: Path | None = Field(None, description="File that records drills; empty: beside storage.path.")
    signing_key: SecretStr | None = Field(
        None, description="Signs the recorded drills (HMAC-SHA256); without it they are only chained by digest."
    )
    signing_key_file: Path | None = Field(None, description="File with the signing key.")
