"""How a self-run PgBouncer is set up and which release it is, as far as security depends on it.

Only settings that a control reads are kept: SHOW CONFIG also tells paths and queries. A distribution may mend an old
release without another number; the holes that it has mended are then named in the settings.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from collectors.base import Result, Status
from collectors.pgbouncer.console import PoolerTarget, Refusal, ask
from collectors.pgbouncer.shows import config_of
from collectors.postgres.database.security import NotRead

SETTINGS = (
    "admin_users", "auth_dbname", "auth_type", "auth_user", "client_tls_protocols", "client_tls_sslmode",
    "ignore_startup_parameters", "log_connections", "log_disconnections", "log_pooler_errors", "max_client_conn",
    "max_prepared_statements", "pool_mode", "server_tls_protocols", "server_tls_sslmode", "stats_users",
)  # fmt: skip
HOLES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("1.24.1", ("CVE-2025-2291",)),
    ("1.25.1", ("CVE-2025-12819",)),
    ("1.25.2", ("CVE-2026-6664", "CVE-2026-6665", "CVE-2026-6666", "CVE-2026-6667")),
)
"""The release that mended them, and what it mended, by PgBouncer's change log."""
_SHOWS = ("VERSION", "CONFIG")

T = TypeVar("T")
Known: TypeAlias = T | NotRead


@dataclass(frozen=True, slots=True)
class PoolerSecurity:
    """One instance, named as in the label ``pooler``."""

    name: str
    version: Known[str]
    """``PgBouncer 1.18.0``."""
    config: Known[Mapping[str, str]]
    """Those of ``SETTINGS`` that this release has."""


async def read_pooler(target: PoolerTarget, *, deadline_seconds: float = 5.0) -> tuple[PoolerSecurity, ...]:
    """Every instance behind the target. Never raises for what is wrong there: each part says it by itself."""
    answers = await ask(target, _SHOWS, deadline_seconds=deadline_seconds)
    return tuple(_security(name, answer) for name, answer in answers.items())


def _security(name: str, answer: Mapping[str, Result] | Refusal) -> PoolerSecurity:
    if isinstance(answer, Refusal):
        why = NotRead(answer.status, answer.why)
        return PoolerSecurity(name, why, why)
    config = {key: value for key, value in config_of(answer).items() if key in SETTINGS}
    rows = answer["VERSION"].rows if "VERSION" in answer else []
    refused = "the user may not see it: add it to stats_users in pgbouncer.ini"
    return PoolerSecurity(
        name,
        version=str(rows[0][0]) if rows else NotRead(Status.NO_PRIVILEGE, refused),
        config=config or NotRead(Status.NO_PRIVILEGE, refused),
    )


def release_of(version: str) -> tuple[int, int, int] | None:
    """The numbers of ``PgBouncer 1.18.0``; None when there are none."""
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def known_holes(version: str, mended: Collection[str] = ()) -> tuple[str, ...] | None:
    """The holes of a release by their CVE numbers, oldest mend first; None when the release is not told.

    ``mended``: those that the distribution has mended in this release, as Debian does; ``*`` is all of them.
    """
    release = release_of(version)
    if release is None:
        return None
    if "*" in mended:
        return ()
    return tuple(
        hole for first, holes in HOLES if release < (release_of(first) or release) for hole in holes
        if hole not in mended
    )  # fmt: skip
