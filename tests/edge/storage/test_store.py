from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mitai.disclosure import Disclosure, DisclosureKind
from mitai.errors import (
    DocumentNotFound,
    KnowledgeBaseDamaged,
    KnowledgeBaseError,
    KnowledgeBaseNotFound,
    KnowledgeBaseTooNew,
    ModelMismatch,
)
from mitai.keyslots.keys import RootKey
from mitai.keyslots.private_file import create_empty
from mitai.storage.database import Database
from mitai.storage.records import Change
from mitai.storage.schema import MIGRATIONS, TABLES
from mitai.storage.store import Store
from mitai.text.script import Script
from support.embedder import HashingEmbedder
from support.knowledge_bases import decrypted_pages, document, outgoing, passages, put

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_document_comes_back_as_it_was(store: Store) -> None:
    made = document("/d/租約.txt", "第一條 租期\n第二條 租金 ＡＢＣ\ud7ff", title="租約書", heading="總則")
    assert put(store, made) is Change.ADDED
    (record,) = store.documents()
    assert (record.document_id, record.path, record.name, record.title) == (1, made.path, "租約.txt", "租約書")
    assert (record.media_type, record.script, record.passage_count) == ("text/plain", Script.HAN, 2)
    stored = store.passages_of([1, 2, 99])
    for number, cut in enumerate(passages(made), 1):
        found = stored[number]
        assert (found.text, found.start, found.end) == (cut.text, cut.start, cut.end)
        assert (found.heading_path, found.page, found.document_id) == (("總則",), None, 1)
    assert set(stored) == {1, 2}
    store.verify()


def test_paths_that_are_not_utf_8_come_back(store: Store) -> None:
    put(store, document(Path("/d/bad\udcff.txt"), "text", title="bad\udcff"))
    assert store.documents()[0].path == Path("/d/bad\udcff.txt")
    assert store.documents()[0].title == "bad?"


def test_vectors_come_back_exactly(store: Store) -> None:
    made = document("/a.txt", "\n".join(f"line {number}" for number in range(600)))
    put(store, made)
    expected = HashingEmbedder().embed_passages([cut.text for cut in passages(made)])
    ids = store.vector_ids()
    assert ids.tolist() == list(range(1, 601))
    np.testing.assert_array_equal(store.vectors(ids), expected)
    np.testing.assert_array_equal(store.vectors(np.array([5, 2])), expected[[4, 1]])
    assert store.vectors(ids[:0]).shape == (0, 64)


def test_the_same_content_is_left_alone_and_changed_content_replaces(store: Store) -> None:
    first, second = document("/a.txt", "old words\nmore"), document("/a.txt", "new words", title="new title")
    put(store, first)
    generation = store.generation()
    assert put(store, first) is Change.UNCHANGED
    assert store.generation() == generation
    assert store.has_unchanged(first.path, first.sha256)
    assert not store.has_unchanged(first.path, second.sha256)
    assert not store.has_unchanged(Path("/b.txt"), first.sha256)
    assert put(store, second) is Change.REPLACED
    assert store.generation() == generation + 1
    (record,) = store.documents()
    assert (record.document_id, record.title, record.passage_count) == (1, "new title", 1)
    assert store.passages_of([1, 2]) == {}  # numbers are never used twice
    assert store.passages_of([3])[3].text == "new words"
    assert store.lexical.search("old", 5) == []
    store.verify()


def test_a_failed_document_leaves_nothing_and_keeps_the_old_one(store: Store) -> None:
    put(store, document("/a.txt", "old words"))
    made = document("/a.txt", "new words\nand more")
    with pytest.raises(ValueError, match="shorter"):
        store.put_document(made, passages(made), np.zeros((1, 64), np.float32), model_id="hashing-64")
    assert [passage.text for passage in store.passages_of(range(9)).values()] == ["old words"]
    store.verify()


def test_another_model_or_dimension_is_refused(store: Store) -> None:
    assert store.model_id() is None
    store.require_model("anything")
    put(store, document("/a.txt", "words"))
    assert (store.model_id(), store.dimension()) == ("hashing-64", 64)
    with pytest.raises(ModelMismatch, match="hashing-64"):
        store.require_model("other")
    with pytest.raises(ModelMismatch):
        put(store, document("/b.txt", "words"), HashingEmbedder("other"))
    with pytest.raises(ModelMismatch, match="32 dimensions"):
        put(store, document("/b.txt", "words"), HashingEmbedder(dimension=32))
    assert store.count() == (1, 1)


def test_hashes_confirm_no_guess(store: Store, tmp_path: Path, root: RootKey) -> None:
    made = document("/a.txt", "words")
    elsewhere = RootKey(root.kb_id, bytes(32))
    create_empty(tmp_path / "other.db")
    other = Store.create(tmp_path / "other.db", elsewhere)
    hashes: set[object] = {made.sha256, hashlib.sha256(b"/a.txt").digest()}
    for each in (store, other):
        put(each, made)
        row = each.database.row("SELECT path_hash, content_hash FROM documents")
        assert row is not None
        hashes.update(row)
    other.close()
    assert len(hashes) == 6


def test_removal_takes_everything_and_says_how_much(store: Store) -> None:
    put(store, document("/a.txt", "one\ntwo"))
    put(store, document("/b.txt", "three"))
    removal = store.remove_document(store.document_id_at(Path("/a.txt")))
    assert (removal.passages, removal.sent_texts, removal.purged) == (2, 0, True)
    assert store.count() == (1, 1)
    assert store.vector_ids().tolist() == [3]
    for missing in (lambda: store.remove_document(1), lambda: store.document_id_at(Path("/a.txt"))):
        with pytest.raises(DocumentNotFound):
            missing()
    store.verify()
    put(store, document("/c.txt", "four"))
    assert store.documents()[-1].document_id == 3


SECRETS = ["xylograph", "quixotry", "龘靐齉", "翡翠鲸鱼", "gizmology", "密件檔案", "zwieback"]


def _traces(path: Path, root: RootKey, vectors: list[bytes]) -> set[str]:
    """Find terms, their tails (FTS5 cuts common beginnings), names and vectors in the decrypted pages."""
    data = b"".join(decrypted_pages(path, root.database_key()))
    needles = {word: word.encode() for word in SECRETS}
    needles |= {f"tail of {word}": word[3:].encode() for word in SECRETS if word.isascii()}
    needles |= {f"bigram of {word}": word[start : start + 2].encode() for word in SECRETS[2:4] for start in (0, 1)}
    needles |= {f"vector {number}": vector[:24] for number, vector in enumerate(vectors)}
    return {name for name, needle in needles.items() if needle in data}


def test_nothing_of_a_removed_document_is_left_in_any_page(store: Store, tmp_path: Path, root: RootKey) -> None:
    path = tmp_path / "kb" / "kb.db"
    filler = "\n".join(f"ordinary passage number {number} about leases and rent 租约租金" for number in range(300))
    put(store, document("/keep.txt", filler))
    lines = [f"{word} number {number}" for word in SECRETS[:4] for number in range(40)]
    made = document("/d/gizmology/密件檔案.txt", "\n".join(lines), title="密件檔案", heading="gizmology")
    put(store, made)
    put(store, document("/keep2.txt", filler.replace("ordinary", "usual")))
    ids = [number for number, passage in store.passages_of(range(2000)).items() if passage.document_id == 2]
    store.ledger.begin_disclosure(Disclosure(outgoing(text="zwieback and the rest"), (ids[0],)))
    vectors = [vector.tobytes() for vector in HashingEmbedder().embed_passages(lines)]
    store.database.checkpoint()
    assert len(_traces(path, root, vectors)) > len(vectors) + len(SECRETS)  # the search itself works
    assert store.remove_document(2).purged
    assert _traces(path, root, vectors) == set()
    assert (path.parent / "kb.db-wal").stat().st_size == 0
    store.verify()


def test_nothing_of_a_replaced_text_is_left_in_any_page(store: Store, tmp_path: Path, root: RootKey) -> None:
    put(store, document("/a.txt", "xylograph 龘靐齉"))
    store.database.checkpoint()
    assert {"xylograph", "龘靐齉"} <= _traces(tmp_path / "kb" / "kb.db", root, [])
    put(store, document("/a.txt", "ordinary"))
    store.database.checkpoint()
    assert _traces(tmp_path / "kb" / "kb.db", root, []) == set()


def test_a_reader_elsewhere_delays_the_purge_and_it_says_so(store: Store, tmp_path: Path, root: RootKey) -> None:
    put(store, document("/a.txt", "xylograph"))
    path = tmp_path / "kb" / "kb.db"
    other = Store.open(path, root, busy_timeout=0.1)
    store.database.rows("PRAGMA busy_timeout=100")
    with other.database.read():
        other.count()
        assert not store.remove_document(1).purged
    other.close()
    store.close()  # the last one out folds the log in
    assert _traces(path, root, []) == set()
    store.database = Store.open(path, root).database


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("UPDATE meta SET value = '4' WHERE key = 'schema'", KnowledgeBaseTooNew),
        ("UPDATE meta SET value = 'x' WHERE key = 'schema'", KnowledgeBaseDamaged),
        ("DELETE FROM meta WHERE key = 'schema'", KnowledgeBaseDamaged),
        ("UPDATE meta SET value = 'other' WHERE key = 'kb'", KnowledgeBaseDamaged),
        ("DROP TABLE meta", KnowledgeBaseDamaged),
    ],
)
def test_what_is_not_ours_to_open(
    store: Store, tmp_path: Path, root: RootKey, sql: str, error: type[KnowledgeBaseError]
) -> None:
    store.database.rows(sql)
    with pytest.raises(error) as caught:
        Store.open(tmp_path / "kb" / "kb.db", root)
    assert caught.value.hint


def test_a_store_of_the_first_version_is_brought_up_with_its_rows(tmp_path: Path, root: RootKey) -> None:
    path = tmp_path / "kb.db"
    path.touch(mode=0o600)
    database = Database(path, root.database_key())
    old = Store(database, root)
    with database.write():
        database.script(TABLES[: -sum(len(added) for added in MIGRATIONS.values())])
        first = {"schema": 1, "kb": root.kb_id, "created": 1, "generation": 0}
        database.many("INSERT INTO meta VALUES (?, ?)", [(key, str(value)) for key, value in first.items()])
        old.lexical.create()
    put(old, document("/a.txt", "租約六月到期。"))
    database.rows(
        "INSERT INTO disclosures (time, url, measurement, tee, simulated, policy_name, policy_digest, request_digest,"
        " attempt, outcome) VALUES (1, 'u', 'm', 'simulated', 1, 'p', 'd', 'r', 1, 'unknown')"
    )
    database.close()
    for _ in range(2):  # the second opening finds nothing to do
        store = Store.open(path, root)
        (row,) = store.ledger.list_disclosures()
        assert (row.kind, row.evidence, row.crypto_material) == (DisclosureKind.SEALED, None, None)
        assert store._meta("schema") == "3"
        store.verify()
        store.close()
    store = Store.open(path, root)
    store.ledger.begin_disclosure(Disclosure(outgoing(), (1,)))
    assert [row.evidence is None for row in store.ledger.list_disclosures()] == [True, False]
    store.close()


def test_an_empty_or_missing_file_is_not_a_new_store(tmp_path: Path, root: RootKey) -> None:
    with pytest.raises(KnowledgeBaseNotFound):
        Store.open(tmp_path / "kb.db", root)
    (tmp_path / "kb.db").touch()
    with pytest.raises(KnowledgeBaseDamaged, match="empty"):
        Store.open(tmp_path / "kb.db", root)


def test_an_index_of_another_tokeniser_is_rebuilt_on_opening(
    store: Store, tmp_path: Path, root: RootKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, document("/a.txt", "glacier"))
    monkeypatch.setattr("mitai.storage.lexical.tokeniser_id", lambda: "2/16.0.0/00000000")
    reopened = Store.open(tmp_path / "kb" / "kb.db", root)
    assert not reopened.lexical.is_outdated()
    reopened.verify()
    reopened.close()
    monkeypatch.undo()
    with pytest.raises(KnowledgeBaseError, match="another version"):  # this one still makes the old terms
        put(store, document("/b.txt", "words"))
    with pytest.raises(KnowledgeBaseError, match="another version"):
        store.remove_document(1)


BREAK: dict[str, Callable[[Store], object]] = {
    "a vector is missing": lambda store: store.database.rows("DELETE FROM vectors WHERE passage_id = 2"),
    "a passage is missing": lambda store: store.database.script(
        ["PRAGMA foreign_keys=OFF", "DELETE FROM passages WHERE id = 2"]
    ),
    "a lexical row is missing": lambda store: store.lexical.remove_document(2),
    "a count is wrong": lambda store: store.database.rows("UPDATE documents SET passage_count = 9"),
    "a row refers to nothing": lambda store: store.database.script(
        ["PRAGMA foreign_keys=OFF", "DELETE FROM documents WHERE id = 1"]
    ),
}


@pytest.mark.parametrize("change", BREAK.values(), ids=BREAK)
def test_verification_finds_what_does_not_fit(store: Store, change: Callable[[Store], object]) -> None:
    put(store, document("/a.txt", "one\ntwo"))
    put(store, document("/b.txt", "three"))
    store.verify()
    change(store)
    with pytest.raises(KnowledgeBaseDamaged):
        store.verify()


def test_a_vector_of_the_wrong_size_is_damage(store: Store) -> None:
    put(store, document("/a.txt", "one\ntwo"))
    store.database.rows("UPDATE vectors SET vector = x'00' WHERE passage_id = 1")
    with pytest.raises(KnowledgeBaseDamaged, match="wrong size"):
        store.vectors(np.array([1]))
    with pytest.raises(KnowledgeBaseDamaged, match="no vector"):
        store.vectors(np.array([3]))


def test_no_text_or_name_shows_in_a_repr(store: Store) -> None:
    put(store, document("/d/secret.txt", "private words", title="private title", heading="private heading"))
    shown = repr(store.documents()) + repr(store.passages_of([1]))
    assert "document_id=1" in shown
    assert "private" not in shown
    assert "secret" not in shown
