"""Whether what is not production holds production's people (P58-P60)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from collectors.base import Unread
from collectors.neon.domain.security import Access, BranchFacts, Masking
from collectors.postgres.domain.security import DatabaseFacts, Group
from exporter.posture.domain.finding import object_id
from exporter.posture.domain.network import is_production
from exporter.posture.domain.rule import (
    Context,
    RuleResult,
    absent,
    control,
    control_over,
    failed,
    names,
    of_groups,
    passed,
    place,
    unclear,
    unread,
    verdict,
)

_BUSY = ("created", "initialized", "anonymizing")


@control("P58", BranchFacts)
def nonprod_unmasked(facts: BranchFacts, context: Context) -> Iterator[RuleResult]:
    """A branch beside production holds production's data unmasked."""
    where = object_id(facts.project_id, facts.id)
    if is_production(facts, context):
        yield absent(where, "a production branch")
    elif facts.init_source == "schema-only":
        yield passed(where, "the branch was made without data")
    elif facts.logical_size == 0:
        yield passed(where, "the branch holds no data")
    elif not _from_production(facts, context):
        yield absent(where, "its data do not come from production")
    elif isinstance(facts.masking, Unread):
        yield unread(where, facts.masking)
    elif facts.masking is not None and facts.masking.state == "anonymized":
        yield passed(where, "anonymised")
    else:
        state = "it is not anonymised" if facts.masking is None else f"its anonymisation is {facts.masking.state}"
        hint = _cannot(facts, context)
        yield failed(where, f"{facts.name or facts.id} holds production's data and {state}{hint}")


def _from_production(facts: BranchFacts, context: Context) -> bool:
    """Whether one of its ancestors is production; a parent that we do not know is taken for it."""
    branches = context.facts.branch_by_id
    visited: set[str] = set()
    parent = facts.parent_id
    while parent and parent not in visited:
        visited.add(parent)
        found = branches.get((facts.project_id, parent))
        if found is None or is_production(found, context):
            return True
        if _clean(found):
            return False
        parent = found.parent_id
    return False


def _clean(facts: BranchFacts) -> bool:
    masking = facts.masking
    return facts.init_source == "schema-only" or (isinstance(masking, Masking) and masking.state == "anonymized")


def _cannot(facts: BranchFacts, context: Context) -> str:
    """Neon does not anonymise branches of a project that limits addresses: then say what can be done instead."""
    project = context.facts.project_by_id.get(facts.project_id)
    access = project.access if project is not None else None
    if isinstance(access, Access) and (access.allowed_ips or access.block_public):
        return "; a project with an address list cannot anonymise: use a project of its own, or schema-only branches"
    return ""


@control_over("P59", BranchFacts, lambda facts: facts.masking)
def masking_coverage(facts: BranchFacts, masking: Masking | None, _context: Context) -> Iterator[RuleResult]:
    """Personal columns have no masking rule, rules were not applied, or changed after the last run."""
    where = object_id(facts.project_id, facts.id)
    if masking is None:
        yield absent(where, "no anonymised branch")
    elif masking.state in _BUSY:
        yield unclear(where, f"anonymisation is {masking.state}")
    else:
        found = [failed(object_id(where, what), text) for what, text in _gaps(facts, masking)]
        if not found and (isinstance(facts.personal_columns, Unread) or masking.covered is None):
            yield unclear(where, "which columns are personal, or which are covered, is not known")
        else:
            yield from verdict(where, found, "every personal column has a rule that was applied")


def _gaps(facts: BranchFacts, masking: Masking) -> Iterator[tuple[str, str]]:
    if not isinstance(facts.personal_columns, Unread) and masking.covered is not None:
        bare = sorted(set(facts.personal_columns) - set(masking.covered))
        if bare:
            yield "rules", f"no masking rule for {names(bare)}"
    if masking.rules is not None and masking.masked_columns is not None and masking.rules > masking.masked_columns:
        yield "run", f"{masking.rules} rules, and the last run masked {masking.masked_columns} columns"
    for what, at, text in (
        ("reset", facts.last_reset_at, "the branch was reset after the last run"),
        ("rules_changed", masking.rules_changed_at, "rules changed after the last run"),
    ):
        if at is not None and (masking.completed_at is None or at > masking.completed_at):
            yield what, text


@control_over("P60", DatabaseFacts, lambda facts: facts.check("personal"))
def anon_labels(facts: DatabaseFacts, personal: tuple[Group, ...], _context: Context) -> Iterable[RuleResult]:
    """Outside production a column with personal data has no masking label in the database itself."""
    where = place(facts)
    if not facts.nonproduction:
        return (absent(where, "production holds the real data"),)
    if not personal:
        return (absent(where, "no column is named like personal data"),)
    says = "is named like personal data and has no masking label"
    return of_groups(where, facts.check("unmasked"), says, "every such column has a masking label")
