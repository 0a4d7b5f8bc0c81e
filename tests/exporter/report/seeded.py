"""A small seeded quarter in a store, as an agent would have written it, and the settings that review it."""

from __future__ import annotations

import json
from pathlib import Path

from exporter.app.features import SCHEMAS
from exporter.demo.year import Year
from exporter.demo.year_ledger import seed_ledger, seed_tenants, seed_world
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.store import Store
from exporter.storage.tables import KeyValueStore

MONTHS = 3
"""March to May 2026: the price of compute falls, snapshots begin to cost, an organisation changes its plan."""
TAGS = [
    {"branch": "main", "tags": {"env": "prod"}},
    {"tags": {"env": "test"}},
    {"project": "s*", "tags": {"team": "web"}},
    {"project": "crm*", "tags": {"team": "sales", "cost_center": "4711"}},
]


def year() -> Year:
    """Always the same one."""
    return Year(seed=3, first="2026-03", months=MONTHS, orgs=2, branches=14)


def seed(folder: Path) -> Path:
    """Write the store; answers the settings file beside it."""
    made = year()
    store = Store.open(folder / "neonmeter.db", SCHEMAS)
    try:
        seed_store(store, made)
        regions = {p.id: "azure-eastus2" if p.number % 2 else "aws-us-east-2" for p in made.projects}
        KeyValueStore(store).write("regions", "all", regions)
    finally:
        store.close()
    return write_settings(folder)


def seed_store(store: Store, made: Year) -> None:
    """All of a year: lives of branches, usage, and what tenants did."""
    seed_world(store, made)
    seed_ledger(SqliteLedger(store), made)
    seed_tenants(store, made)


def write_settings(folder: Path, name: str = "neonmeter.json", **more: object) -> Path:
    """A settings file; JSON is YAML. ``more`` adds or replaces sections."""
    tree = {
        "storage": {"path": str(folder / "neonmeter.db")},
        "report": {"company": "Example <Ltd>", "tags": TAGS},
        "budgets": [{"name": "everything", "amount": "900.00"}],
        **more,
    }
    path = folder / name
    path.write_text(json.dumps(tree))
    return path
