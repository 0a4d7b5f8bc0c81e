"""Tags: which team, environment or cost centre a project or branch belongs to, as the settings say.

Neon has no tags of its own. The rules are globs over id or name, and for each key the first rule that gives it wins,
so a branch rule stands above the rule of its project.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Protocol

from exporter.pricing.domain.usage import PROJECT_LEVEL, UNATTRIBUTED

_NO_BRANCH = ("", PROJECT_LEVEL, UNATTRIBUTED)


class TagRule(Protocol):
    """Two globs and the tags of what both match."""

    @property
    def project(self) -> str: ...  # noqa: D102 - the names say it
    @property
    def branch(self) -> str: ...  # noqa: D102
    @property
    def tags(self) -> Mapping[str, str]: ...  # noqa: D102


class Tagging:
    """Answers the tags of projects and branches; works each out once."""

    def __init__(self, rules: Iterable[TagRule], names: Mapping[str, str]) -> None:
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
            if self._matches(rule.project, project_id) and self._matches_branch(rule.branch, branch_id):
                tags = {**rule.tags, **tags}
        return dict(sorted(tags.items()))

    def _matches_branch(self, glob: str, branch_id: str) -> bool:
        return glob == "*" if branch_id in _NO_BRANCH else self._matches(glob, branch_id)

    def _matches(self, glob: str, thing: str) -> bool:
        return fnmatchcase(thing, glob) or fnmatchcase(self._names.get(thing, thing), glob)
