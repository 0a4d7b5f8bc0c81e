"""A child branch that drifts while the demo runs: somebody tries something out on it, by hand, and forgets it.

The agent sees it at the next visit that the rules allow: once in each life of the compute.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import LiteralString

import psycopg

from exporter.demo.twin import Twin

AFTER_SECONDS = 45.0
PLACE = ("bookshop", "staging")
CHANGES: Mapping[str, Sequence[LiteralString]] = {
    "acme": (
        "ALTER TABLE t_acme.orders ADD COLUMN IF NOT EXISTS gift_note text",
        "DROP INDEX IF EXISTS t_acme.orders_by_customer",
    ),
    "birch": ("ALTER TABLE t_birch.customers ALTER COLUMN email TYPE varchar(320)",),
}
"""What each role does to its own schema."""
ABOUT = (
    f"After {AFTER_SECONDS:g} s somebody alters tables of {'/'.join(PLACE)} by hand: `neonmeter drift` tells what, from"
    " the visit\nin the next life of its compute on; before that it shows how the branch differs from main by plan."
)


def change(twin: Twin) -> None:
    """Make the changes, as the tenants' roles; a compute that sleeps wakes up for it, as for any user.

    Raises:
        psycopg.Error: it cannot connect, or a statement failed.
    """
    host, _, port = twin.compute(*PLACE).endpoint.host.rpartition(":")
    for role, statements in CHANGES.items():
        conninfo = f"host={host} port={port} dbname=app user={role} sslmode=disable connect_timeout=10"
        with psycopg.connect(
            conninfo, password=twin.password, application_name="a-laptop", autocommit=True
        ) as connection:
            for statement in statements:
                connection.execute(statement)


@contextlib.contextmanager
def drifting(twin: Twin, after: float = AFTER_SECONDS) -> Iterator[None]:
    """Let it drift ``after`` so many seconds."""
    ended = threading.Event()

    def later() -> None:
        if not ended.wait(after):
            with contextlib.suppress(psycopg.Error):
                change(twin)

    thread = threading.Thread(target=later, name="demo-drift", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
