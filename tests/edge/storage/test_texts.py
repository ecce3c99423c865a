from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from mitai.errors import ModelMismatch, TextRefused
from mitai.formats import MAX_METADATA_BYTES, MAX_TEXT_KEY_CHARACTERS, SCHEMA_VERSION
from mitai.storage.records import Change
from mitai.storage.store import Store
from mitai.storage.texts import Text, text_path
from support.embedder import HashingEmbedder
from support.knowledge_bases import decrypted_pages, document, put

if TYPE_CHECKING:
    from pathlib import Path

    from mitai.keyslots.keys import RootKey

ENGLISH = Text("en", "The lease ends in June.", {"page": 3, "tags": ["lease", None, True], "源": {"深": 1.5}})
SIMPLIFIED = Text("租约/第一条", "租约于六月到期。")
TRADITIONAL = Text("繁體", "租約於六月到期。", {"來源": "手冊"})


def put_texts(store: Store, *texts: Text) -> None:
    embedder = HashingEmbedder()
    vectors = embedder.embed_passages([text.text for text in texts])
    store.put_texts(texts, vectors, [3] * len(texts), model_id=embedder.model_id)


def test_texts_come_back_as_they_are(store: Store) -> None:
    put_texts(store, ENGLISH, SIMPLIFIED, TRADITIONAL)
    ids = store.text_ids(["繁體", "en", "nothing", "租约/第一条"])
    assert list(ids) == ["繁體", "en", "租约/第一条"]
    records = store.texts.of_documents(ids.values())
    assert records[ids["en"]].metadata == ENGLISH.metadata
    assert records[ids["繁體"]].key == "繁體"
    assert store.texts.content(ids.values())[ids["租约/第一条"]] == SIMPLIFIED.text
    assert [number for number, _ in store.lexical.search("租约到期", 5)]
    store.verify()


def test_the_same_key_is_one_text_and_another_content_or_metadata_replaces_it(store: Store) -> None:
    put_texts(store, ENGLISH)
    put_texts(store, ENGLISH)
    assert store.count() == (1, 1)
    number = store.text_ids(["en"])["en"]
    put_texts(store, Text("en", ENGLISH.text, {"page": 4}))
    assert store.texts.of_documents([number])[number].metadata == {"page": 4}
    put_texts(store, Text("en", "Another text."))
    assert store.text_ids(["en"]) == {"en": number}
    assert store.texts.content([number]) == {number: "Another text."}
    assert store.count() == (1, 1)
    store.verify()


def test_removing_leaves_nothing_in_any_page(store: Store, root: RootKey, tmp_path: Path) -> None:
    put_texts(store, ENGLISH, Text("GEHEIMSCHLUESSEL", "CANARY-TEXT 金丝雀", {"who": "CANARY-METADATA"}))
    removal = store.remove_documents(store.text_ids(["GEHEIMSCHLUESSEL"]).values())
    assert removal.purged
    store.database.checkpoint()
    pages = b"".join(decrypted_pages(tmp_path / "kb" / "kb.db", root.database_key()))
    for gone in ("GEHEIMSCHLUESSEL", "CANARY-TEXT", "CANARY-METADATA", "金丝雀"):
        assert gone.encode() not in pages
    assert ENGLISH.text.encode() in pages
    store.verify()


def test_a_replaced_text_leaves_the_log_too(store: Store, root: RootKey, tmp_path: Path) -> None:
    put_texts(store, Text("k", "CANARY-OLD"))
    put_texts(store, Text("k", "new"))
    assert not (tmp_path / "kb" / "kb.db-wal").stat().st_size
    assert b"CANARY-OLD" not in b"".join(decrypted_pages(tmp_path / "kb" / "kb.db", root.database_key()))


def test_all_or_none(store: Store) -> None:
    embedder = HashingEmbedder()
    vectors = embedder.embed_passages(["a", "b"])
    with pytest.raises(ValueError, match="shorter"):
        store.put_texts([Text("a", "a"), Text("b", "b")], vectors, [1], model_id=embedder.model_id)
    assert store.count() == (0, 0)
    put_texts(store, ENGLISH)
    with pytest.raises(ModelMismatch):
        store.put_texts([Text("a", "a")], vectors[:1], [1], model_id="another")
    assert store.count() == (1, 1)


@pytest.mark.parametrize("key", ["/etc/passwd", "..", ".", "a/../../b", "%2F", "a\x00b", "../繁體", "..."])
def test_no_key_is_a_path(store: Store, key: str) -> None:
    path = text_path(key)
    assert (len(path.parts), path.parts[0], path.is_absolute()) == (2, "texts", False)
    put_texts(store, Text(key, "x"))
    assert list(store.text_ids([key])) == [key]


def test_keys_that_look_alike_are_different_texts(store: Store) -> None:
    put_texts(store, Text("a/b", "1"), Text("a%2Fb", "2"), Text("..", "3"), Text("%2E%2E", "4"))
    assert store.count() == (4, 4)


def test_a_text_never_takes_the_place_of_a_file(store: Store) -> None:
    assert put(store, document("/texts/en", "A file.")) is Change.ADDED
    put_texts(store, ENGLISH)
    assert store.count() == (2, 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Text("", "x"),
        lambda: Text("k" * (MAX_TEXT_KEY_CHARACTERS + 1), "x"),
        lambda: Text("\ud800", "x"),
        lambda: Text("k", "\udfff"),
        lambda: Text("k", "x", {"a": math.nan}),
        lambda: Text("k", "x", {"a": (1, 2)}),
        lambda: Text("k", "x", {1: "a"}),
        lambda: Text("k", "x", {"a": datetime.now(UTC)}),
        lambda: Text("k", "x", {"a": "\ud800"}),
        lambda: Text("k", "x", {"a": "y" * MAX_METADATA_BYTES}),
    ],
)
def test_what_would_not_come_back_is_refused(make: object) -> None:
    with pytest.raises(TextRefused) as caught:
        make()
    assert caught.value.hint


def test_neither_text_nor_metadata_shows_in_repr() -> None:
    assert "CANARY" not in repr(Text("k", "CANARY", {"a": "CANARY"}))


def test_a_database_of_version_1_is_brought_up_and_keeps_what_it_has(store: Store, root: RootKey) -> None:
    put(store, document("/a.txt", "Kept. 保留。"))
    with store.database.write():
        for table in ("texts", "revealed_text", "revealed_passages", "revelations"):
            store.database.rows(f"DROP TABLE {table}")
        for column in ("evidence", "crypto_material", "kind"):
            store.database.rows(f"ALTER TABLE disclosures DROP COLUMN {column}")
        store.database.rows("DROP TABLE evidence")
        store.database.rows("UPDATE meta SET value = '1' WHERE key = 'schema'")
    path = store.database._path
    store.close()
    opened = Store.open(path, root)
    assert opened._meta("schema") == str(SCHEMA_VERSION)
    assert opened.count() == (1, 1)
    put_texts(opened, ENGLISH)
    opened.verify()
    opened.close()
