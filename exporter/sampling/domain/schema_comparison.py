"""Drift: what one database has and another has not, and which tenant's schema is not like the others'. Pure.

Objects are compared by digest. A table that came or went is one change: its columns, constraints and the rest go with
it. Fingerprints of different major versions are not compared: PostgreSQL itself says the same thing in other words.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

from collectors.postgres.domain.fingerprint import Fingerprint, ObjectKey

ADDED, REMOVED, CHANGED = "added", "removed", "changed"
CHANGES = (ADDED, REMOVED, CHANGED)
_OWNERS = frozenset({"table", "view", "matview"})
_PARTS = frozenset({"column", "index", "constraint", "trigger", "policy", "rule"})
_GRANTED = ("table ", "column ")
_MOST_TIED = 20
_ORDER = "order"
"""The order of a table's columns: compared only where both sides have it and the columns are the same."""


_Digest = tuple[str, str]
"""What is compared of an object, and its definition for a person."""
_Objects = Mapping[ObjectKey, _Digest]


class Change(NamedTuple):
    """One object that differs. ``was`` and ``now`` are what PostgreSQL says of it, cut, empty on the missing side."""

    kind: str
    schema: str
    identity: str
    change: str
    was: str = ""
    now: str = ""

    @property
    def name(self) -> str:
        """What a person calls it."""
        return ".".join(part for part in (self.schema, self.identity) if part) or "(database)"


@dataclass(frozen=True, slots=True)
class IgnoreRule:
    """Differences that are intended: globs, the reason, and the day from which they count again (unix seconds)."""

    reason: str
    kind: str = "*"
    schema: str = "*"
    identity: str = "*"
    expires: float | None = None

    def covers(self, change: Change, now: float) -> bool:
        """Whether it is still in force and fits."""
        if self.expires is not None and now >= self.expires:
            return False
        pairs = ((change.kind, self.kind), (change.schema, self.schema), (change.identity, self.identity))
        return all(fnmatchcase(value, pattern) for value, pattern in pairs)


@dataclass(frozen=True, slots=True)
class Drift:
    """The outcome of one comparison; ``comparable`` is False, with the reason, when there is none."""

    changes: tuple[Change, ...] = ()
    ignored: int = 0
    comparable: bool = True
    why: str = ""

    def counts(self) -> dict[tuple[str, str], int]:
        """Changes by kind and change."""
        found: dict[tuple[str, str], int] = {}
        for row in self.changes:
            found[row.kind, row.change] = found.get((row.kind, row.change), 0) + 1
        return found


@dataclass(frozen=True, slots=True)
class TenantDrift:
    """Tenants against a reference schema: who deviates, and in what. The schema ``@`` stands for the tenant's own."""

    reference: str
    """The schema that the others are compared with."""
    by_majority: bool
    deviating: Mapping[str, tuple[Change, ...]]
    alike: int
    missing: tuple[str, ...] = ()
    """Tenants whose schema is not there."""


def compare(baseline: Fingerprint, current: Fingerprint, ignore: Sequence[IgnoreRule] = (), now: float = 0.0) -> Drift:
    """What ``current`` has more, less or otherwise than ``baseline``; sorted by kind, schema and identity."""
    if baseline.pg_major != current.pg_major:
        why = f"PostgreSQL {baseline.pg_major} and {current.pg_major}: fingerprints compare within one major version"
        return Drift(comparable=False, why=why)
    same = {
        name
        for name, schema in baseline.schemas.items()
        if (other := current.schemas.get(name)) is not None and other.digest == schema.digest
    }
    before, after = (
        {key: (found.digest, found.definition) for key, found in side.objects.items() if key.schema not in same}
        for side in (baseline, current)
    )
    found = _changes(before, after)
    counted = without_ignored(found, ignore, now)
    return Drift(counted, len(found) - len(counted))


def compare_tenants(
    current: Fingerprint,
    schemas: Mapping[str, str],
    *,
    template: str | None = None,
    ignore: Sequence[IgnoreRule] = (),
    now: float = 0.0,
) -> TenantDrift:
    """Every tenant's schema against the template, or against what most of them have; ``schemas`` is by tenant.

    Only within one database: schema names and the tenant's own role are taken out before comparing.
    """
    there = {tenant: name for tenant, name in schemas.items() if name in current.schemas}
    missing = tuple(sorted(schemas.keys() - there.keys()))
    reference = template if template in current.schemas else None
    if reference is None:
        reference = _majority(current, there.values())
    if reference is None:
        return TenantDrift("", True, {}, 0, missing)
    wanted = current.schemas[reference].relative
    differing = {t: name for t, name in there.items() if current.schemas[name].relative != wanted}
    by_schema: dict[str, dict[ObjectKey, _Digest]] = {
        reference: {},
        **{name: {} for name in differing.values()},
    }
    for (kind, schema, identity), found in current.objects.items():
        if schema in by_schema:
            by_schema[schema][ObjectKey(kind, "@", _here(identity, schema))] = (found.relative, found.definition)
    deviating: dict[str, tuple[Change, ...]] = {}
    alike = len(there) - len(differing)
    for tenant, name in sorted(differing.items()):
        changes = without_ignored(_changes(by_schema[reference], by_schema[name]), ignore, now)
        if changes:
            deviating[tenant] = changes
        else:
            alike += 1
    return TenantDrift(reference, reference != template, deviating, alike, missing)


def without_ignored(changes: Iterable[Change], ignore: Sequence[IgnoreRule], now: float) -> tuple[Change, ...]:
    """The changes that no rule covers at ``now`` (unix seconds)."""
    return tuple(change for change in changes if not any(rule.covers(change, now) for rule in ignore))


def _majority(current: Fingerprint, schemas: Iterable[str]) -> str | None:
    """The first schema of the largest group that is alike; of equally large ones, the one that is nearest to all."""
    groups: dict[str, list[str]] = {}
    for name in sorted(schemas):
        groups.setdefault(current.schemas[name].relative, []).append(name)
    largest = max((len(names) for names in groups.values()), default=0)
    tied = sorted(names[0] for names in groups.values() if len(names) == largest)
    return _nearest(current, tied[:_MOST_TIED]) if len(tied) > 1 else next(iter(tied), None)


def _nearest(current: Fingerprint, schemas: Sequence[str]) -> str:
    parts: dict[str, set[tuple[str, str, str]]] = {name: set() for name in schemas}
    for (kind, schema, identity), found in current.objects.items():
        if schema in parts:
            parts[schema].add((kind, _here(identity, schema), found.relative))
    return min(schemas, key=lambda name: (sum(len(parts[name] ^ other) for other in parts.values()), name))


def _here(identity: str, schema: str) -> str:
    """As ``quote_ident(schema) || '.'`` is replaced on the server."""
    quoted = schema if re.fullmatch(r"[a-z_][a-z0-9_$]*", schema) else '"' + schema.replace('"', '""') + '"'
    return identity.replace(f"{quoted}.", "@.").replace(f'"{schema}".', "@.")


def _changes(before: _Objects, after: _Objects) -> Sequence[Change]:
    added, removed = after.keys() - before.keys(), before.keys() - after.keys()
    reshaped = {
        (schema, identity[:place])
        for kind, schema, identity in added | removed
        if kind == "column"
        for place, letter in enumerate(identity)
        if letter == "."
    }
    found = [Change(*key, ADDED, now=after[key][1]) for key in added if not _implied(key, added)]
    found += [Change(*key, REMOVED, was=before[key][1]) for key in removed if not _implied(key, removed)]
    found += [
        Change(*key, CHANGED, before[key][1], after[key][1])
        for key in before.keys() & after.keys()
        if before[key][0] != after[key][0] and not (key[0] == _ORDER and key[1:] in reshaped)
    ]
    return sorted(found)


def _implied(key: ObjectKey, moved: Container[tuple[str, str, str]]) -> bool:
    """Whether an object came or went with its schema or its table; the order of columns never does by itself."""
    kind, schema, identity = key
    if kind == _ORDER:
        return True
    if kind != "schema" and ("schema", schema, "") in moved:
        return True
    if kind == "grant":
        named = next((identity.removeprefix(word) for word in _GRANTED if identity.startswith(word)), "")
        return any((owner, schema, name) in moved for owner in _OWNERS for name in (named, named.rpartition(".")[0]))
    if kind not in _PARTS:
        return False
    # A name may hold a dot itself: any prefix that is a table which moved with it will do.
    return any(
        (owner, schema, identity[:place]) in moved
        for owner in _OWNERS
        for place, letter in enumerate(identity)
        if letter == "."
    )
