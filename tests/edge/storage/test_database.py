from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from sqlcipher3 import dbapi2

from mitai.errors import (
    KnowledgeBaseBusy,
    KnowledgeBaseDamaged,
    KnowledgeBaseError,
    KnowledgeBaseNotFound,
    StorageFailed,
)
from mitai.formats import PAGE_SIZE
from mitai.keyslots.private_file import create_empty
from mitai.storage.database import Database
from support.knowledge_bases import decrypted_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = bytes(range(32))
ROWS = 300


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_empty(tmp_path / "kb.db")
    return tmp_path / "kb.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = Database(path, KEY, busy_timeout=0.2)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A closed database of some forty pages, overflow pages among them."""
    path = tmp_path_factory.mktemp("filled") / "kb.db"
    create_empty(path)
    database = Database(path, KEY)
    with database.write():
        database.script(["CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)"])
        database.many("INSERT INTO t VALUES (?, ?)", [(number, f"{number} " * 400) for number in range(ROWS)])
        database.insert("INSERT INTO t VALUES (?, ?)", (ROWS, "long " * 30_000))
    database.close()
    return path.read_bytes()


def test_settings_are_as_specified(database: Database) -> None:
    settings = {
        "cipher_page_size": str(PAGE_SIZE),
        "cipher_hmac_algorithm": "HMAC_SHA256",
        "journal_mode": "wal",
        "synchronous": 2,
        "secure_delete": 1,
        "temp_store": 2,
        "trusted_schema": 0,
        "cell_size_check": 1,
        "foreign_keys": 1,
        "cipher_memory_security": "0",
    }
    assert {name: (database.row(f"PRAGMA {name}") or (None,))[0] for name in settings} == settings
    options = {row[0] for row in database.rows("PRAGMA compile_options")}
    assert options & {"TEMP_STORE=2", "TEMP_STORE=3"}


def test_extensions_cannot_be_loaded(database: Database) -> None:
    with pytest.raises(KnowledgeBaseError):
        database.row("SELECT load_extension('/lib/x86_64-linux-gnu/libm.so.6')")


def test_a_build_that_could_write_temporary_files_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Connection(dbapi2.Connection):  # type: ignore[misc] # an untyped extension class
        def execute(self, sql: str, parameters: tuple[object, ...] = ()) -> object:
            if sql == "PRAGMA compile_options":
                return super().execute("SELECT 'TEMP_STORE=1'")
            return super().execute(sql, parameters)

    real = dbapi2.connect
    monkeypatch.setattr(dbapi2, "connect", lambda *args, **options: real(*args, factory=Connection, **options))
    with pytest.raises(KnowledgeBaseError, match="temporary files"):
        Database(path, KEY)


def test_threat_32_every_file_is_for_its_owner_only(path: Path) -> None:
    before = os.umask(0)
    try:
        opened = Database(path, KEY)
        with opened.write():
            opened.script(["CREATE TABLE t (x)"])
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        opened.close()
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("kb.db", "kb.db-wal", "kb.db-shm"), 0o600)


def test_pages_can_be_decrypted_from_the_specification_alone(tmp_path: Path, filled: bytes) -> None:
    (tmp_path / "kb.db").write_bytes(filled)
    pages = list(decrypted_pages(tmp_path / "kb.db", KEY))
    assert b"long long long" in b"".join(pages)
    assert b"long" not in filled


def test_another_key_opens_nothing_and_says_nothing(path: Path, filled: bytes) -> None:
    path.write_bytes(filled)
    code = (
        "import sys, pathlib; from mitai.storage.database import Database\n"
        "from mitai.errors import KnowledgeBaseDamaged\n"
        "try: Database(pathlib.Path(sys.argv[1]), bytes(32))\n"
        "except KnowledgeBaseDamaged: print('damaged')"
    )
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("damaged\n", "")


def _flip(page: int, offset: int) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        at = (page % (len(data) // PAGE_SIZE)) * PAGE_SIZE + offset
        data[at] ^= 0x40

    return change


def _zero(page: int) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        at = (page % (len(data) // PAGE_SIZE)) * PAGE_SIZE
        data[at : at + PAGE_SIZE] = bytes(PAGE_SIZE)

    return change


def _cut(to: int) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        del data[to:]

    return change


def _swap(data: bytearray) -> None:
    second, third = slice(PAGE_SIZE, 2 * PAGE_SIZE), slice(2 * PAGE_SIZE, 3 * PAGE_SIZE)
    data[second], data[third] = data[third], data[second]


DAMAGE = {
    "salt": _flip(0, 3),
    "first page": _flip(0, 100),
    "second page": _flip(1, 0),
    "middle page": _flip(17, 8000),
    "last page": _flip(-1, 5000),
    "an initialisation vector": _flip(9, PAGE_SIZE - 48),
    "an authentication tag": _flip(9, PAGE_SIZE - 1),
    "page of zeros": _zero(5),
    "last page of zeros": _zero(-1),
    "two pages swapped": _swap,
    "cut at a page": _cut(7 * PAGE_SIZE),
    "last page cut off": _cut(-PAGE_SIZE),
    "cut inside a page": _cut(7 * PAGE_SIZE + 55),
    "first page cut": _cut(500),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_refused_on_opening(path: Path, filled: bytes, damage: Callable[[bytearray], None]) -> None:
    data = bytearray(filled)
    damage(data)
    path.write_bytes(data)
    with pytest.raises(KnowledgeBaseDamaged) as caught:
        Database(path, KEY)
    assert "backup" in caught.value.hint
    assert path.read_bytes() == bytes(data)


@pytest.mark.parametrize("name", ["middle page", "page of zeros"])
def test_damage_in_a_large_file_is_found_while_reading(
    path: Path, filled: bytes, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mitai.storage.database.VERIFY_ON_OPEN_BYTES", 0)
    data = bytearray(filled)
    DAMAGE[name](data)
    path.write_bytes(data)
    opened = Database(path, KEY)
    with pytest.raises(KnowledgeBaseDamaged):
        opened.rows("SELECT sum(length(text)) FROM t")
    with pytest.raises(KnowledgeBaseDamaged, match="not what was written"):
        opened.verify_pages()
    opened.close()


@pytest.mark.parametrize("missing", [1, 10, PAGE_SIZE - 1, PAGE_SIZE, 3 * PAGE_SIZE + 7])
def test_a_large_file_that_is_cut_is_refused_on_opening(
    path: Path, filled: bytes, missing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # SQLite alone opens a file whose last page is short.
    monkeypatch.setattr("mitai.storage.database.VERIFY_ON_OPEN_BYTES", 0)
    path.write_bytes(filled[:-missing])
    with pytest.raises(KnowledgeBaseDamaged):
        Database(path, KEY)


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeBaseNotFound):
        Database(tmp_path / "kb.db", KEY)
    assert not list(tmp_path.iterdir())


def _insert_and_fail(database: Database) -> None:
    with database.write():
        database.insert("INSERT INTO t VALUES (?)", (1,))
        with database.write():
            database.insert("INSERT INTO t VALUES (?)", (2,))
        raise RuntimeError


def test_a_transaction_is_whole_or_nothing(database: Database) -> None:
    database.script(["CREATE TABLE t (x)"])
    with pytest.raises(RuntimeError):
        _insert_and_fail(database)
    assert database.rows("SELECT * FROM t") == []
    with database.write():
        database.insert("INSERT INTO t VALUES (?)", (3,))
    assert database.rows("SELECT * FROM t") == [(3,)]


def _insert(database: Database) -> None:
    with database.write():
        database.insert("INSERT INTO t VALUES (?)", (1,))


def test_a_second_writer_waits_and_is_then_told(database: Database, path: Path) -> None:
    other = Database(path, KEY, busy_timeout=0.2)
    with database.write():
        database.script(["CREATE TABLE t (x)"])
        with pytest.raises(KnowledgeBaseBusy) as caught:
            _insert(other)
        assert other.rows("SELECT name FROM sqlite_schema") == []  # readers never wait
    assert "safe" in caught.value.hint
    _insert(other)
    assert database.rows("SELECT * FROM t") == [(1,)]
    other.close()


def test_a_snapshot_does_not_move(database: Database, path: Path) -> None:
    database.script(["CREATE TABLE t (x)"])
    other = Database(path, KEY, busy_timeout=0.2)
    with database.read():
        assert database.row("SELECT count(*) FROM t") == (0,)
        other.insert("INSERT INTO t VALUES (?)", (1,))
        assert database.row("SELECT count(*) FROM t") == (0,)
        assert not other.checkpoint()
    assert database.row("SELECT count(*) FROM t") == (1,)
    assert other.checkpoint()
    assert (path.parent / "kb.db-wal").stat().st_size == 0
    other.close()


def test_threads_take_turns(database: Database) -> None:
    database.script(["CREATE TABLE t (x)"])

    def work() -> None:
        for number in range(50):
            with database.write():
                count = database.row("SELECT count(*) FROM t")
                assert count is not None
                database.insert("INSERT INTO t VALUES (?)", (number,))
                assert database.row("SELECT count(*) FROM t") == (int(count[0] or 0) + 1,)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.row("SELECT count(*) FROM t") == (200,)


def test_a_full_disk_is_our_error_and_loses_nothing(database: Database) -> None:
    database.script(["CREATE TABLE t (x)"])
    database.insert("INSERT INTO t VALUES (?)", (1,))
    database.rows("PRAGMA max_page_count=3")
    with pytest.raises(StorageFailed, match="SQLITE_FULL"), database.write():
        database.insert("INSERT INTO t VALUES (?)", (bytes(1_000_000),))
    assert database.rows("SELECT * FROM t") == [(1,)]


def test_what_does_not_fit_together_is_damage(database: Database) -> None:
    database.script(["CREATE TABLE a (id INTEGER PRIMARY KEY)", "CREATE TABLE b (a REFERENCES a (id))"])
    database.verify_structure()
    database.script(["PRAGMA foreign_keys=OFF", "INSERT INTO b VALUES (7)"])
    with pytest.raises(KnowledgeBaseDamaged, match="fit together"):
        database.verify_structure()


def test_errors_quote_no_values(database: Database) -> None:
    with pytest.raises(KnowledgeBaseError) as caught:
        database.rows("SELECT * FROM missing WHERE x = ?", ("private words",))
    assert "private words" not in str(caught.value)
    assert caught.value.__suppress_context__
