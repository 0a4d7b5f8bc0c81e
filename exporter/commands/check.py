"""`neonmeter check`: one pass over everything that the settings name, and for each what works, what not, what to do.

It opens one short session on each compute that is awake now (none that sleeps), so it may keep those awake for up to
their suspend timeout once more; ``--no-sql`` leaves them alone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, replace

from psycopg.conninfo import conninfo_to_dict

from collectors.base import Options, Status
from collectors.errors import FINDINGS, OK, UPSTREAM
from collectors.neon.client import NeonClient
from collectors.neon.errors import NeonError
from collectors.neon.inventory import Inventory, refresh
from collectors.neon.organizations import by_organization
from collectors.pgbouncer import console as pgbouncer
from collectors.pgbouncer.console import PoolerTarget
from collectors.postgres.own_role import OwnRole, OwnRoleCollector
from collectors.postgres.session import Visit, visit
from collectors.registry import ALL
from exporter.app.settings import Settings
from exporter.commands.check_account import AccountLine, free_line, key_line, organization_lines, quota_lines
from exporter.commands.check_usage import UsageLine, usage_lines
from exporter.documents.terminal import counted, table
from exporter.feature.workspace import neon_client
from exporter.sampling.computes import Compute, computes
from exporter.settings import NeonSettings
from exporter.settings.dsn import DsnError, conninfo, pooler_conninfo
from exporter.settings.secret import SecretError
from exporter.tenancy.rules import rules_of

WORKS, FAILS, LEFT_OUT = "works", "FAILS", "left out"
_RESULTS = {True: WORKS, False: FAILS, None: LEFT_OUT}
CLOCK_SECONDS = 8.0
"""The Date header has whole seconds, and an answer takes a moment; from here on visits are missed."""
MOST_COMPUTES = 50
_REMEDIES = {
    Status.AUTH: "; check the user in postgres.dsn and postgres.password(_file); the role: docs/permissions.sql",
    Status.UNREACHABLE: "; check postgres.dsn, and that this machine may connect there",
    Status.TIMEOUT: "; is a firewall in the way, or the server overloaded?",
    Status.UNSUPPORTED: "; check postgres.dsn",
    Status.NO_PRIVILEGE: "; see docs/permissions.sql",
}
"""What to look at when a visit as a whole failed."""
_OWN_ROLE = OwnRoleCollector()
_RULE_REMEDY = "statements are attributed by project, branch, database and role (docs/tenancy.md)"


@dataclass(frozen=True, slots=True)
class CheckLine:
    """One line of the table: what was tried, how it ended, and what it means or what to do."""

    what: str
    result: str
    detail: str


def run_check(settings: Settings, *, sql: bool, as_json: bool) -> int:
    """Print the table (or JSON); 1 when anything fails, 3 when Neon itself cannot be read."""
    lines = asyncio.run(_collect(settings, sql=sql))
    if as_json:
        print(json.dumps([asdict(line) for line in lines], indent=2))
    else:
        print(
            table(("what", "result", "detail"), [(line.what, line.result, line.detail) for line in lines]),
            end="",
        )
        print(_verdict(lines))
    failed = [line for line in lines if line.result == FAILS]
    if any(line.what == "Neon API" for line in failed):
        return UPSTREAM
    return FINDINGS if failed else OK


def _verdict(lines: list[CheckLine]) -> str:
    """One line under the table: is there anything to do?"""
    fails = sum(line.result == FAILS for line in lines)
    left = sum(line.result == LEFT_OUT for line in lines)
    rest = f" {left} {'was' if left == 1 else 'were'} left out: see why above." if left else ""
    if fails:
        return f"\n{fails} of {len(lines)} {'fails' if fails == 1 else 'fail'}: the detail says what to do.{rest}"
    return f"\nAll that was tried works.{rest}"


async def _collect(settings: Settings, *, sql: bool) -> list[CheckLine]:
    async with neon_client(settings) as client:
        return [finding async for finding in _all(settings, client, sql=sql)]


async def _all(settings: Settings, client: NeonClient, *, sql: bool) -> AsyncIterator[CheckLine]:
    neon = settings.neon
    if (key := await key_line(client)) is not None:
        yield _line(key)
    try:
        found = await refresh(client, None, org_id=neon.org_id, include=neon.include, exclude=neon.exclude)
    except NeonError as problem:
        yield CheckLine("Neon API", FAILS, f"{problem.message}.{_doubts(settings, problem)}")
        yield CheckLine("consumption, SQL", LEFT_OUT, "not tried: only Neon's API can list the computes")
        found = None
    if found is not None:
        async for finding in _account(client, settings, found):
            yield finding
        async for finding in _computes(settings, found, sql=sql):
            yield finding
    async for finding in _poolers(settings):
        yield finding
    for finding in _rules(settings):
        yield finding


async def _account(client: NeonClient, settings: Settings, found: Inventory) -> AsyncIterator[CheckLine]:
    """What the key sees, and whether its usage can be read."""
    owner = found.title or "no organisation"
    counts = (("project", found.projects), ("branch", found.branches), ("compute", found.endpoints))
    count = ", ".join(counted(len(things), name) for name, things in counts)
    yield CheckLine("Neon API", WORKS, f"{owner}: {count}")
    if abs(found.skew) > CLOCK_SECONDS:
        yield CheckLine("clock", FAILS, clock_trouble(found.skew))
    for note in found.notes:
        yield CheckLine("inventory", FAILS, note)
    if not found.projects:
        yield CheckLine("inventory", FAILS, "the key sees no project: is it of the right organisation?")
    for line in organization_lines(found):
        yield _line(line)
    async for finding in _usage(client, settings, found):
        yield finding


async def _usage(client: NeonClient, settings: Settings, found: Inventory) -> AsyncIterator[CheckLine]:
    for part in by_organization(found):
        free = free_line(part)
        for line in await usage_lines(client, settings, part) if free is None else (free,):
            row = _line(line)
            yield replace(row, what=f"{row.what} {part.title}") if len(found.organizations) > 1 else row
    for line in await quota_lines(client, found):
        yield _line(line)


def _line(found: AccountLine | UsageLine) -> CheckLine:
    return CheckLine(found.what, _RESULTS[found.works], found.detail)


def _doubts(settings: Settings, problem: NeonError) -> str:
    """Settings that differ from what most people have are the first to doubt."""
    neon, doubts = settings.neon, [""]
    if neon.org_id and problem.http_status in (400, 403, 404):
        doubts.append(f"Is neon.org_id {neon.org_id} right, and the key of that organisation?")
    if neon.api_url != NeonSettings().api_url and problem.http_status not in (400, 401, 403):
        doubts.append(f"Is neon.api_url {neon.api_url} right? Neon's own is {NeonSettings().api_url}")
    return " ".join(doubts)


def clock_trouble(skew: float) -> str:
    """What a difference of the clocks means; ``skew`` is the API's clock minus ours, in seconds."""
    which = "behind" if skew > 0 else "ahead of"
    return (
        f"this machine's clock is {abs(skew):.0f} s {which} the one of the Neon API: set it by NTP. neonmeter goes by "
        "the later of the two, so that it never visits too late, and therefore visits less often than it could"
    )


async def _computes(settings: Settings, found: Inventory, *, sql: bool) -> AsyncIterator[CheckLine]:
    if settings.postgres.dsn is None and not any(override.dsn for override in settings.postgres.overrides):
        yield CheckLine("SQL", LEFT_OUT, "no postgres.dsn: inventory and cost only; set it to see inside the computes, "
                      "as postgresql://monitor@{host}/postgres (role: docs/permissions.sql)")  # fmt: skip
        return
    every = sorted(computes(found), key=lambda entry: entry.target.name)
    for compute in every[:MOST_COMPUTES]:
        for finding in await _compute(settings, compute, sql=sql):
            yield finding
    if len(every) > MOST_COMPUTES:
        yield CheckLine("SQL", LEFT_OUT, f"{len(every) - MOST_COMPUTES} more computes were not tried")


async def _compute(settings: Settings, compute: Compute, *, sql: bool) -> list[CheckLine]:
    what = f"SQL {compute.target.name}"
    try:
        where = conninfo(settings.postgres, compute.place)
    except (DsnError, SecretError) as problem:
        return [CheckLine(what, FAILS, str(problem))]
    if where is None:
        return [CheckLine(what, LEFT_OUT, "switched off in postgres.overrides")]
    facts = compute.facts
    if facts.disabled:
        return [CheckLine(what, LEFT_OUT, "disabled in Neon: nobody can connect to it")]
    if facts.current_state != "active" or facts.pending_state:
        state = facts.pending_state or facts.current_state
        return [CheckLine(what, LEFT_OUT, f"asleep ({state}): not connected, so it is not woken; try when it is awake")]
    if not sql:
        return [CheckLine(what, LEFT_OUT, "awake; not tried (--no-sql)")]
    collectors = [*(collector.build(Options()) for collector in ALL.values()), _OWN_ROLE]
    made = await visit(where, collectors, endpoint_id=compute.endpoint.id)
    return [_visit_line(what, conninfo_to_dict(where), made), *_own_role(compute, made)]


def _own_role(compute: Compute, made: Visit) -> list[CheckLine]:
    """A monitoring role that may do too much is somebody's way in: it fails, however well everything works."""
    results = made.results.get(_OWN_ROLE.name, {})
    if made.epoch is None or not results:
        return []
    role = _OWN_ROLE.read(results, made.epoch).facts
    if not isinstance(role, OwnRole) or not role.excess:
        return []
    return [
        CheckLine(
            f"privilege {compute.target.name}",
            FAILS,
            f"neonmeter logs in as {role.name}, with excess rights: {', '.join(role.excess)}; make a role of its own "
            "by docs/permissions.sql",
        )
    ]


def _visit_line(what: str, to: Mapping[str, object], made: Visit) -> CheckLine:
    if made.woke_it:
        return CheckLine(what, LEFT_OUT, "it started just now, so nothing was read; try again in some seconds")
    if made.status is not Status.OK:
        port = f":{to['port']}" if to.get("port") else ""
        address = f"{to.get('user')}@{to.get('host')}{port}/{to.get('dbname')}"
        return CheckLine(what, FAILS, f"{made.status.value}: {address}: {made.error}{_REMEDIES.get(made.status, '')}")
    if made.evidence is not None and not made.evidence.privileged:
        return CheckLine(what, FAILS, "no_privilege: the role lacks pg_monitor, so other users' work is hidden; "
                       f"run GRANT pg_monitor TO {to.get('user')} (docs/permissions.sql)")  # fmt: skip
    failures = [f"{name}: {status.value}, {text}" for (name, _), (status, text) in made.failures.items()]
    silent = [name for name, results in made.results.items() if not results]
    if "statements" in silent:
        failures.append("statements: unsupported, run CREATE EXTENSION pg_stat_statements in database postgres")
    if failures:
        return CheckLine(what, FAILS, "; ".join(failures))
    version = made.server.version_num // 10000 if made.server else "?"
    rows = sum(len(result.rows) for results in made.results.values() for result in results.values())
    return CheckLine(what, WORKS, f"PostgreSQL {version}, {rows} rows in {made.seconds * 1000:.0f} ms")


async def _poolers(settings: Settings) -> AsyncIterator[CheckLine]:
    for pooler in settings.pgbouncer:
        target = PoolerTarget(pooler.name, lambda pooler=pooler: pooler_conninfo(pooler))  # type: ignore[misc]
        for observation in await pgbouncer.observe(target):
            what = f"PgBouncer {observation.target.labels[0]}"
            if observation.status is Status.OK:
                yield CheckLine(what, WORKS, f"{observation.rows} rows in {observation.seconds * 1000:.0f} ms")
            else:
                wrong = 'database "pgbouncer" does not exist' in observation.error
                hint = f"; this is PostgreSQL itself: check the port in the pgbouncer entry {pooler.name}"
                yield CheckLine(what, FAILS, f"{observation.status.value}: {observation.error}{hint if wrong else ''}")


def _rules(settings: Settings) -> list[CheckLine]:
    if not settings.tenants:
        return [CheckLine("tenants", LEFT_OUT, "no rules: every tenant's work is __unattributed__ (docs/tenancy.md)")]
    notes = rules_of(settings).unmatchable()
    if not notes:
        return [CheckLine("tenants", WORKS, f"{counted(len(settings.tenants), 'rule')}")]
    return [CheckLine("tenants", FAILS, f"{note}; {_RULE_REMEDY}") for note in notes]
