"""Tags, and the scopes of budgets: which team, environment or cost centre a project or branch belongs to.

Neon has no tags of its own. The rules are globs over id or name, and for each key the first rule that gives it wins,
so a branch rule stands above the rule of its project.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from exporter.cost.domain.budget import Budget, Scope
from exporter.pricing.domain.usage import PROJECT_LEVEL, UNATTRIBUTED
from exporter.settings.report import TagRuleSettings

Part = tuple[str, str, str, str]
"""Organisation, project, branch, tenant."""
_NO_BRANCH = ("", PROJECT_LEVEL, UNATTRIBUTED)


class Tagging:
    """Answers the tags of projects and branches; works each out once."""

    def __init__(self, rules: Iterable[TagRuleSettings], names: Mapping[str, str]) -> None:
        """Take the rules in their order, and the names (id -> name) that globs may use instead of ids."""
        self._rules = tuple(rules)
        self._names = names
        self._known: dict[tuple[str, str], Mapping[str, str]] = {}

    @property
    def keys(self) -> tuple[str, ...]:
        """Every tag key that a rule gives, in order."""
        return tuple(sorted({key for rule in self._rules for key in rule.tags}))

    def of(self, project_id: str, branch_id: str = "") -> Mapping[str, str]:
        """Tags by key; charges of a project that belong to no branch have the project's."""
        found = self._known.get((project_id, branch_id))
        if found is None:
            found = self._known[project_id, branch_id] = self._work_out(project_id, branch_id)
        return found

    def _work_out(self, project_id: str, branch_id: str) -> Mapping[str, str]:
        tags: dict[str, str] = {}
        for rule in self._rules:
            if _matches(self._names, project_id, rule.project) and self._matches_branch(rule.branch, branch_id):
                tags = {**rule.tags, **tags}
        return dict(sorted(tags.items()))

    def _matches_branch(self, glob: str, branch_id: str) -> bool:
        return glob == "*" if branch_id in _NO_BRANCH else _matches(self._names, branch_id, glob)


class Scoping:
    """Says which costs a budget is for. Names are as good as ids."""

    def __init__(self, names: Mapping[str, str], tags: Tagging) -> None:
        """``names`` are of projects and branches, by id."""
        self._names = names
        self._tags = tags

    def covers(self, budget: Budget, part: Part) -> bool:
        """Whether a cost counts. A tenant budget covers parts that name a tenant only."""
        org, project, branch, tenant = part
        if budget.scope is Scope.ORG:
            return fnmatchcase(org, budget.match)
        if budget.scope is Scope.PROJECT:
            return _matches(self._names, project, budget.match)
        if budget.scope is Scope.BRANCH:
            above, slash, below = budget.match.rpartition("/")
            return _matches(self._names, branch, below) and (not slash or _matches(self._names, project, above))
        if budget.scope is Scope.TENANT:
            return bool(tenant) and fnmatchcase(tenant, budget.match)
        key, _, value = budget.match.partition("=")
        own = self._tags.of(project, branch).get(key)
        return own is not None and fnmatchcase(own, value)


def _matches(names: Mapping[str, str], thing: str, glob: str) -> bool:
    return fnmatchcase(thing, glob) or fnmatchcase(names.get(thing, thing), glob)
