"""Facts come back from the disk as they were; what another version wrote is read again, not guessed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from collectors.base import Status
from collectors.postgres.database.tenant_names import TenantNames
from exporter.posture.codec import CodecError, decode, encode
from exporter.posture.domain.facts import AgentRole, DatabaseFacts, Extension, Group, Role, ServerFacts, Slot
from exporter.posture.domain.facts_platform import (
    ApiKey,
    ApiRole,
    BranchFacts,
    Masking,
    OrganizationFacts,
    TransitKey,
    VaultFacts,
)
from exporter.posture.domain.finding import Unread
from exporter.posture.fact_cache import SOURCES, from_book
from exporter.posture.platform import Snapshots
from exporter.posture.store import DAY, POSTURE_SCHEMA, FactKey, PostureStore
from exporter.storage.store import Store

REFUSED = Unread(Status.NO_PRIVILEGE, "refused")
FACTS: tuple[object, ...] = (
    DatabaseFacts("p", "b", "d", {"rls_off": (Group("t", "", 25, ("a", "b"), "x"),), "xtenant_grant": REFUSED},
                  (Extension("dblink", "1.2", "1.2", "public"),), 3, 2, tenants_told=True, taken_at=5.0),
    DatabaseFacts("p", "b", "d", REFUSED, REFUSED),
    ServerFacts("p", "b", 180001, {"ssl": "on"}, (Role("r", valid_until=None, seen=None), Role("s", valid_until=7.0)),
                slots=(Slot("w", inactive_since=1.0),), agent=AgentRole("m", ("bypassrls",)), sessions=0),
    OrganizationFacts("o", keys=(ApiKey("1", "k", 5.0),), members=REFUSED),
    BranchFacts("p", "b", roles=(ApiRole("r", None),), masking=None, logical_size=0),
    BranchFacts("p", "b", masking=Masking("error", covered=())),
    VaultFacts("v", keys=(TransitKey("k", 1, 5.0), REFUSED), sealed=False),
    TenantNames({"public": "owner"}, ("owner",)),
    Snapshots({"b": ()}),
    Snapshots(REFUSED),
)  # fmt: skip


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: type(fact).__name__)
def test_a_fact_comes_back_as_it_was(fact: object, tmp_path: Path) -> None:
    assert decode(type(fact), encode(fact)) == fact
    source = next(name for name, kind in SOURCES.items() if isinstance(fact, kind))
    with_store = Store.open(tmp_path / "n.db", {"posture": POSTURE_SCHEMA})
    book = PostureStore(with_store)
    book.write({FactKey(source, "k"): (3.0, fact)})
    assert from_book(book) == {FactKey(source, "k"): (3.0, fact)}
    book.forget([FactKey(source, "k")])
    assert from_book(book) == {}
    with_store.close()


@pytest.mark.parametrize("kind", SOURCES.values(), ids=lambda kind: kind.__name__)
def test_every_kind_has_types_that_can_be_read_back(kind: type) -> None:
    required = {
        field.name: "x"
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    if kind is TenantNames:
        required = {"schemas": {}, "roles": ()}  # type: ignore[dict-item]
    fact = kind(**required)
    assert decode(kind, encode(fact)) == fact


@pytest.mark.parametrize(
    "plain",
    [{}, {"project_id": 1}, {"project_id": "p", "branch_id": "b", "datname": "d", "tables": True}, [], None,
     {"project_id": "p", "branch_id": "b", "datname": "d", "checks": {"unread": "nonsense", "why": ""}}],
)  # fmt: skip
def test_what_does_not_fit_is_refused(plain: object) -> None:
    with pytest.raises(CodecError):
        decode(DatabaseFacts, plain)


def test_a_list_where_a_mapping_is_now_is_refused() -> None:
    with pytest.raises(CodecError):
        decode(TenantNames, {"schemas": ["public"], "roles": []})


def test_a_field_of_a_newer_version_costs_nothing() -> None:
    plain = encode(DatabaseFacts("p", "b", "d")) | {"later": 1}
    assert decode(DatabaseFacts, plain) == DatabaseFacts("p", "b", "d")


def test_the_state_of_the_day_before_is_found(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "n.db", {"posture": POSTURE_SCHEMA})
    book = PostureStore(store)
    assert book.day_before(10 * DAY) is None
    book.save_day(7 * DAY + 5, {"a": ("P01", "p1", "e")})
    book.save_day(7 * DAY + 9, {"b": ("P02", "p2", "f")})
    found = book.day_before(10 * DAY)
    assert found is not None
    assert found.taken_at == 7 * DAY + 9
    assert found.failures == {"b": ("P02", "p2", "f")}
    assert book.day_before(7 * DAY + 100) is None, "the day itself is no earlier state"
    store.close()
