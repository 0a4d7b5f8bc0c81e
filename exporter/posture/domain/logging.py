"""What is written down, and what is patched (P45-P49)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from collectors.neon.domain.security import Access, ProjectFacts
from collectors.platforms.domain.security import PoolerFacts
from collectors.postgres.domain.security import DatabaseFacts, Extension, ServerFacts
from exporter.posture.domain.finding import object_id
from exporter.posture.domain.policy import listed
from exporter.posture.domain.rule import (
    Context,
    RuleResult,
    absent,
    control_over,
    failed,
    manual,
    passed,
    place,
    unclear,
    verdict,
)

_ERRORS = ("debug5", "debug4", "debug3", "debug2", "debug1", "info", "notice", "warning", "error")
_OFF = ("", "off", "false", "no", "0")
_AUDITED = ("ddl", "role", "write")


@control_over("P45", ServerFacts, lambda facts: facts.settings)
def log_settings(facts: ServerFacts, settings: Mapping[str, str], _context: Context) -> Iterator[RuleResult]:
    """Sessions, schema changes or errors are not logged, or lines do not say when, who and where."""
    where = place(facts)
    if facts.platform == "neon":
        yield absent(where, "on Neon the platform sets what the server logs")
    else:
        found = (failed(object_id(where, name), text) for name, text in _log_gaps(settings))
        yield from verdict(where, found, "the log says who did what, when and where")


def _log_gaps(settings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    def value_of(name: str) -> str | None:
        value = settings.get(name)
        return None if value is None else value.strip().lower()

    for name in ("log_connections", "log_disconnections"):
        # PostgreSQL 18 made the first a list of what to log; empty is off.
        if (value := value_of(name)) is not None and value in _OFF:
            yield name, f"{name} is off"
    if (value := value_of("log_statement")) is not None and value == "none":
        yield "log_statement", "log_statement is none: schema changes leave no line"
    if (value := value_of("log_min_error_statement")) is not None and value not in _ERRORS:
        yield "log_min_error_statement", f"log_min_error_statement is {value}: statements that fail are not named"
    if (prefix := settings.get("log_line_prefix")) is not None:
        missing = [mark for mark in ("%m", "%u", "%d") if mark not in prefix and not (mark == "%m" and "%t" in prefix)]
        if missing:
            yield "log_line_prefix", f"log_line_prefix lacks {' '.join(missing)} (time, role, database)"
    for name in ("log_parameter_max_length", "log_parameter_max_length_on_error"):
        if value_of(name) == "-1" and (name.endswith("error") or value_of("log_statement") in ("mod", "all")):
            yield name, f"{name} is -1: values of parameters, and so personal data, go to the log in full"


@control_over("P46", ServerFacts, lambda facts: facts.settings)
def pgaudit(facts: ServerFacts, settings: Mapping[str, str], _context: Context) -> Iterator[RuleResult]:
    """Pgaudit is not loaded, or does not record schema changes, roles and writes."""
    where = place(facts)
    if facts.platform == "neon":
        yield absent(where, "on Neon pgaudit comes with the HIPAA add-on only: the project's setting is evaluated")
        return
    loaded = settings.get("shared_preload_libraries")
    if loaded is None:
        yield unclear(where, "shared_preload_libraries is not visible to our role")
        return
    if "pgaudit" not in re.split(r"[\s,]+", loaded):
        yield failed(where, "pgaudit is not in shared_preload_libraries")
        return
    classes = {name.strip().lower() for name in settings.get("pgaudit.log", "").split(",")}
    missing = [name for name in _AUDITED if (name not in classes and "all" not in classes) or f"-{name}" in classes]
    found = [failed(where, f"pgaudit.log lacks {', '.join(missing)}")] if missing else []
    yield from verdict(where, found, "pgaudit records schema changes, roles and writes")


@control_over("P46", ProjectFacts, lambda facts: facts.access)
def neon_audit(facts: ProjectFacts, access: Access, _context: Context) -> Iterator[RuleResult]:
    """With the HIPAA add-on Neon audits; without it there is nothing to switch on, so a person decides."""
    if not access.hipaa:
        yield manual(
            facts.id, "Neon audits statements with the HIPAA add-on only; decide whether this project needs it"
        )
    elif access.audit_log_level in ("extended", "full"):
        yield passed(facts.id, f"Neon's audit log is {access.audit_log_level}")
    else:
        level = access.audit_log_level or "not set"
        yield failed(facts.id, f"Neon's audit log level is {level}: it does not record what statements do")


@control_over("P47", DatabaseFacts, lambda facts: facts.extensions)
def ext_outdated(facts: DatabaseFacts, extensions: tuple[Extension, ...], _context: Context) -> Iterator[RuleResult]:
    """An extension was not updated when the server's files were."""
    where = place(facts)
    found = (
        failed(
            object_id(where, extension.name),
            f"{extension.name} is {extension.version}; the server has {extension.newest}",
        )
        for extension in extensions
        if extension.newest and extension.version != extension.newest
    )
    yield from verdict(where, found, "every extension is the server's version")


@control_over("P48", DatabaseFacts, lambda facts: facts.extensions)
def ext_not_allowed(facts: DatabaseFacts, extensions: tuple[Extension, ...], context: Context) -> Iterator[RuleResult]:
    """An extension is not on the list, or lives in a schema where everybody may create."""
    where = place(facts)

    def says(extension: Extension) -> str:
        if not listed(extension.name, context.policy.extensions):
            return f"{extension.name} is not on the list of extensions"
        return (
            f"{extension.name} is in schema {extension.schema}, where everybody may create objects"
            if extension.open
            else ""
        )

    found = (failed(object_id(where, extension.name), text) for extension in extensions if (text := says(extension)))
    yield from verdict(where, found, "every extension is on the list")


@control_over("P49", ServerFacts, lambda facts: facts.version_num)
def server_minor(facts: ServerFacts, version_num: int, context: Context) -> Iterator[RuleResult]:
    """The server misses security fixes of its major version, or the major gets none any more."""
    where = place(facts)
    major, minor = divmod(version_num, 10000)
    minors = context.policy.server_minors
    if major not in minors and minors and major > max(minors):
        yield unclear(where, f"PostgreSQL {major} is newer than the table of versions")
    elif major not in minors:
        yield failed(where, f"PostgreSQL {major} gets no fixes any more")
    elif minor < minors[major]:
        yield failed(where, f"PostgreSQL {major}.{minor} is older than {major}.{minors[major]}")
    else:
        yield passed(where, f"PostgreSQL {major}.{minor}")


@control_over("P49", PoolerFacts, lambda facts: facts.version)
def pgbouncer_version(facts: PoolerFacts, version: str, context: Context) -> Iterator[RuleResult]:
    """A PgBouncer of our own has known holes."""
    match = re.search(r"(\d+)\.(\d+)\.(\d+)", version)
    if match is None:
        yield unclear(facts.name, f"cannot read the version in {version!r}")
        return
    found = tuple(int(part) for part in match.groups())
    least = tuple(int(part) for part in context.policy.pgbouncer_least.split("."))
    if found < least:
        yield failed(facts.name, f"PgBouncer {match[0]} is older than {context.policy.pgbouncer_least}")
    else:
        yield passed(facts.name, f"PgBouncer {match[0]}")
