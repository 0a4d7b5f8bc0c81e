"""The section of recovery: what is promised (RTO, RPO), and what a drill needs to prove it. See docs/recovery.md."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from exporter.settings.section import Seconds, Secret, Section

Table = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?$")]
Column = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_$]*$")]


class _Somewhere(Section):
    project: str = Field("*", description="Glob over project id or name.")
    branch: str = Field("*", description="Glob over branch id or name.")


class RecoveryTarget(_Somewhere):
    """What is promised for the projects and branches that match."""

    rto_seconds: Seconds = Field(description="Longest time from the decision to restored data that was checked.")
    rpo_seconds: Seconds = Field(description="Most time whose writes may be lost.")


class Sentinel(_Somewhere):
    """A table that must have rows on a restored branch."""

    database: str = Field("*", description="Glob over the database name.")
    table: Table = Field(description="schema.table")
    min_rows: int = Field(1, ge=0, description="Fewer rows than that fail the drill.")


class Heartbeat(_Somewhere):
    """A timestamp column that is always written: its newest value tells how much a restore would lose."""

    database: str = Field("*", description="Glob over the database name.")
    table: Table = Field(description="schema.table")
    column: Column = Field(description="A timestamptz that is set when a row is written; better with an index.")


class Marker(Secret, _Somewhere):
    """A table into which a drill writes a row before and a row after the instant that it goes back to."""

    dsn: str = Field(description="Template such as postgresql://drill@{host}/app: a role that may INSERT there.")
    table: Table = Field("neonmeter_drill", description="Table (id text, at timestamptz); see docs/recovery.md.")


class RecoverySettings(Secret):
    """RTO and RPO that are promised, and the drills that measure them."""

    enabled: bool = Field(True, description="false: tell nothing of restore windows, snapshots and drills.")
    targets: list[RecoveryTarget] = Field([], description="First match wins.")
    write_key: SecretStr | None = Field(
        None, description="API key of the drills alone, never the agent's; better NEONMETER_DRILL_KEY or a file."
    )
    write_key_file: Path | None = Field(None, description="A file with it, read when a drill starts.")
    dsn: str | None = Field(
        None, description="Template to read a restored branch, as postgresql://drill@{host}/app; empty: postgres.dsn."
    )
    sentinels: list[Sentinel] = Field([], description="All that match are counted.")
    heartbeats: list[Heartbeat] = Field([], description="All that match are read; the newest one counts.")
    markers: list[Marker] = Field([], description="First match wins. A marker wakes the branch: a drill writes to it.")
    drills: Path | None = Field(None, description="File of the drills' ledger; empty: beside storage.path.")
    signing_key: SecretStr | None = Field(
        None, description="Signs the entries of the drills' ledger (HMAC-SHA256); without one they are only chained."
    )
    signing_key_file: Path | None = Field(None, description="A file with it.")
