"""Which rows of the ledger still hold, and which change to any part of them is found?"""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mitai.disclosure import DisclosureKind, DisclosureOutcome
from mitai.recheck import RowOutcome, recheck
from support.asked import Asked, ask_questions
from support.evidence_builder import build_enclave

if TYPE_CHECKING:
    from mitai.recheck import RowResult
    from mitai.storage.ledger import DisclosureRecord
    from mitai_crypto.saved_evidence import SavedEvidence


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    return ask_questions(tmp_path_factory.mktemp("asked"))


def check(asked: Asked, row: DisclosureRecord, evidence: dict[str, SavedEvidence] | None = None) -> RowResult:
    (result,) = recheck([row], asked.evidence if evidence is None else evidence, asked.policy).results
    return result


def with_record(row: DisclosureRecord, **changes: object) -> DisclosureRecord:
    assert row.receipt is not None
    value = json.loads(row.receipt) | changes
    return replace(row, receipt=json.dumps(value, sort_keys=True, separators=(",", ":")))


def test_every_row_holds_without_a_network(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    checked = recheck(asked.rows, asked.evidence, asked.policy)
    assert [result.outcome.value for result in checked.results] == [
        "verified",
        "verified",
        "verified",
        "no receipt",
        "verified",
    ]
    assert checked.ok
    assert checked.simulated
    assert len(checked.evidence) == 2  # one a session, for five rows
    assert all(shown.report.ok for shown in checked.evidence.values())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"url": "https://other.example"}, "differs from its evidence: url"),
        ({"measurement": "00" * 32}, "measurement"),
        ({"tee": "tdx"}, "tee"),
        ({"simulated": False}, "simulated"),
        ({"crypto_material": "00" * 32}, "crypto_material"),
        ({"crypto_material": None}, "crypto_material"),
        ({"request_digest": "00" * 32}, "request differ"),
        ({"request_digest": "租約"}, "not hexadecimal"),
        ({"evidence": None}, "no evidence was kept"),
        ({"evidence": "00" * 32}, "is missing"),
        ({"receipt": None}, "has no receipt"),
        ({"receipt": "{}"}, "no field"),
        ({"receipt": "收据"}, "JSON"),
        ({"time": 4_000_000_000}, "later than the end of use"),
    ],
)
def test_a_changed_row_fails(asked: Asked, change: dict[str, object], reason: str) -> None:
    for row in asked.rows[:3]:
        result = check(asked, replace(row, **change))
        assert (result.outcome, result.disclosure_id) == (RowOutcome.FAILED, row.disclosure_id)
        assert reason in result.reason


@pytest.mark.parametrize("name", ["exchange", "response"])
def test_a_receipt_is_of_the_exchange_that_the_device_saw(asked: Asked, name: str) -> None:
    result = check(asked, with_record(asked.rows[0], **{name: "00" * 32}))
    assert result.outcome is RowOutcome.FAILED
    assert f"{name} differ" in result.reason


def test_the_readable_copy_must_be_what_was_signed(asked: Asked) -> None:
    shown = json.loads(asked.rows[0].receipt or "")["receipt"] | {"finish": "length"}
    result = check(asked, with_record(asked.rows[0], receipt=shown))
    assert result.outcome is RowOutcome.FAILED
    assert "readable copy" in result.reason


def test_a_receipt_of_another_signer_or_another_row_fails(asked: Asked) -> None:
    first, second = asked.rows[:2]
    assert "request" in check(asked, replace(first, receipt=second.receipt)).reason
    signed = json.loads(first.receipt or "")["signed"]
    body, _, signature = signed.partition(".")
    other = json.loads(second.receipt or "")["signed"].partition(".")[2]
    assert other != signature
    result = check(asked, with_record(first, signed=f"{body}.{other}"))
    assert result.outcome is RowOutcome.FAILED
    assert "not signed by the enclave" in result.reason


def test_a_row_does_not_rest_on_evidence_of_other_keys(asked: Asked) -> None:
    result = check(asked, replace(asked.rows[0], evidence=asked.rows[4].evidence))
    assert result.outcome is RowOutcome.FAILED
    assert "crypto_material" in result.reason


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"nonce": bytes(32)}, "step 8"),
        ({"bundle": b"{}"}, "step 1"),
        ({"time": 4_000_000_000}, "step 3"),
        ({"time": 1_000_000_000}, "step 3"),
    ],
)
def test_evidence_is_appraised_as_of_its_own_time_and_nonce(asked: Asked, change: dict[str, object], step: str) -> None:
    row = asked.rows[0]
    assert row.evidence is not None
    result = check(asked, row, {row.evidence: replace(asked.evidence[row.evidence], **change)})
    assert result.outcome is RowOutcome.FAILED
    assert step in result.reason


def test_evidence_is_checked_for_rows_without_a_receipt_too(asked: Asked) -> None:
    row = asked.rows[3]
    assert row.evidence is not None
    broken = {row.evidence: replace(asked.evidence[row.evidence], nonce=bytes(32))}
    assert check(asked, row, broken).outcome is RowOutcome.FAILED
    assert check(asked, replace(row, outcome=DisclosureOutcome.COMPLETE)).outcome is RowOutcome.FAILED


def test_the_policy_of_today_decides(asked: Asked) -> None:
    other = replace(build_enclave("B").policy(), name="別的政策")
    checked = recheck(asked.rows, asked.evidence, other)
    assert {result.outcome for result in checked.results} == {RowOutcome.FAILED}
    assert not checked.ok
    renamed = recheck(asked.rows, asked.evidence, replace(asked.policy, name="今日"))
    assert renamed.ok
    assert "another policy" in renamed.results[0].reason
    assert "another policy" not in check(asked, asked.rows[0]).reason


def test_a_shorter_age_in_the_policy_counts(asked: Asked) -> None:
    row = asked.rows[0]
    late = replace(row, time=row.time + 60)
    assert check(asked, late).outcome is RowOutcome.VERIFIED
    (result,) = recheck([late], asked.evidence, replace(asked.policy, max_age_seconds=30)).results
    assert "later than the end of use" in result.reason


def test_what_was_revealed_is_said_and_not_called_verified(asked: Asked) -> None:
    row = replace(asked.rows[0], kind=DisclosureKind.REVEALED, evidence=None, receipt=None)
    assert check(asked, row).outcome is RowOutcome.NOT_SEALED


def test_simulated_shows_whatever_the_row_says(asked: Asked) -> None:
    assert check(asked, replace(asked.rows[0], simulated=False)).simulated


def test_one_receipt_does_not_stand_for_two_rows(asked: Asked) -> None:
    row = asked.rows[0]
    copy = replace(row, disclosure_id=row.disclosure_id + 1, text="something else")
    first, second = recheck([row, copy], asked.evidence, asked.policy).results
    assert (first.outcome.value, second.outcome.value) == ("verified", "failed")
    assert "earlier row" in second.reason


def test_a_failed_answer_is_not_called_complete(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    row = asked.rows[0]
    assert row.receipt is not None
    # A receipt cannot be signed anew here, so the word that its enclave did sign is made the one for a failure.
    monkeypatch.setattr("mitai.recheck._ENGINE_FAILED", json.loads(row.receipt)["receipt"]["finish"])
    found = check(asked, row)
    assert found.outcome.value == "failed"
    assert "says that it failed" in found.reason
