"""What is remembered of each compute between visits, in memory and on the disk: the wake policy decides by it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

from collectors.wake.policy import WakeState
from exporter.storage.store import Store
from exporter.storage.tables import Table
from exporter.storage.writer import WriterThread

WAKE_SCHEMA: Final[tuple[str, ...]] = (
    "CREATE TABLE wake_state (endpoint_id TEXT PRIMARY KEY, state TEXT NOT NULL) STRICT, WITHOUT ROWID",
)
"""The part ``wake`` of the store. Each entry is one released migration."""
WAKE_STATES: Final[Table[str, Mapping[str, object]]] = Table(
    "wake_state", ("endpoint_id",), ("state",), lambda state: (json.dumps(dict(state), sort_keys=True),),
    lambda _, state: json.loads(state), str,
)  # fmt: skip
"""Wake states as JSON (`WakeState.as_dict`), by endpoint id."""


class WakeStates:
    """The wake states, in memory and on the disk."""

    def __init__(self, store: Store, disk: WriterThread) -> None:
        self._store = store
        self._disk = disk
        self._states = {key: WakeState.from_dict(value) for key, value in WAKE_STATES.items(store)}
        self._unsaved: set[str] = set()
        self.copy: Callable[[], Awaitable[None]] | None = None
        """Where another agent stands by: lets it know what is on the disk, before a compute is connected to."""

    def get(self, endpoint_id: str) -> WakeState | None:
        """The state of one compute; None before it was first considered."""
        return self._states.get(endpoint_id)

    def all(self) -> list[WakeState]:
        """The states of all computes, also of those that are gone."""
        return list(self._states.values())

    async def save(self, state: WakeState, *, at_once: bool = False) -> None:
        """Store a state; it is on the disk when this returns. Unless ``at_once``, it may wait for others a moment.

        Raises:
            StoreError: it is not on the disk; the next call tries again.
        """
        key = state.endpoint_id
        if self._states.get(key) != state or key in self._unsaved:
            self._states[key] = state
            self._unsaved.add(key)
            put = partial(WAKE_STATES.put, self._store, [(key, state.as_dict())])
            await self._disk.run(put, patient=not at_once)
            self._unsaved.discard(key)
        if state.in_flight and self.copy is not None:
            await self.copy()
