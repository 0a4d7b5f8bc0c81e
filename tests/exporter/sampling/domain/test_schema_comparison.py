"""Comparisons of fingerprints: what is one change, what is ignored, who deviates. Fingerprints by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collectors.postgres.domain.fingerprint import (
    DATABASE,
    Fingerprint,
    ObjectFingerprint,
    ObjectKey,
    SchemaFingerprint,
)
from exporter.sampling.domain.schema_comparison import IgnoreRule, compare, compare_tenants

Objects = dict[tuple[str, str, str], str]


def made(objects: Objects, pg_major: int = 18) -> Fingerprint:
    """A fingerprint whose definitions are also its digests; a schema's own name is taken out for the relative one."""
    fingerprints = {
        ObjectKey(*key): ObjectFingerprint(text, text.replace(f"{key[1]}.", "@."), text)
        for key, text in objects.items()
    }
    names = {key[1] for key in objects} | {DATABASE}
    schemas = {}
    for name in names:
        mine = sorted(
            (key[0], key[2], row.digest, row.relative) for key, row in fingerprints.items() if key.schema == name
        )
        whole = str([row[:3] for row in mine])
        relative = str([(kind, identity, other) for kind, identity, _, other in mine])
        schemas[name] = SchemaFingerprint(whole, relative, len(mine))
    return Fingerprint(pg_major, "app", 0.0, schemas, fingerprints)


def table(schema: str, name: str, *columns: str) -> Objects:
    parts: Objects = {("table", schema, name): "r"}
    parts |= {("column", schema, f"{name}.{column}"): "text" for column in columns}
    return parts | {("index", schema, f"{name}.{name}_pkey"): f"ON {schema}.{name}"}


ORDERS = table("shop", "orders", "id", "note") | {("schema", "shop", ""): ""}


def test_a_table_is_one_change_and_takes_its_parts_along() -> None:
    drift = compare(made(ORDERS), made(ORDERS | table("shop", "extra", "id")))
    assert [(change.kind, change.name, change.change) for change in drift.changes] == [("table", "shop.extra", "added")]
    drift = compare(made(ORDERS | table("shop", "extra.v2", "id")), made(ORDERS))
    assert [(change.kind, change.name, change.change) for change in drift.changes] == [
        ("table", "shop.extra.v2", "removed")
    ]
    assert compare(made({}), made(ORDERS)).counts() == {("schema", "added"): 1}


def test_other_major_versions_are_not_compared() -> None:
    drift = compare(made(ORDERS, 17), made(ORDERS, 18))
    assert not drift.comparable
    assert "within one major version" in drift.why


def test_an_ignore_rule_counts_until_its_day() -> None:
    after = made(ORDERS | {("column", "shop", "orders.tmp"): "int"})
    rule = IgnoreRule("an experiment", "column", "shop", "orders.tm*", expires=100.0)
    assert (compare(made(ORDERS), after, [rule], 99.0).changes, compare(made(ORDERS), after, [rule], 99.0).ignored) == (
        (), 1
    )  # fmt: skip
    late = compare(made(ORDERS), after, [rule], 100.0)
    assert ([change.identity for change in late.changes], late.ignored) == (["orders.tmp"], 0)


@given(st.sets(st.sampled_from(range(12)), max_size=12), st.sets(st.sampled_from(range(12)), max_size=12))
def test_both_directions_mirror(one: set[int], other: set[int]) -> None:
    before, after = (
        made(ORDERS | {("column", "shop", f"orders.c{n}"): "int" for n in entry}) for entry in (one, other)
    )  # fmt: skip
    there, back = compare(before, after), compare(after, before)
    mirrored = {"added": "removed", "removed": "added", "changed": "changed"}
    assert {(c.identity, mirrored[c.change]) for c in there.changes} == {(c.identity, c.change) for c in back.changes}
    assert len(there.changes) == len(one ^ other)
    assert bool(there.changes) == (before.digest != after.digest)


def test_tenants_against_the_majority_and_a_template() -> None:
    objects: Objects = {}
    for number in range(5):
        schema = f"t_{number}"
        objects |= {("schema", schema, ""): ""} | table(schema, "orders", "id", "note")
    objects[("column", "t_3", "orders.extra")] = "int"
    del objects[("index", "t_4", "orders.orders_pkey")]
    schemas = {f"tenant{number}": f"t_{number}" for number in range(6)}
    found = compare_tenants(made(objects), schemas)
    assert (found.reference, found.by_majority, found.alike, found.missing) == ("t_0", True, 3, ("tenant5",))
    told = {tenant: [(c.kind, c.identity, c.change) for c in changes] for tenant, changes in found.deviating.items()}
    assert told == {
        "tenant3": [("column", "orders.extra", "added")],
        "tenant4": [("index", "orders.orders_pkey", "removed")],
    }
    template = compare_tenants(made(objects), schemas, template="t_3")
    assert (template.reference, template.alike, set(template.deviating)) == (
        "t_3", 1, {"tenant0", "tenant1", "tenant2", "tenant4"}
    )  # fmt: skip


def test_where_all_differ_the_reference_is_the_nearest_to_all() -> None:
    objects: Objects = {}
    for name in ("t_a", "t_b", "t_c"):
        objects |= {("schema", name, ""): ""} | table(name, "orders", "id")
    objects |= {("column", "t_a", "orders.x"): "int", ("column", "t_b", "orders.y"): "int"}
    found = compare_tenants(made(objects), {"a": "t_a", "b": "t_b", "c": "t_c"})
    assert (found.reference, set(found.deviating)) == ("t_c", {"a", "b"})
