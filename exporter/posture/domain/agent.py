"""What neonmeter itself may do (P50): less is enough, and more is somebody's way in."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.posture.domain.facts import DatabaseFacts, ServerFacts
from exporter.posture.domain.finding import Finding, Unread, object_id
from exporter.posture.domain.judging import Context, Judges, failed, of_groups, place, told, unread, verdict

NEEDED = frozenset({"pg_monitor", "pg_read_all_settings", "pg_read_all_stats", "pg_stat_scan_tables"})
"""pg_monitor and what it brings."""


def agent_role(facts: ServerFacts, _context: Context) -> Iterator[Finding]:
    """P50: our role is superuser, goes round row security, or is a member of more than pg_monitor."""
    where = place(facts)
    if isinstance(facts.agent, Unread):
        yield unread("P50", where, facts.agent)
        return
    agent = facts.agent
    path = object_id(where, agent.name)
    found = [
        failed("P50", path, f"neonmeter logs in as {agent.name}, which has {attribute}")
        for attribute in agent.attributes
    ]
    more = [name for name in agent.memberships if name not in NEEDED]
    found += [failed("P50", object_id(path, name), f"{agent.name} is a member of {name}") for name in more]
    yield from verdict("P50", where, found, f"{agent.name} has no more than pg_monitor")


def agent_reads(facts: DatabaseFacts, _context: Context) -> Iterator[Finding]:
    """P50: our role may read rows of a tenant's tables."""
    return of_groups(
        "P50",
        place(facts),
        facts.check("agent_reads"),
        says=told("neonmeter's own role may read it"),
        otherwise="neonmeter may not read a tenant's rows",
    )


SERVER: Judges[ServerFacts] = {"P50": agent_role}
DATABASE: Judges[DatabaseFacts] = {"P50": agent_reads}
