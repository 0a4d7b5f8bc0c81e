"""Facts come back from the disk as they were; what another version wrote is read again, not guessed."""

from __future__ import annotations

import dataclasses
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from collectors.base import Status, Unread
from collectors.neon.domain.security import ApiKey, ApiRole, BranchFacts, Masking, OrganizationFacts, ProjectSnapshots
from collectors.platforms.domain.security import DrillFacts, TransitKey, VaultFacts
from collectors.postgres.domain.security import (
    AgentRole,
    DatabaseFacts,
    Extension,
    Group,
    Role,
    ServerFacts,
    Slot,
    TenantNames,
)
from exporter.posture.codec import CodecError, decode, encode
from exporter.posture.fact_cache import SOURCES, facts_of
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
    ProjectSnapshots({"b": ()}),
    ProjectSnapshots(REFUSED),
)  # fmt: skip


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: type(fact).__name__)
def test_a_fact_comes_back_as_it_was(fact: object, tmp_path: Path) -> None:
    assert decode(type(fact), encode(fact)) == fact
    source = next(name for name, kind in SOURCES.items() if isinstance(fact, kind))
    with_store = Store.open(tmp_path / "n.db", {"posture": POSTURE_SCHEMA})
    book = PostureStore(with_store)
    book.write({FactKey(source, "k"): (3.0, fact)})
    assert facts_of(book) == {FactKey(source, "k"): (3.0, fact)}
    book.forget([FactKey(source, "k")])
    assert facts_of(book) == {}
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


def test_a_store_of_an_earlier_version_still_loads(tmp_path: Path) -> None:
    """Every source as an earlier version wrote it (``stored_facts.json``); names that went since are passed over."""
    written = json.loads(Path(__file__).with_name("stored_facts.json").read_text())
    assert written.keys() == SOURCES.keys()
    store = Store.open(tmp_path / "n.db", {"posture": POSTURE_SCHEMA})
    with store.transaction() as cursor:
        for source, facts in written.items():
            for key, plain in facts.items():
                body = zlib.compress(json.dumps(plain).encode())
                cursor.execute("INSERT INTO posture_fact VALUES (?, ?, ?, ?)", (source, key, 7.0, body))
    found = {tuple(key): fact for key, (_, fact) in facts_of(PostureStore(store)).items()}
    store.close()
    assert found.keys() == {(source, key) for source, facts in written.items() for key in facts}
    for (source, key), fact in found.items():
        plain, again = written[source][key], encode(fact)
        assert lacks(plain, again) <= {"has_password", "readable", "readable_sample"}, (source, key)
    server, vault = found["server", "p1/br1"], found["vault", "bao"]
    assert isinstance(server, ServerFacts) and isinstance(server.roles, tuple) and server.roles[0].tenant == "acme"
    assert isinstance(vault, VaultFacts) and isinstance(vault.keys, tuple) and isinstance(vault.keys[1], Unread)
    assert found["drill", "p1/pitr"] == DrillFacts("p1", "pitr", 1794000000.0, 61.5, 2.0, "ok")


def lacks(old: Any, new: Any) -> set[str]:
    """Names of values that were written and are not in what was read."""
    if isinstance(old, dict):
        return set(old.keys() - new.keys()) | {
            name for key in old.keys() & new.keys() for name in lacks(old[key], new[key])
        }
    if isinstance(old, list):
        assert len(old) == len(new)
        return {name for one, other in zip(old, new, strict=True) for name in lacks(one, other)}
    assert old == new
    return set()
