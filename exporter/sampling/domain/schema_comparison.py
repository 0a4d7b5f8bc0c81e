"""Drift: what one database has and another has not, and which tenant's schema is not like the others'. Pure.

Objects are compared by digest. A table that came or went is one change: its columns, constraints and the rest go with
it. Fingerprints of different major versions are not compared: PostgreSQL itself says the same thing in other words.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, Protocol

ADDED, REMOVED, CHANGED = "added", "removed", "changed"
CHANGES = (ADDED, REMOVED, CHANGED)
_OWNERS = frozenset({"table", "view", "matview"})
_PARTS = frozenset({"column", "index", "constraint", "trigger", "policy", "rule"})
_GRANTED = ("table ", "column ")
_MOST_TIED = 20
_ORDER = "order"
"""The order of a table's columns: compared only where both sides have it and the columns are the same."""


class ObjectLike(Protocol):
    """One object of a fingerprint (see ``collectors.postgres.database.fingerprint.ObjectPrint``)."""

    @property
    def digest(self) -> str: ...  # noqa: D102 - the names say it
    @property
    def relative(self) -> str: ...  # noqa: D102
    @property
    def definition(self) -> str: ...  # noqa: D102


class SchemaLike(Protocol):
    """One schema of a fingerprint."""

    @property
    def digest(self) -> str: ...  # noqa: D102
    @property
    def relative(self) -> str: ...  # noqa: D102


Key = tuple[str, str, str]
"""Kind, schema, identity."""


class FingerprintLike(Protocol):
    """A database as compared here (see ``collectors.postgres.database.fingerprint.Fingerprint``)."""

    @property
    def pg_major(self) -> int: ...  # noqa: D102
    @property
    def schemas(self) -> Mapping[str, SchemaLike]: ...  # noqa: D102
    @property
    def objects(self) -> Mapping[Any, ObjectLike]: ...  # noqa: D102


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
    """Differences that are meant: globs, the reason, and the day from which they count again (unix seconds)."""

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
    """The schema that the others are measured by."""
    by_majority: bool
    deviating: Mapping[str, tuple[Change, ...]]
    alike: int
    missing: tuple[str, ...] = ()
    """Tenants whose schema is not there."""


def compare(
    baseline: FingerprintLike, current: FingerprintLike, ignore: Iterable[IgnoreRule] = (), now: float = 0.0
) -> Drift:
    """What ``current`` has more, less or otherwise than ``baseline``; sorted by kind, schema and identity."""
    if baseline.pg_major != current.pg_major:
        why = f"PostgreSQL {baseline.pg_major} and {current.pg_major}: fingerprints compare within one major version"
        return Drift(comparable=False, why=why)
    same = {
        name
        for name, schema_like in baseline.schemas.items()
        if (other := current.schemas.get(name)) is not None and other.digest == schema_like.digest
    }
    before = {
        key: (object_like.digest, object_like.definition)
        for key, object_like in baseline.objects.items()
        if key[1] not in same
    }
    after = {
        key: (object_like.digest, object_like.definition)
        for key, object_like in current.objects.items()
        if key[1] not in same
    }
    rules = tuple(ignore)
    found = _changes(before, after)
    kept = tuple(row for row in found if not any(rule.covers(row, now) for rule in rules))
    return Drift(kept, len(found) - len(kept))


def compare_tenants(
    current: FingerprintLike,
    schemas: Mapping[str, str],
    *,
    template: str | None = None,
    ignore: Iterable[IgnoreRule] = (),
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
    by_schema: dict[str, dict[Key, tuple[str, str]]] = {reference: {}, **{name: {} for name in differing.values()}}
    for (kind, schema, identity), object_like in current.objects.items():
        if schema in by_schema:
            by_schema[schema][kind, "@", _here(identity, schema)] = (object_like.relative, object_like.definition)
    rules = tuple(ignore)
    deviating: dict[str, tuple[Change, ...]] = {}
    alike = len(there) - len(differing)
    for tenant, name in sorted(differing.items()):
        found = _changes(by_schema[reference], by_schema[name])
        kept = tuple(row for row in found if not any(rule.covers(row, now) for rule in rules))
        if kept:
            deviating[tenant] = kept
        else:
            alike += 1
    return TenantDrift(reference, reference != template, deviating, alike, missing)


def _majority(current: FingerprintLike, schemas: Iterable[str]) -> str | None:
    """The first schema of the largest group that is alike; of equally large ones, the one that is nearest to all."""
    groups: dict[str, list[str]] = {}
    for name in sorted(schemas):
        groups.setdefault(current.schemas[name].relative, []).append(name)
    largest = max((len(names) for names in groups.values()), default=0)
    tied = sorted(names[0] for names in groups.values() if len(names) == largest)
    return _nearest(current, tied[:_MOST_TIED]) if len(tied) > 1 else next(iter(tied), None)


def _nearest(current: FingerprintLike, schemas: Sequence[str]) -> str:
    parts: dict[str, set[tuple[str, str, str]]] = {name: set() for name in schemas}
    for (kind, schema, identity), object_like in current.objects.items():
        if schema in parts:
            parts[schema].add((kind, _here(identity, schema), object_like.relative))
    return min(schemas, key=lambda name: (sum(len(parts[name] ^ other) for other in parts.values()), name))


def _here(identity: str, schema: str) -> str:
    """As ``quote_ident(schema) || '.'`` is replaced on the server."""
    quoted = schema if re.fullmatch(r"[a-z_][a-z0-9_$]*", schema) else '"' + schema.replace('"', '""') + '"'
    return identity.replace(f"{quoted}.", "@.").replace(f'"{schema}".', "@.")


def _changes(before: Mapping[Key, tuple[str, str]], after: Mapping[Key, tuple[str, str]]) -> Sequence[Change]:
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


def _implied(key: Key, moved: Container[Key]) -> bool:
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
