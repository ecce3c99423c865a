"""How is the encrypted database opened, checked and changed? (`docs/spec/knowledge_base.md` §4).

Only this module knows SQLCipher. Its errors become ours here; their messages may quote SQL, never values.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from sqlcipher3 import dbapi2

from mitai.errors import (
    KnowledgeBaseBusy,
    KnowledgeBaseDamaged,
    KnowledgeBaseError,
    KnowledgeBaseNotFound,
    StorageFailed,
)
from mitai.formats import BUSY_TIMEOUT_SECONDS, HMAC_ALGORITHM, PAGE_SIZE, VERIFY_ON_OPEN_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

SqlValue: TypeAlias = "int | float | str | bytes | None"
Row: TypeAlias = "tuple[SqlValue, ...]"

_BUSY = {"SQLITE_BUSY", "SQLITE_LOCKED"}
_DAMAGED = {"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT"}
_STORAGE = {"SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM"}
_VERIFY_ATTEMPTS = 3  # a checkpoint of another process can tear a page while it is being verified
_VERIFY_PAUSE_SECONDS = 0.1


class _Cursor(Protocol):
    lastrowid: int

    def fetchall(self) -> list[Row]: ...
    def fetchone(self) -> Row | None: ...


class _Connection(Protocol):
    in_transaction: bool

    def execute(self, sql: str, parameters: Sequence[SqlValue] = ()) -> _Cursor: ...
    def executemany(self, sql: str, rows: Iterable[Sequence[SqlValue]]) -> _Cursor: ...
    def close(self) -> None: ...


class Database:
    """A connection to an encrypted database. Threads take turns; every method holds one lock.

    Args:
        path: An existing file; an empty one becomes a new database.
        key: 32 bytes.
        busy_timeout: Seconds that a writer waits for another process.

    Raises:
        KnowledgeBaseNotFound: There is no such file.
        KnowledgeBaseDamaged: The file is not what was written under this key.
    """

    def __init__(self, path: Path, key: bytes, *, busy_timeout: float = BUSY_TIMEOUT_SECONDS) -> None:
        if not path.is_file():
            raise KnowledgeBaseNotFound(f"{path} is missing")
        self._path = path
        self._lock = threading.RLock()
        with _translated():
            self._connection = _connect(path, busy_timeout)
        try:
            with _translated():
                self._configure(key)
                self._refuse_truncation()
            if path.stat().st_size <= VERIFY_ON_OPEN_BYTES:
                self.verify_pages()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close; the last connection folds the log into the database and removes it."""
        with self._lock, _translated():
            self._connection.close()

    def rows(self, sql: str, parameters: Sequence[SqlValue] = ()) -> list[Row]:
        """Run one statement and return its rows."""
        with self._lock, _translated():
            return self._connection.execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Sequence[SqlValue] = ()) -> Row | None:
        """Run one statement and return its first row, or None."""
        with self._lock, _translated():
            return self._connection.execute(sql, parameters).fetchone()

    def insert(self, sql: str, parameters: Sequence[SqlValue]) -> int:
        """Run one INSERT and return the new row's id."""
        with self._lock, _translated():
            return self._connection.execute(sql, parameters).lastrowid

    def many(self, sql: str, rows: Iterable[Sequence[SqlValue]]) -> None:
        """Run one statement once per row."""
        with self._lock, _translated():
            self._connection.executemany(sql, rows)

    def script(self, statements: Iterable[str]) -> None:
        """Run several statements, inside the transaction that is open."""
        with self._lock, _translated():
            for statement in statements:
                self._connection.execute(statement)

    @contextmanager
    def write(self) -> Iterator[None]:
        """Run the block as one transaction that owns the write lock from its start.

        Inside another `write` it is part of that one.

        Raises:
            KnowledgeBaseBusy: Another process kept the write lock for longer than the timeout.
        """
        with self._transaction("BEGIN IMMEDIATE"):
            yield

    @contextmanager
    def read(self) -> Iterator[None]:
        """Run the block on one snapshot of the database."""
        with self._transaction("BEGIN"):
            yield

    def checkpoint(self) -> bool:
        """Fold the log into the database and empty it; False where another process reads and prevents it."""
        row = self.row("PRAGMA wal_checkpoint(TRUNCATE)")
        return row is not None and row[0] == 0

    def verify_pages(self) -> None:
        """Verify the HMAC of every page in the file.

        Raises:
            KnowledgeBaseDamaged: Pages are not what was written.
        """
        bad: list[Row] = []
        for attempt in range(_VERIFY_ATTEMPTS):
            if attempt:
                time.sleep(_VERIFY_PAUSE_SECONDS)
            bad = self.rows("PRAGMA cipher_integrity_check")
            if not bad:
                return
        raise KnowledgeBaseDamaged(f"{len(bad)} pages of {self._path.name} are not what was written")

    def verify_structure(self) -> None:
        """Verify tables, indexes and references against each other; reads everything.

        Raises:
            KnowledgeBaseDamaged: They do not fit together.
        """
        if self.rows("PRAGMA integrity_check") != [("ok",)] or self.rows("PRAGMA foreign_key_check"):
            raise KnowledgeBaseDamaged(f"the tables of {self._path.name} do not fit together")

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        with self._lock:
            if self._in_transaction():
                yield
                return
            with _translated():
                self._connection.execute(begin)
            try:
                yield
                with _translated():
                    self._connection.execute("COMMIT")
            except BaseException:
                if self._in_transaction():  # SQLite itself rolls back after some errors
                    self._connection.execute("ROLLBACK")
                raise

    def _in_transaction(self) -> bool:
        return self._connection.in_transaction

    def _configure(self, key: bytes) -> None:
        run = self._connection.execute
        run("PRAGMA cipher_log_level=NONE")  # it would write to stderr
        run(f"PRAGMA key=\"x'{key.hex()}'\"")
        run("PRAGMA cipher_compatibility=4")
        run(f"PRAGMA cipher_page_size={PAGE_SIZE}")
        run(f"PRAGMA cipher_hmac_algorithm={HMAC_ALGORITHM}")
        options = {str(option) for (option,) in run("PRAGMA compile_options").fetchall()}
        if not options & {"TEMP_STORE=2", "TEMP_STORE=3"}:
            raise KnowledgeBaseError(
                "this build of SQLCipher could write temporary files in the clear",
                hint="Install sqlcipher3 from its wheel.",
            )
        for setting in (
            "temp_store=MEMORY",
            "trusted_schema=OFF",
            "cell_size_check=ON",
            "foreign_keys=ON",
            "secure_delete=ON",
        ):
            run(f"PRAGMA {setting}")
        mode = run("PRAGMA journal_mode=WAL").fetchone()  # the first statement that reads: a wrong key shows here
        if mode != ("wal",):
            raise StorageFailed(
                "the file system cannot hold a write-ahead log",
                hint="Keep the knowledge base on a local disk.",
            )
        run("PRAGMA synchronous=FULL")

    def _refuse_truncation(self) -> None:
        count = self._connection.execute("PRAGMA page_count").fetchone()
        state = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        # Pages counted before a checkpoint that left nothing in the log are all in the file itself.
        if count and state and state[0] == 0 and state[1] == state[2]:
            size = self._path.stat().st_size
            if size % PAGE_SIZE or size < cast("int", count[0]) * PAGE_SIZE:
                raise KnowledgeBaseDamaged(f"{self._path.name} is truncated")


def _connect(path: Path, busy_timeout: float) -> _Connection:
    # mode=rw: a file that vanished is an error, not a new and empty knowledge base.
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = dbapi2.connect(uri, uri=True, timeout=busy_timeout, isolation_level=None, check_same_thread=False)
    return cast("_Connection", connection)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except dbapi2.Error as error:
        raise _our_error(error) from None


def _our_error(error: Exception) -> KnowledgeBaseError:
    name = str(getattr(error, "sqlite_errorname", ""))
    # Extended codes begin with the primary one: SQLITE_BUSY_SNAPSHOT, SQLITE_IOERR_SHORT_READ.
    primary = "_".join(name.split("_")[:2])
    if primary in _BUSY:
        return KnowledgeBaseBusy("another process is writing to this knowledge base")
    if primary in _DAMAGED:
        return KnowledgeBaseDamaged("the database of this knowledge base is not what was written")
    if primary in _STORAGE:
        return StorageFailed(f"the disk refused ({name})")
    return KnowledgeBaseError(f"the database refused ({name or type(error).__name__})")
