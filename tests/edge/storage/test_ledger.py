from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mitai.disclosure import Disclosure, DisclosureKind, DisclosureOutcome
from mitai.errors import KnowledgeBaseBusy, KnowledgeBaseDamaged, KnowledgeBaseError
from mitai.storage.store import Store
from support.knowledge_bases import document, outgoing, put

if TYPE_CHECKING:
    from pathlib import Path

    from mitai.keyslots.keys import RootKey

TEXT = outgoing().text


@pytest.fixture
def filled(store: Store) -> Store:
    put(store, document("/lease.txt", "The lease ends in June.\n租约六月到期。"))
    put(store, document("/other.txt", "Something else."))
    return store


def test_a_row_holds_everything_and_ends_with_its_receipt(filled: Store) -> None:
    number = filled.ledger.begin_disclosure(Disclosure(outgoing(), (3, 1)))
    (record,) = filled.ledger.list_disclosures()
    assert record.outcome is DisclosureOutcome.UNKNOWN
    assert (record.passage_ids, record.document_ids, record.text, record.receipt) == ((3, 1), (1, 2), TEXT, None)
    for name in (
        "time",
        "url",
        "measurement",
        "tee",
        "simulated",
        "policy_name",
        "policy_digest",
        "request_digest",
        "attempt",
        "crypto_material",
    ):
        assert getattr(record, name) == getattr(outgoing(), name)
    filled.ledger.complete_disclosure(number, '{"v":1}', DisclosureOutcome.COMPLETE)
    (record,) = filled.ledger.list_disclosures()
    assert (record.disclosure_id, record.outcome, record.receipt) == (number, DisclosureOutcome.COMPLETE, '{"v":1}')


def test_rows_are_listed_oldest_first(filled: Store) -> None:
    numbers = [filled.ledger.begin_disclosure(Disclosure(outgoing(attempt=attempt))) for attempt in (1, 2, 3)]
    assert [record.disclosure_id for record in filled.ledger.list_disclosures()] == numbers
    assert [record.attempt for record in filled.ledger.list_disclosures()] == [1, 2, 3]


def test_an_outcome_is_written_once(filled: Store) -> None:
    number = filled.ledger.begin_disclosure(Disclosure(outgoing()))
    filled.ledger.complete_disclosure(number, None, DisclosureOutcome.CLOSED)
    for again in (number, number + 1):
        with pytest.raises(KnowledgeBaseError, match="not open"):
            filled.ledger.complete_disclosure(again, "{}", DisclosureOutcome.COMPLETE)
    assert filled.ledger.list_disclosures()[0].outcome is DisclosureOutcome.CLOSED


def test_evidence_is_kept_once_for_all_rows_that_rest_on_it(filled: Store) -> None:
    first = outgoing().evidence
    other = replace(first, nonce=bytes(32))
    for evidence in (first, first, other, first):
        filled.ledger.begin_disclosure(Disclosure(outgoing(evidence=evidence)))
    rows = filled.ledger.list_disclosures()
    assert [row.evidence for row in rows] == [first.digest, first.digest, other.digest, first.digest]
    assert filled.ledger.list_evidence() == {first.digest: first, other.digest: other}


def test_nothing_leaves_sealed_without_evidence(filled: Store) -> None:
    with pytest.raises(KnowledgeBaseError, match="needs its evidence") as caught:
        filled.ledger.begin_disclosure(Disclosure(outgoing(evidence=None)))
    assert "Nothing was sent" in caught.value.hint
    assert filled.ledger.list_disclosures() == []


def test_what_is_revealed_is_a_row_of_its_kind(filled: Store) -> None:
    shown = outgoing(url="mcp", measurement="", tee="", simulated=False, crypto_material=None, evidence=None)
    filled.ledger.begin_disclosure(Disclosure(shown, (2, 1), DisclosureKind.REVEALED))
    filled.ledger.begin_disclosure(Disclosure(outgoing()))
    revealed, sealed = filled.ledger.list_disclosures()
    assert (revealed.kind, revealed.evidence, revealed.passage_ids) == (DisclosureKind.REVEALED, None, (2, 1))
    assert sealed.kind is DisclosureKind.SEALED


@pytest.mark.parametrize("change", ["UPDATE evidence SET saved = zeroblob(5)", "UPDATE evidence SET digest = 'ab'"])
def test_evidence_that_is_not_what_was_written_is_damage(filled: Store, change: str) -> None:
    filled.ledger.begin_disclosure(Disclosure(outgoing()))
    filled.database.rows("UPDATE disclosures SET evidence = NULL")
    filled.database.rows(change)
    with pytest.raises(KnowledgeBaseDamaged, match="evidence"):
        filled.ledger.list_evidence()


def test_a_passage_that_is_gone_stops_the_disclosure(filled: Store) -> None:
    filled.remove_document(1)
    with pytest.raises(KnowledgeBaseError, match="no longer") as caught:
        filled.ledger.begin_disclosure(Disclosure(outgoing(), (3, 1)))
    assert "Nothing was sent" in caught.value.hint
    assert filled.ledger.list_disclosures() == []


def test_removing_a_document_empties_the_text_and_keeps_the_rows(filled: Store) -> None:
    quoting = filled.ledger.begin_disclosure(Disclosure(outgoing(), (3, 1)))
    other = filled.ledger.begin_disclosure(Disclosure(outgoing(), (3,)))
    assert filled.remove_document(1).sent_texts == 1
    records = {record.disclosure_id: record for record in filled.ledger.list_disclosures()}
    assert records[quoting].text is None
    assert (records[quoting].passage_ids, records[quoting].document_ids) == ((3, 1), (1, 2))
    assert records[other].text == TEXT
    filled.ledger.complete_disclosure(quoting, None, DisclosureOutcome.COMPLETE)


def test_text_of_an_older_version_of_a_document_is_emptied_too(filled: Store) -> None:
    number = filled.ledger.begin_disclosure(Disclosure(outgoing(), (1,)))
    put(filled, document("/lease.txt", "The lease ends in July."))
    assert filled.ledger.list_disclosures()[0].text == TEXT
    filled.remove_document(1)
    (record,) = filled.ledger.list_disclosures()
    assert (record.disclosure_id, record.text) == (number, None)


def test_no_text_shows_in_a_repr(filled: Store) -> None:
    filled.ledger.begin_disclosure(Disclosure(outgoing(), (1,)))
    shown = repr(filled.ledger.list_disclosures())
    assert "simulated=True" in shown
    assert "lease" not in shown
    assert "租约" not in shown


def test_a_busy_ledger_lets_nothing_leave(filled: Store, root: RootKey, tmp_path: Path) -> None:
    other = Store.open(tmp_path / "kb" / "kb.db", root, busy_timeout=0.1)
    with filled.database.write(), pytest.raises(KnowledgeBaseBusy):
        other.ledger.begin_disclosure(Disclosure(outgoing()))
    other.close()


KILLED = """
import os, pathlib, signal, sys
from mitai.disclosure import Disclosure, Outgoing
from mitai.keyslots.keys import RootKey
from mitai.storage.store import Store
from mitai_crypto.saved_evidence import SavedEvidence
store = Store.open(pathlib.Path(sys.argv[1]), RootKey(sys.argv[2], bytes.fromhex(sys.argv[3])))
store.ledger.begin_disclosure(Disclosure(
    Outgoing(1, "u", "m", "simulated", True, "p", "d", "r", 1, "text", "c", SavedEvidence("u", 1, bytes(32), b"")), (1,)
))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_row_is_there_after_a_kill(filled: Store, root: RootKey, tmp_path: Path) -> None:
    arguments = [str(tmp_path / "kb" / "kb.db"), root.kb_id, root.secret.hex()]
    result = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False, env={**os.environ})
    assert result.returncode == -signal.SIGKILL
    (record,) = filled.ledger.list_disclosures()
    assert (record.outcome, record.text, record.passage_ids) == (DisclosureOutcome.UNKNOWN, "text", (1,))
