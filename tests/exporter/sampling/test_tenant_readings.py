"""What readings tell about tenants: sessions by application, branches, snapshots, sizes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from collectors.base import Target
from collectors.metric import Scope
from collectors.neon.models import Endpoint
from collectors.postgres.cluster.sizes import DatabaseSizes
from collectors.postgres.evidence import CLIENT_ACTIVE, IDLE, Evidence, Holder
from collectors.wake.policy import EndpointFacts, WakeState
from exporter.pricing.domain.calendar import DAY, HOUR
from exporter.sampling.computes import Compute
from exporter.sampling.tenant_readings import TenantReadings
from exporter.settings.dsn import EndpointRef
from exporter.storage.store import Store
from exporter.storage.writer import WriterThread
from exporter.tenancy.domain.rules import TenantRule, TenantRules
from exporter.tenancy.store import SCHEMAS, Tenancy, TenantSample

NOW = 20_000 * DAY + 60
RULES = TenantRules(
    [TenantRule(role="(?P<tenant>.+)_app"), TenantRule(application_name="web-(?P<tenant>.+)")], own_roles=["monitor"]
)
COMPUTE = Compute(
    Endpoint.model_validate({"id": "ep1", "project_id": "p1", "branch_id": "b1", "host": "h"}),
    EndpointRef("ep1", "h", "p1", "shop", "b1", "main"),
    Target(Scope.ENDPOINT, ("p1", "b1", "ep1"), "shop/main"),
    EndpointFacts("ep1", "active", "", False, None, 1.0, 60, 2.0),
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "neonmeter.db", SCHEMAS)


@pytest.fixture
async def disk(store: Store) -> AsyncIterator[WriterThread]:
    made = WriterThread()
    yield made
    made.close()
    store.close()


def holder(
    application: str, count: int, *, user: str = "svc", kind: str = CLIENT_ACTIVE, changed: float = NOW
) -> Holder:
    return Holder(kind, user, application, "app", count, changed)


async def test_sessions_count_when_their_application_alone_tells_and_they_did_something(
    store: Store, disk: WriterThread
) -> None:
    tenancy = Tenancy(store, RULES)
    readings = TenantReadings(tenancy, disk)
    holders = (
        holder("web-acme", 2),
        holder("web-birch", 3, kind=IDLE, changed=NOW - 10),
        holder("web-birch", 9, kind=IDLE, changed=NOW - 1000),
        holder("web-cedar", 5, user="dune_app"),
        holder("psql", 4),
        holder("datadog web-acme", 7),
    )
    evidence = Evidence(NOW - 5000.0, NOW, 1, 1.0, holders)
    before = WakeState("ep1", NOW - 60.0, NOW - 60.0)
    await readings.sample(COMPUTE, evidence, before, before, NOW)
    hour = NOW // HOUR * HOUR
    assert tenancy.samples(0, NOW) == [
        TenantSample(hour, "p1", "b1", "acme", 2, 0),
        TenantSample(hour, "p1", "b1", "birch", 3, 0),
    ]


async def test_sizes_of_databases_are_taken_as_they_were_read(store: Store, disk: WriterThread) -> None:
    tenancy = Tenancy(store, TenantRules([TenantRule(database="d_(?P<tenant>.+)")]))
    sizes = DatabaseSizes({"d_acme": 100, "other": 50})
    await disk.run(lambda: TenantReadings(tenancy, disk).databases(COMPUTE, sizes, NOW))
    assert {size.tenant: size.bytes for size in tenancy.sizes(NOW)} == {"acme": 100, "__unattributed__": 50}
