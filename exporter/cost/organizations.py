"""Consumption belongs to an organisation: what is read of it is read for each, and told as one reading.

An agent that watches several organisations asks for the usage of each apart, with its projects alone; what one of them
refuses (a Free plan has no consumption history) or fails at costs the others nothing and is a note that names it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from collectors.base import Status
from collectors.neon.errors import NeonError
from collectors.neon.inventory import Inventory
from collectors.neon.organizations import by_organization

Read = TypeVar("Read", bound=tuple[Status, tuple[str, ...]])
Reading = Callable[[Inventory], Awaitable[Read | None]]
_STOPS = frozenset({Status.AUTH, Status.RATE_LIMITED})
"""The next organisation would fare no better."""
_FINE = (Status.OK, Status.TRUNCATED)


async def each_organization(inventory: Inventory, read: Reading[Read]) -> tuple[Status, tuple[str, ...]] | None:
    """Do one reading for every organisation; None when none of them had anything to read.

    The status is OK when all were read, TRUNCATED when some were, else that of the first. With one organisation it is
    as if ``read`` had been called.

    ``read`` is given the part of the inventory that is one organisation's. Each note begins with the name of the
    organisation that it is about.

    Raises:
        NeonError: of the only organisation, or of the first when all fail, or Neon takes no more requests.
        StoreError: as ``read``.
    """
    parts = by_organization(inventory)
    if len(parts) == 1:
        return await read(parts[0])
    ended, notes = list[Status](), list[str]()
    failed: NeonError | None = None
    for part in parts:
        try:
            outcome = await read(part)
        except NeonError as problem:
            if problem.status in _STOPS:
                raise
            failed = failed or problem
            ended.append(problem.status)
            notes.append(f"{part.title}: {problem.message}")
            continue
        if outcome is not None:
            ended.append(outcome[0])
            notes += (f"{part.title}: {note}" for note in outcome[1])
    if not ended:
        return None
    if not any(status in _FINE for status in ended):
        if failed is not None:
            raise failed
        return ended[0], tuple(notes)
    whole = all(status is Status.OK for status in ended)
    return (Status.OK if whole else Status.TRUNCATED), tuple(notes)
