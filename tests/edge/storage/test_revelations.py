from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mitai.errors import KnowledgeBaseError
from support.knowledge_bases import decrypted_pages, document, put

if TYPE_CHECKING:
    from pathlib import Path

    from mitai.keyslots.keys import RootKey
    from mitai.storage.store import Store


def passage_of(store: Store, name: str, text: str) -> int:
    put(store, document(name, text))
    (number,) = store.database.rows("SELECT max(id) FROM passages")[0]
    return number


def test_a_row_says_who_was_given_what(store: Store) -> None:
    first, second = passage_of(store, "/a", "租约于六月到期。"), passage_of(store, "/b", "租約於六月到期。")
    number = store.revelations.record(
        client="桌面 client\x1b[2J", tool="search", text="租约…", passage_ids=[second, first]
    )
    (row,) = store.revelations.list_revelations()
    assert (row.revelation_id, row.client, row.tool, row.text) == (number, "桌面 client[2J", "search", "租约…")
    assert (row.passage_ids, row.document_ids) == ((second, first), (1, 2))
    assert "租约" not in repr(row)


def test_nothing_is_recorded_of_a_passage_that_is_gone(store: Store) -> None:
    with pytest.raises(KnowledgeBaseError, match="no longer"):
        store.revelations.record(client="c", tool="search", text="x", passage_ids=[7])
    assert store.revelations.list_revelations() == []


def test_removing_a_document_empties_what_quotes_it_and_keeps_the_row(
    store: Store, root: RootKey, tmp_path: Path
) -> None:
    kept, gone = passage_of(store, "/a", "Kept."), passage_of(store, "/b", "CANARY-GONE")
    store.revelations.record(client="c", tool="search", text="Kept.", passage_ids=[kept])
    store.revelations.record(client="c", tool="ask", text="rests on CANARY-GONE", passage_ids=[kept, gone])
    assert store.remove_document(2).sent_texts == 1
    first, second = store.revelations.list_revelations()
    assert (first.text, second.text) == ("Kept.", None)
    assert second.document_ids == (1, 2)
    assert b"CANARY-GONE" not in b"".join(decrypted_pages(tmp_path / "kb" / "kb.db", root.database_key()))


def test_nothing_may_be_revealed_until_somebody_says_so(store: Store) -> None:
    assert store.reveals_passages() is False
    store.set_reveal_passages(allowed=True)
    assert store.reveals_passages() is True
    store.set_reveal_passages(allowed=False)
    assert store.reveals_passages() is False
    store.database.rows("UPDATE meta SET value = 'maybe' WHERE key = 'reveal_passages'")
    assert store.reveals_passages() is False
