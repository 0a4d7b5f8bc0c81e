"""Awake as a feature: whose the awake time is that somebody held."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.awake.feature import TenantsOfHolders
from exporter.pricing.domain.calendar import DAY, HOUR
from exporter.sampling.domain.awake_shares import NOBODY, UNCOVERED, AwakeHolder, Part
from exporter.storage.store import Store
from exporter.tenancy.domain.rules import TenantRule, TenantRules
from exporter.tenancy.store import SCHEMAS, Tenancy

NOW = 20_000 * DAY + 60
RULES = TenantRules(
    [TenantRule(role="(?P<tenant>.+)_app"), TenantRule(application_name="web-(?P<tenant>.+)")], own_roles=["monitor"]
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "neonmeter.db", SCHEMAS)
    yield opened
    opened.close()


def test_who_held_a_compute_is_a_tenant_or_nobody(store: Store) -> None:
    tenancy = Tenancy(store, RULES)
    holders = {
        AwakeHolder("client_active", "acme_app", "psql"): 5,
        AwakeHolder("client_active", "svc", "web-acme"): 7,
        AwakeHolder("other_monitor", "", "neonmeter"): 11,
        AwakeHolder("walsender", "repl", "", "slot"): 13,
        NOBODY: 17,
        UNCOVERED: 19,
    }
    with store.transaction() as cursor:
        parts = [Part(HOUR, holder, amount) for holder, amount in holders.items()]
        TenantsOfHolders(tenancy).add(cursor, ("p1", "b1"), parts)
    found = {sample.tenant: sample.kept_us for sample in tenancy.samples(0, NOW)}
    assert found == {"acme": 12, "__agent__": 11, "__unattributed__": 13, "__idle__": 36}
