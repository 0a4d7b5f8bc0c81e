"""How a transaction of the store begins and ends: with a flush of its own, or as a part of one that many share.

A flush of the disk takes milliseconds, on a bad disk 50, and a round over 10,000 computes has tens of thousands of
transactions: those that wait at the same time share one.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress


def whole(writer: sqlite3.Connection, cursor: sqlite3.Cursor) -> Iterator[sqlite3.Cursor]:
    """A transaction that is flushed when it ends."""
    cursor.execute("BEGIN IMMEDIATE")
    try:
        yield cursor
        cursor.execute("COMMIT")
    except BaseException:
        # A failed COMMIT may leave the transaction open; some errors have already ended it.
        if writer.in_transaction:
            with suppress(sqlite3.Error):
                writer.execute("ROLLBACK")
        raise


class SharedFlush:
    """Transactions of one thread that share a flush: savepoints in one transaction."""

    def __init__(self, thread: int) -> None:
        self.thread = thread
        self.begun = False
        """Whether this thread holds the lock for it."""
        self.busy = False
        self._lost: BaseException | None = None
        """The error with which SQLite gave up the whole transaction."""

    def part(self, writer: sqlite3.Connection, cursor: sqlite3.Cursor) -> Iterator[sqlite3.Cursor]:
        """One of the transactions."""
        if self._lost is not None:
            raise self._lost
        if not writer.in_transaction:
            cursor.execute("BEGIN IMMEDIATE")
        cursor.execute("SAVEPOINT part")
        self.busy = True
        try:
            yield cursor
            cursor.execute("RELEASE part")
        except BaseException as problem:
            try:
                if writer.in_transaction:
                    writer.execute("ROLLBACK TO part")
                    writer.execute("RELEASE part")
                else:
                    self._lost = problem
            except sqlite3.Error as worse:
                self._lost = worse
            raise
        finally:
            self.busy = False

    def end(self, writer: sqlite3.Connection) -> None:
        """Flush.

        Raises:
            sqlite3.Error: nothing is on the disk.
        """
        if self._lost is not None:
            raise self._lost
        if writer.in_transaction:
            writer.execute("COMMIT")


class Mirrors:
    """What mirrors the disk in memory, and must read it again when a flush was lost."""

    def __init__(self) -> None:
        self.off = False
        """Whether memory may hold what is not on the disk."""
        self._reloads: list[weakref.WeakMethod[Callable[[], None]]] = []

    def add(self, reload: Callable[[], None]) -> None:
        """Call this method then, as long as its object lives."""
        self._reloads = [known for known in self._reloads if known() is not None]
        self._reloads.append(weakref.WeakMethod(reload))

    def settle(self) -> None:
        """Let all read the disk again, if memory is off."""
        if self.off:
            for known in self._reloads:
                if (reload := known()) is not None:
                    reload()
            self.off = False
