"""Whose work it is: a list of rules turns what is known of a fact into a tenant, because Postgres knows no tenants.

The first rule that matches wins. A pattern must match the whole text (as in Prometheus relabelling), so ``acme`` is
never also ``acme_test``, and a name that is written without any wildcard is just that name; ``^`` and ``$`` do no harm.
A field that a fact does not have matches no pattern, not even ``.*``: pg_stat_statements knows neither schema nor
application_name, so rules over those need a fact that does (for schemas: which role works in which schema).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

UNATTRIBUTED: Final = "__unattributed__"
"""What no rule matches."""
SHARED: Final = "__shared__"
"""What belongs to nobody: a rule says so with ``tenant: __shared__``."""
AGENT: Final = "__agent__"
"""Our own statements."""
IDLE: Final = "__idle__"
"""Awake and not busy: computed from what is left, so no rule can name it."""

FIELDS: Final = ("project", "branch", "database", "schema", "role", "application_name")
STATEMENT_FACTS: Final = frozenset({"project", "branch", "database", "role"})
"""What every statement row knows."""

Names = str | Sequence[str]
"""One text, or several for the same thing: a project's id and name, the schemas of a role. Empty means unknown."""

_CACHE_MOST: Final = 50_000
_NAMED: Final = (UNATTRIBUTED, SHARED, AGENT)


class TenantRulesError(ValueError):
    """The rules cannot work; ``problems`` has one line for each, beginning with its place, as ``tenants[2].role``."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class TenantRule:
    """One rule: every pattern that is given must match; then ``tenant``, or what ``(?P<tenant>...)`` captured.

    ``map`` translates the captured text (or the text of the only field) to a tenant; a text it lacks does not match.
    """

    tenant: str | None = None
    project: str | None = None
    branch: str | None = None
    database: str | None = None
    schema: str | None = None
    role: str | None = None
    application_name: str | None = None
    map: Mapping[str, str] | None = field(default=None, hash=False)

    @property
    def patterns(self) -> dict[str, str]:
        """The patterns that are given, by field."""
        found = {name: getattr(self, name) for name in FIELDS}
        return {name: pattern for name, pattern in found.items() if pattern is not None}


@dataclass(frozen=True, slots=True)
class _Compiled:
    tenant: str | None
    patterns: tuple[tuple[str, re.Pattern[str]], ...]
    capturing: str
    """The field whose text names the tenant; empty when the rule itself does."""
    map: Mapping[str, str] | None

    def speaks_of(self, places: Mapping[str, tuple[str, ...]]) -> bool:
        """Whether its patterns over projects and branches match."""
        return all(
            any(text and pattern.fullmatch(text) for text in places[name])
            for name, pattern in self.patterns
            if name in places
        )

    def tenant_of(self, facts: Mapping[str, tuple[str, ...]]) -> str | None:
        answer = self.tenant
        for name, pattern in self.patterns:
            found = [match for text in facts[name] if text and (match := pattern.fullmatch(text))]
            if not found:
                return None
            if name == self.capturing:
                tenants = [tenant for match in found if (tenant := self._named(match)) is not None]
                # A role that works in the schemas of two tenants is neither's: then the next rule may match.
                if not tenants or (name == "schema" and len(set(tenants)) > 1):
                    return None
                # Ids come before names, and a tenant is called by the name.
                answer = tenants[-1]
        return answer

    def _named(self, match: re.Match[str]) -> str | None:
        text = match["tenant"] if "tenant" in match.re.groupindex else match[0]
        if self.map is not None:
            return self.map.get(text)
        # A role that somebody called __idle__ must not land in a row that means something else.
        return None if not text or _reserved(text) else text


class TenantRules:
    """The rules, checked and compiled. Pure but for its memory of what it answered before."""

    def __init__(self, rules: Sequence[TenantRule] = (), own_roles: Collection[str] = ()) -> None:
        """``own_roles`` are the roles that we ourselves log in as; no rule is asked about those.

        Raises:
            TenantRulesError: a rule is malformed or can never match; it names all of them.
        """
        problems = check_rules(rules)
        if problems:
            raise TenantRulesError(problems)
        self._rules = tuple(rules)
        self._own_roles = frozenset(own_roles)
        self._compiled = tuple(_compile(rule) for rule in rules)
        self._answers: dict[tuple[Names, ...], str] = {}

    def resolve(
        self,
        *,
        project: Names = "",
        branch: Names = "",
        database: str = "",
        schema: Names = "",
        role: str = "",
        application_name: str = "",
    ) -> str:
        """The tenant of a fact. Projects and branches come as (id, name): either may match, the name wins."""
        key: tuple[Names, ...] = (project, branch, database, schema, role, application_name)
        try:
            return self._answers[key]
        except KeyError:
            pass
        except TypeError:  # lists do not hash
            key = tuple(name if isinstance(name, str) else tuple(name) for name in key)
        if len(self._answers) >= _CACHE_MOST:
            self._answers.clear()
        answer = self._answers[key] = self._resolve(key, role)
        return answer

    def _resolve(self, key: tuple[Names, ...], role: str) -> str:
        if role and role in self._own_roles:
            return AGENT
        facts = {
            name: (sequence,) if isinstance(sequence, str) else tuple(sequence)
            for name, sequence in zip(FIELDS, key, strict=True)
        }
        answers = (rule.tenant_of(facts) for rule in self._compiled)
        return next((answer for answer in answers if answer is not None), UNATTRIBUTED)

    def owner(self, project: tuple[str, ...], branch: tuple[str, ...] = ()) -> str | None:
        """The one tenant whose all of a branch is, by (id, name) of it; without a branch: of the project's own charges.

        None when no rule over projects and branches alone says so, or when a rule before it gives a part of the branch
        to somebody else (a role, a database).
        """
        if not branch:
            found = self.resolve(project=project)
            return None if found == UNATTRIBUTED else found
        places = {"project": project, "branch": branch}
        for rule in self._compiled:
            if rule.speaks_of(places):
                if any(name not in places for name, _ in rule.patterns):
                    return None
                tenant = rule.tenant_of(places)
                if tenant is not None:
                    return None if tenant == UNATTRIBUTED else tenant
        return None

    def unmatchable(self, known: Collection[str] = STATEMENT_FACTS) -> tuple[str, ...]:
        """What a person should know: rules that can never match facts of which exactly ``known`` is known."""
        notes: list[str] = []
        for index, rule in enumerate(self._rules):
            notes += [
                f"tenants[{index}].{name}: {_WHY_UNKNOWN.get(name, 'these facts do not have it')}"
                for name in rule.patterns
                if name not in known
            ]
            earlier = _shadow(self._rules[:index], rule, always=known)
            if earlier is not None:
                notes.append(f"tenants[{index}]: never reached, tenants[{earlier}] already takes everything it could")
        return tuple(notes)


_WHY_UNKNOWN: Final = {
    "schema": "pg_stat_statements has no schema: it matches only where a role is known to work in one schema",
    "application_name": "pg_stat_statements has no application_name: it matches sampled sessions, not statements",
}


def check_rules(rules: Sequence[TenantRule]) -> tuple[str, ...]:
    """All that is wrong with the rules, one line each, beginning with the place. Empty when they can work."""
    problems: list[str] = []
    for index, rule in enumerate(rules):
        problems += [f"tenants[{index}]{problem}" for problem in _problems(rule)]
        earlier = _shadow(rules[:index], rule)
        if earlier is not None:
            problems.append(f"tenants[{index}]: can never match, tenants[{earlier}] before it takes all of it")
    return tuple(problems)


def _problems(rule: TenantRule) -> Iterator[str]:
    patterns = rule.patterns
    if not patterns:
        yield f": has no pattern; give at least one of {', '.join(FIELDS)}"
        return
    capturing: list[str] = []
    broken = False
    for name, pattern in patterns.items():
        problem, captures = _pattern_problem(pattern)
        if problem:
            broken = True
            yield f".{name}: {problem}"
        if captures:
            capturing.append(name)
    if broken:
        return
    if len(capturing) > 1:
        yield f": the tenant is captured twice, in {' and in '.join(capturing)}; keep one (?P<tenant>...)"
    yield from _tenant_problems(rule, capturing)


def _tenant_problems(rule: TenantRule, capturing: list[str]) -> Iterator[str]:
    if rule.map is not None:
        if rule.tenant is not None:
            yield ".tenant: the map names the tenants already; remove one of the two"
        if not rule.map:
            yield ".map: is empty, so the rule can never match"
        if not capturing and len(rule.patterns) > 1:
            yield ".map: which field does it translate? mark it with (?P<tenant>...)"
        for text, tenant in rule.map.items():
            if not tenant or (_reserved(tenant) and tenant not in _NAMED):
                yield f".map[{text}]: {tenant!r} cannot be a tenant's name"
    elif rule.tenant is None and not capturing:
        yield ": names no tenant; add `tenant: NAME`, or capture it with (?P<tenant>...) in a pattern"
    elif rule.tenant is not None and capturing:
        yield f".{capturing[0]}: captures a tenant, but `tenant: {rule.tenant}` names one already; keep one of the two"
    elif rule.tenant is not None and (not rule.tenant or (_reserved(rule.tenant) and rule.tenant not in _NAMED)):
        yield f".tenant: {rule.tenant!r} cannot be a tenant's name; reserved ones you may use: {', '.join(_NAMED)}"


def _pattern_problem(pattern: str) -> tuple[str, bool]:
    if not pattern:
        return "the pattern is empty, and an unknown field matches nothing; remove it or write .*", False
    try:
        groups = re.compile(pattern).groupindex
    except re.error as problem:
        return f"{pattern!r} is not a regular expression: {problem}", False
    others = sorted(set(groups) - {"tenant"})
    if others:
        return f"{pattern!r} captures {', '.join(others)}; the only name a group can have is (?P<tenant>...)", False
    return "", "tenant" in groups


def _compile(rule: TenantRule) -> _Compiled:
    compiled = tuple((name, re.compile(pattern)) for name, pattern in rule.patterns.items())
    capturing = next((name for name, pattern in compiled if "tenant" in pattern.groupindex), "")
    if not capturing and rule.map is not None:
        capturing = compiled[0][0]
    return _Compiled(rule.tenant, compiled, capturing, rule.map)


def _shadow(earlier: Sequence[TenantRule], rule: TenantRule, always: Collection[str] = ()) -> int | None:
    """The first earlier rule that takes all that this one could: only where the text alone proves it."""
    patterns = rule.patterns
    for index, other in enumerate(earlier):
        theirs = other.patterns
        # A rule can decline what it matched: the map lacks it, or the schemas of a role name two tenants.
        declines = other.map is not None or "schema" in theirs
        if theirs and not declines and all(
            patterns.get(name) == pattern or (_takes_all(pattern) and (name in patterns or name in always))
            for name, pattern in theirs.items()
        ):  # fmt: skip
            return index
    return None


def _takes_all(pattern: str) -> bool:
    bare = pattern.removeprefix("^").removesuffix("$")
    inner = re.fullmatch(r"\((?:\?P<tenant>|\?:)?(.*)\)", bare)
    return (inner[1] if inner else bare).strip("^$") in (".*", ".+")


def _reserved(text: str) -> bool:
    return text.startswith("__") and text.endswith("__")
