"""The agent's one file on disk: SQLite, because a total that was exported must still be there after a kill -9.

Every commit is flushed to the disk before it returns (WAL with ``synchronous=FULL``), one process writes, and any
number may read. What is stored has its parts: each brings its own tables as numbered migrations, so that the
ledger and the counters share a file, a lock and a backup, and nothing else.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from collectors.errors import UsageError
from exporter.storage.shared_flush import Mirrors, SharedFlush, whole

Schemas = Mapping[str, Sequence[str]]
"""Name of a part -> its migrations in order; each is one or more SQL statements and is never edited once released."""

_APPLICATION_ID: Final = 0x4E6D7472
_CACHE_KIB: Final = 512
"""Cache a connection: SQLite's usual 2 MB would be a good part of our memory, and the kernel caches the file too."""
_BUSY_MS: Final = 5000
_WAL_KEEP_BYTES: Final = 16 * 1024 * 1024
_SPARE_BYTES: Final = 128 * 1024
"""Less room than this is a full disk: the smallest write that SQLite does is its index of 32 KiB."""
_ADVICE: Final = {
    sqlite3.SQLITE_CORRUPT: "the file is damaged: stop neonmeter, keep a copy, then restore a backup or run `.recover`",
    sqlite3.SQLITE_NOTADB: "this is not a SQLite database: point storage.path at another file, or move this one away",
    sqlite3.SQLITE_FULL: "the disk is full: free space or move storage.path; nothing was half written",
    sqlite3.SQLITE_IOERR: "the disk refused a read or a write: check the volume; nothing was half written",
    sqlite3.SQLITE_READONLY: "the file or its folder is read-only: neonmeter must be able to write both",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: the folder must exist, and neonmeter must be able to write in it",
    sqlite3.SQLITE_PERM: "access is denied: the file must belong to the user that runs neonmeter",
    sqlite3.SQLITE_BUSY: "another program holds a write lock on it: close that program",
    sqlite3.SQLITE_LOCKED: "another program holds a lock on it: close that program",
    sqlite3.SQLITE_PROTOCOL: "its locks do not work: the file must be on a local disk, not on a network share",
}


_ADVICE_BY_ERRNO: Final = {
    errno.ENOSPC: _ADVICE[sqlite3.SQLITE_FULL],
    errno.EDQUOT: "the quota of this user is used up: free space, raise it or move storage.path",
    errno.EFBIG: "the file may not grow (ulimit -f): raise the limit or move storage.path",
    errno.EIO: _ADVICE[sqlite3.SQLITE_IOERR],
    errno.EROFS: _ADVICE[sqlite3.SQLITE_READONLY],
    errno.EACCES: _ADVICE[sqlite3.SQLITE_PERM],
    errno.EPERM: _ADVICE[sqlite3.SQLITE_PERM],
    errno.ENOENT: "the folder must exist: create it, or mount the volume that storage.path names",
    errno.ENOTDIR: "a part of the path is a file: point storage.path into a folder",
    errno.EISDIR: "this is a folder: point storage.path at a file in it",
    errno.ELOOP: "the path contains a symbolic link that is refused or goes in circles: name the file itself",
    errno.ENAMETOOLONG: "the name is too long for this file system: shorten storage.path",
    errno.EMFILE: "this process has too many open files: raise its limit (ulimit -n)",
    errno.ENFILE: "the system has too many open files: raise its limit (fs.file-max)",
    errno.ENOLCK: _ADVICE[sqlite3.SQLITE_PROTOCOL],
    errno.ESTALE: _ADVICE[sqlite3.SQLITE_PROTOCOL],
}


class StoreError(UsageError):
    """The store cannot be used: the message says what happened, to which file, and what to do."""

    heading = "neonmeter cannot start with the settings:"
    outcome = "store_error"


class StoreLockedError(StoreError):
    """An agent writes to the file; whoever only adds rows that no agent writes may use ``Store.open_beside``."""


class StoreOldError(StoreError):
    """Written by an older neonmeter: some part lacks tables that this program wants."""


class Store:
    """The open file. Safe to share between threads; do not ``await`` inside a transaction or a snapshot."""

    def __init__(
        self, path: Path, writer: sqlite3.Connection | None, reader: sqlite3.Connection, lock_file: int
    ) -> None:
        self.path = path
        self._writer = writer
        self._reader = reader
        self._lock_file = lock_file
        self._write_lock = threading.RLock()
        self._read_lock = threading.RLock()
        self._group: SharedFlush | None = None
        self._mirrors = Mirrors()

    @classmethod
    def open_beside(cls, path: Path, schemas: Schemas) -> Self:
        """Open the file to write a few rows, beside a running agent if there is one.

        The agent counts on being the only writer of what it writes; so this is for commands with tables of their own.

        Raises:
            StoreError: as :meth:`open`, but for the other agent.
        """
        try:
            return cls.open(path, schemas)
        except StoreLockedError:
            return cls.open(path, schemas, beside=True)

    @classmethod
    def open(cls, path: Path, schemas: Schemas, *, read_only: bool = False, beside: bool = False) -> Self:
        """Open the file, creating it (mode 0600) and bringing its tables up to date.

        A reader (``read_only``) may open it beside the one writer, and changes nothing, but that it brings the tables
        of an older neonmeter up to date where no agent holds them; ``beside`` is for :meth:`open_beside`.

        Raises:
            StoreLockedError: another agent writes to it.
            StoreError: it is damaged, foreign, newer than this program, or not accessible.
        """
        if read_only:
            try:
                return cls._open(path, schemas, read_only=True)
            except StoreOldError as old:
                cls._update(path, schemas, old)
        return cls._open(path, schemas, read_only=read_only, beside=beside)

    @classmethod
    def _update(cls, path: Path, schemas: Schemas, old: StoreOldError) -> None:
        try:
            cls._open(path, schemas).close()
        except StoreLockedError as locked:
            raise StoreError(f"{old}; first stop the older one that still runs ({locked})") from locked
        except StoreError as problem:
            raise StoreError(f"{old}; here it failed: {problem}") from problem

    @classmethod
    def _open(cls, path: Path, schemas: Schemas, *, read_only: bool = False, beside: bool = False) -> Self:
        lock_file = -1 if read_only or beside else _lock(path)
        connections: list[sqlite3.Connection] = []
        try:
            with _explained(path):
                if not read_only:
                    connections.append(_connect(path, "rw"))
                    if not beside:
                        _migrate(path, connections[0], schemas)
                connections.append(_connect(path, "ro"))
                _check(path, connections[-1], schemas)
        except BaseException:
            for connection in connections:
                connection.close()
            _release(lock_file)
            raise
        return cls(path, None if read_only else connections[0], connections[-1], lock_file)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Cursor]:
        """Write: all of it is on the disk when the block ends, or none of it; inside `together` when that one ends.

        Raises:
            StoreError: the disk is full, the file is damaged or read-only. Other ``sqlite3`` errors pass unchanged.
        """
        with self._write_lock:
            if self._writer is None:
                raise StoreError(f"{self.path}: opened for reading only, or closed")
            group = self._own_group()
            if self._writer.in_transaction if group is None else group.busy:
                raise RuntimeError("a transaction is already open in this thread")
            with _explained(self.path), closing(self._writer.cursor()) as cursor:
                if group is None:
                    yield from whole(self._writer, cursor)
                else:
                    yield from group.part(self._writer, cursor)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let all transactions of this thread inside the block reach the disk by one flush, when the block ends.

        Each is all or nothing by itself. This thread reads what those before wrote. Raises `StoreError` when the flush
        failed: nothing is on the disk, and memory has read that again (`mirrored`).
        """
        self._mirrors.settle()
        group = self._group = SharedFlush(threading.get_ident())
        try:
            yield
            with _explained(self.path):
                if self._writer is not None and group.begun:
                    group.end(self._writer)
        except BaseException:
            with suppress(sqlite3.Error):  # SQLite may have ended it.
                if self._writer is not None and group.begun:
                    self._writer.execute("ROLLBACK")
            self._mirrors.off = group.begun
            raise
        finally:
            self._group = None
            if group.begun:
                self._write_lock.release()
            with suppress(StoreError):  # The next group tries again before it writes anything.
                self._mirrors.settle()

    def mirrored(self, reload: Callable[[], None]) -> None:
        """Call ``reload``, a method, when a flush was lost with transactions in it: memory reads them again."""
        self._mirrors.add(reload)

    def _own_group(self) -> SharedFlush | None:
        group = self._group
        if group is None or group.thread != threading.get_ident():
            return None
        if not group.begun:
            self._write_lock.acquire()  # Until `together` ends.
            group.begun = True
        return group

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Cursor]:
        """Read one consistent state, fixed when the block begins; writers do not wait. May be nested.

        Raises:
            StoreError: the file is damaged or gone.
        """
        group = self._group
        if group is not None and group.thread == threading.get_ident() and group.begun and self._writer is not None:
            with _explained(self.path), closing(self._writer.cursor()) as cursor:
                yield cursor
            return
        with self._read_lock, _explained(self.path), closing(self._reader.cursor()) as cursor:
            if self._reader.in_transaction:
                yield cursor
                return
            cursor.execute("BEGIN")
            try:
                cursor.execute("SELECT count(*) FROM sqlite_schema").fetchone()
                yield cursor
            finally:
                if self._reader.in_transaction:
                    self._reader.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file and let another agent open it. May be called twice."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            if self._writer is not None:
                # Last, because the last connection to close folds the WAL into the file.
                self._writer.close()
            self._writer = None
            self._lock_file = _release(self._lock_file)


def _lock(path: Path) -> int:
    # A file of its own: SQLite's own locks vanish when anyone in this process closes a descriptor of the database.
    name = path.with_name(path.name + ".lock")
    try:
        lock_file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as problem:
        raise _refusal(name, problem) from problem
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The database must exist with its narrow mode before SQLite opens it; the -wal and -shm files inherit it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        _write_holder(lock_file)
    except BlockingIOError as problem:
        holder = os.pread(lock_file, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock_file)
        raise StoreLockedError(
            f"{path}: another neonmeter (process {holder}) writes to it; stop that one, or give this one its own "
            "storage.path"
        ) from problem
    except OSError as problem:
        os.close(lock_file)
        raise _refusal(path, problem) from problem
    return lock_file


def _write_holder(lock_file: int) -> None:
    """Write who holds the lock, for the message of whoever wants it too; on a full disk it goes without."""
    with suppress(OSError):
        os.ftruncate(lock_file, 0)
        os.pwrite(lock_file, f"{os.getpid()}\n".encode(), 0)


def _refusal(path: Path, problem: OSError) -> StoreError:
    advice = _ADVICE_BY_ERRNO.get(problem.errno or 0, _ADVICE[sqlite3.SQLITE_CANTOPEN])
    return StoreError(f"{path}: {problem.strerror}; {advice}")


def _release(lock_file: int) -> int:
    # The lock file stays: removing it would let two agents lock two different files of the same name.
    if lock_file >= 0:
        os.close(lock_file)
    return -1


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        if mode == "rw":
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEEP_BYTES}")
            connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(path: Path, connection: sqlite3.Connection, schemas: Schemas) -> None:
    # A table that others refer to can only be made anew, and SQLite wants no keys to be watched meanwhile.
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("BEGIN IMMEDIATE")
    try:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not tables:
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(
                "CREATE TABLE room (name TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT, WITHOUT ROWID"
            )
        found = _versions(path, connection, schemas)
        for name, migrations in schemas.items():
            for script in migrations[found.get(name, 0) :]:
                for statement in _statements(script):
                    connection.execute(statement)
            if found.get(name, 0) < len(migrations):
                connection.execute("INSERT OR REPLACE INTO room VALUES (?, ?)", (name, len(migrations)))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    finally:
        connection.execute("PRAGMA foreign_keys = ON")


def _versions(path: Path, connection: sqlite3.Connection, schemas: Schemas) -> dict[str, int]:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != _APPLICATION_ID:
        raise StoreError(f"{path}: a database of another program; point storage.path at a file of neonmeter's own")
    found: dict[str, int] = dict(connection.execute("SELECT name, version FROM room").fetchall())
    for name, migrations in schemas.items():
        if found.get(name, 0) > len(migrations):
            raise StoreError(
                f"{path}: written by a newer neonmeter (its part {name!r} has version {found[name]}, this one knows "
                f"{len(migrations)}); install that version or newer, or restore the backup made before the upgrade"
            )
    return found


def _check(path: Path, connection: sqlite3.Connection, schemas: Schemas) -> None:
    found = _versions(path, connection, schemas)
    for name, migrations in schemas.items():
        version = found.get(name, 0)
        if version < len(migrations):
            raise StoreOldError(
                f"{path}: written by an older neonmeter (its part {name!r} has version {version}, this program wants "
                f"{len(migrations)}); start `neonmeter run` once, it brings the file up to date"
            )


def _statements(script: str) -> Iterator[str]:
    # executescript() would commit first; a semicolon inside a literal or a trigger does not complete a statement.
    statement = ""
    for piece in script.split(";"):
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            if statement.strip(" \n;"):
                yield statement
            statement = ""


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.ProgrammingError as problem:
        if "closed" in str(problem):
            raise StoreError(f"{path}: the store is closed") from problem
        raise
    except sqlite3.Error as problem:
        code = getattr(problem, "sqlite_errorcode", None)
        if code is not None and code & 0xFF == sqlite3.SQLITE_IOERR and _no_space(path):
            code = sqlite3.SQLITE_FULL  # so SQLite says it of the memory-mapped index of its WAL
        advice = None if code is None else _ADVICE.get(code & 0xFF)
        if advice is None:
            raise
        raise StoreError(f"{path}: {problem}; {advice}") from problem


def _no_space(path: Path) -> bool:
    try:
        found = os.statvfs(path.parent)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _SPARE_BYTES or (found.f_files > 0 and found.f_favail == 0)
