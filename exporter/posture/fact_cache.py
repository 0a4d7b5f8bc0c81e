"""All facts in memory, written through to the disk; it knows whether anything in them moved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from collectors.neon.domain.security import BranchFacts, OrganizationFacts, ProjectFacts, ProjectSnapshots
from collectors.platforms.domain.security import BucketFacts, DrillFacts, HandshakeFacts, PoolerFacts, VaultFacts
from collectors.postgres.domain.security import DatabaseFacts, ServerFacts, TenantNames
from exporter.posture.store import FactKey, PostureStore
from exporter.storage.writer import WriterThread

SOURCES: Mapping[str, type] = {
    "database": DatabaseFacts,
    "server": ServerFacts,
    "names": TenantNames,
    "organization": OrganizationFacts,
    "project": ProjectFacts,
    "branch": BranchFacts,
    "snapshots": ProjectSnapshots,
    "vault": VaultFacts,
    "s3": BucketFacts,
    "tls": HandshakeFacts,
    "pooler": PoolerFacts,
    "drill": DrillFacts,
}
"""The type of each source's facts. Keys: ``project/branch/database``, ``project/branch``, or the thing's own name."""
Fact = TypeVar("Fact")
Answer = TypeVar("Answer")
CachedFacts = dict[FactKey, tuple[float, object]]


def facts_of(store: PostureStore) -> CachedFacts:
    """Everything on the disk that still fits; what does not is read again in its time."""
    found: CachedFacts = {}
    for key, stored in store.facts().items():
        kind = SOURCES.get(key.source)
        fact = stored.as_(kind) if kind is not None else None
        if fact is not None:
            found[key] = (stored.taken_at, fact)
    return found


class FactCache:
    """Lives on the event loop. Without a store nothing is written: for one look beside a running agent."""

    def __init__(
        self, store: PostureStore | None = None, writer: WriterThread | None = None, facts: CachedFacts | None = None
    ) -> None:
        """``facts``: what is known already, in place of what the store has."""
        self._store = store
        self._writer = writer
        self._facts = facts
        self.revision = 0
        """Grows when the content of a fact changed; not when the same was read again."""

    async def load(self) -> CachedFacts:
        """Every fact; the store is read at the first call only."""
        if self._facts is None:
            self._facts = await self._run(facts_of) or {}
        return self._facts

    def get(self, source: str, key: str, kind: type[Fact]) -> tuple[float, Fact] | None:
        """One fact and when it was read; None before ``load`` or where there is none."""
        found = (self._facts or {}).get(FactKey(source, key))
        return found if found is not None and isinstance(found[1], kind) else None  # type: ignore[return-value]

    def below(self, source: str, where: str, kind: type[Fact]) -> Iterator[tuple[str, Fact]]:
        """The facts of a source whose key begins with ``where/``, by the rest of the key."""
        for key, (_, fact) in (self._facts or {}).items():
            if key.source == source and key.key.startswith(f"{where}/") and isinstance(fact, kind):
                yield key.key.removeprefix(f"{where}/"), fact

    async def put(self, source: str, facts: Mapping[str, object], at: float) -> None:
        """Keep facts of one source, by key."""
        known = await self.load()
        new = {FactKey(source, key): (at, fact) for key, fact in facts.items()}
        if any(key not in known or known[key][1] != fact for key, (_, fact) in new.items()):
            self.revision += 1
        known.update(new)
        if new:
            await self._run(lambda store: store.write(new))

    async def keep_only(self, source: str, keys: Iterable[str], *, below: str = "") -> None:
        """Forget the facts of a source, whose key begins with ``below``, that are not among the keys."""
        known, wanted = await self.load(), set(keys)
        await self.forget(
            [row for row in known if row.source == source and row.key.startswith(below) and row.key not in wanted]
        )

    async def forget(self, gone: Sequence[FactKey]) -> None:
        """Forget these facts."""
        known = await self.load()
        for row in gone:
            known.pop(row, None)
        if gone:
            self.revision += 1
            await self._run(lambda store: store.forget(gone))

    async def _run(self, act: Callable[[PostureStore], Answer]) -> Answer | None:
        store = self._store
        if store is None or self._writer is None:
            return None
        return await self._writer.run(lambda: act(store))
