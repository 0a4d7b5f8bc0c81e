"""What commands share: the store opened beside a running agent, and a client for Neon."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from collectors.neon.client import NeonClient, RawAnswer
from exporter.core import selfmetrics, tracing
from exporter.core.selfmetrics import SelfMetrics
from exporter.sampling.awake_store import SCHEMAS as AWAKE_SCHEMAS
from exporter.sampling.counters.statements import SCHEMAS as COUNTER_SCHEMAS
from exporter.sampling.inventory_store import INVENTORY_SCHEMA
from exporter.sampling.wake_states import WAKE_SCHEMA
from exporter.settings.preflight import core_problems
from exporter.settings.secret import read_secret
from exporter.settings.tree import CoreSettings, SettingsError
from exporter.storage.ledger.ledger import Ledger
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.ledger.sqlite_sql import LEDGER_SCHEMA
from exporter.storage.store import Schemas, Store, StoreError
from exporter.storage.tables import KEY_VALUE_SCHEMA, KeyValueStore
from exporter.tenancy.store import SCHEMAS as TENANCY_SCHEMAS

SHARED_SCHEMAS: Final[Schemas] = {
    "wake": WAKE_SCHEMA,
    **COUNTER_SCHEMAS,
    **TENANCY_SCHEMAS,
    **AWAKE_SCHEMAS,
    "ledger": LEDGER_SCHEMA,
    "notebook": KEY_VALUE_SCHEMA,
    "inventory": INVENTORY_SCHEMA,
}
"""The tables that more than one feature reads."""
UNMETERED: Final = ("unmetered", "services")
"""Where `unmetered_in` finds them among the small things of the store."""


@contextmanager
def open_store(settings: CoreSettings, own: Schemas | None = None, *, write: bool = False) -> Iterator[Store]:
    """The agent's store with the shared tables and a feature's ``own``, also beside a running agent.

    ``write``: to add rows that no agent writes.

    Raises:
        StoreError: it cannot be used, or no agent has made it yet.
    """
    path = settings.storage.path
    # Where the ledger is a database, its months can be closed on a machine without an agent's file.
    if not path.exists() and not (write and settings.ledger.url is not None):
        raise StoreError(missing_store(settings))
    schemas = {**SHARED_SCHEMAS, **(own or {})}
    store = Store.open_beside(path, schemas) if write else Store.open(path, schemas, read_only=True)
    try:
        yield store
    finally:
        store.close()


def ledger_of(
    settings: CoreSettings, store: Store, schemas: Schemas | None = None, *, read_only: bool = False
) -> Ledger:
    """The ledger of these settings: the PostgreSQL database that they name, or the store's. Opens no connection yet.

    The store must have the schema ``ledger``. For the others see `shared_ledger`.
    """
    return shared_ledger(settings, schemas, read_only=read_only) or SqliteLedger(store)


def shared_ledger(settings: CoreSettings, schemas: Schemas | None = None, *, read_only: bool = False) -> Ledger | None:
    """The ledger in PostgreSQL; None where the settings name no database. Opens no connection yet.

    ``schemas`` are the tables that features have in it (`Feature.ledger_schemas`); ``read_only`` neither makes nor
    changes tables.
    """
    if settings.ledger.url is None:
        return None
    from exporter.storage.ledger.postgres import PostgresLedger  # noqa: PLC0415 - psycopg is for those who use it

    secret = partial(read_secret, settings.ledger.password, settings.ledger.password_file)
    return PostgresLedger.of(settings.ledger.url, secret, schemas or {}, read_only=read_only)


def missing_store(settings: CoreSettings) -> str:
    """What to say where no agent has made the store yet."""
    return f"storage.path: {settings.storage.path} is not there yet; `neonmeter run` fills it"


def require(settings: CoreSettings, *sections: str, store: bool = False) -> None:
    """Refuse what cannot work before Neon is asked; ``sections`` are beginnings of paths, such as ``neon.``.

    Raises:
        SettingsError: something is known to be wrong with these sections, or (``store``) there is no store yet.
    """
    problems = [problem for problem in core_problems(settings) if problem.startswith(sections)]
    if store and not settings.storage.path.exists():
        problems.append(missing_store(settings))
    if problems:
        raise SettingsError(problems)


def names_of(store: Store) -> dict[str, str]:
    """Names of organisations, projects and branches by id, as the inventory last had them.

    Raises:
        StoreError: the file is damaged.
    """
    return KeyValueStore(store).texts("names")


def unmetered_in(store: Store) -> dict[str, int]:
    """Services of Neon that are in use and that its consumption API has no metric for: on how many branches each.

    As the credentials of the branches showed it last; empty when none is in use, or credentials were never read.

    Raises:
        StoreError: the file is damaged.
    """
    found = KeyValueStore(store).read(*UNMETERED) or {}
    return {service: int(str(branches)) for service, branches in sorted(found.items())}


def neon_client(
    settings: CoreSettings,
    metrics: SelfMetrics | None = None,
    clock: Callable[[], float] = time.time,
    *,
    on_answer: Callable[[RawAnswer], None] | None = None,
) -> NeonClient:
    """A client for the configured API; requests are counted in ``metrics``, answers are shown to ``on_answer``.

    ``clock`` answers unix seconds.
    """
    neon = settings.neon

    def on_request(route: str, status: int | None, seconds: float) -> None:
        if metrics is not None:
            metrics.inc(selfmetrics.API_REQUESTS, (route, "none" if status is None else str(status)))
            metrics.observe(selfmetrics.API_SECONDS, seconds, (route,))
        now = clock()
        tracing.record(f"GET {route}", now - seconds, now, status=status or 0)

    return NeonClient(
        neon.api_url,
        lambda: read_secret(neon.api_key, neon.api_key_file) or "",
        requests_per_minute=neon.requests_per_minute,
        burst=neon.burst,
        consumption_per_minute=neon.consumption_per_minute,
        timeout=neon.timeout_seconds,
        on_request=on_request,
        clock=clock,
        on_answer=on_answer,
    )
