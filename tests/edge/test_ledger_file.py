"""The ledger as a file: what it holds, and what is refused of it."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai.errors import LedgerFileError
from mitai.ledger_file import LedgerFile, encode_ledger, read_ledger
from mitai.recheck import recheck
from support.asked import QUESTIONS, Asked, ask_questions

ROW = {
    "type", "id", "kind", "time", "url", "measurement", "tee", "simulated", "policy", "request_digest", "attempt",
    "outcome", "crypto_material", "evidence", "receipt", "passages", "documents",
}  # fmt: skip


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    return ask_questions(tmp_path_factory.mktemp("asked"))


def lines(asked: Asked, *, with_text: bool = False) -> list[bytes]:
    return list(encode_ledger(asked.rows, asked.evidence, with_text=with_text))


def read(data: list[bytes]) -> LedgerFile:
    return read_ledger(io.BytesIO(b"".join(data)))


def changed(line: bytes, **changes: object) -> bytes:
    return json.dumps(json.loads(line) | changes, ensure_ascii=False).encode() + b"\n"


def test_an_export_reads_back_and_is_verified_without_the_knowledge_base(asked: Asked) -> None:
    back = read(lines(asked, with_text=True))
    assert list(back.rows) == asked.rows
    assert back.evidence == asked.evidence
    assert all(question in (row.text or "") for question, row in zip(QUESTIONS, back.rows, strict=False))
    assert recheck(back.rows, back.evidence, asked.policy).ok


def test_a_row_holds_neither_text_nor_blind_nor_token(asked: Asked) -> None:
    rows = [json.loads(line) for line in lines(asked) if b'"row"' in line]
    assert len(rows) == 5
    assert all(set(row) == ROW for row in rows)
    data = b"".join(lines(asked))
    assert asked.blinds
    for secret in (*asked.blinds, b"t0ken", "四百元".encode(), "保固".encode(), b"annual leave"):
        assert secret not in data
    assert set(json.loads(lines(asked, with_text=True)[2])) == {*ROW, "text"}


def test_evidence_is_there_once(asked: Asked) -> None:
    kinds = [json.loads(line)["type"] for line in lines(asked)]
    assert kinds == ["ledger", "evidence", "row", "row", "row", "row", "evidence", "row", "end"]


def test_a_file_that_was_cut_or_thinned_is_refused(asked: Asked) -> None:
    whole = lines(asked)
    for end in range(len(whole)):
        with pytest.raises(LedgerFileError, match="cut"):
            read(whole[:end])
    for index in range(1, len(whole) - 1):
        with pytest.raises(LedgerFileError, match=r"lines are missing|not there"):
            read(whole[:index] + whole[index + 1 :])
    with pytest.raises(LedgerFileError, match="line 3"):
        read([*whole[:2], whole[2][:-20]])


def test_order_and_number_of_lines_are_fixed(asked: Asked) -> None:
    whole = lines(asked)
    for wrong, reason in (
        (whole[1:], "first line"),
        ([whole[0], *whole], "first line"),
        ([*whole, whole[-1]], "follows the last line"),
        ([*whole[:2], whole[1], *whole[2:]], "twice"),
        ([*whole[:3], whole[2], *whole[3:]], "do not grow"),
    ):
        with pytest.raises(LedgerFileError, match=reason) as caught:
            read(wrong)
        assert caught.value.hint


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"note": 1}, "unknown field"),
        ({"kind": "open"}, "kind must be"),
        ({"outcome": "fine"}, "outcome must be"),
        ({"id": 0}, "id must be"),
        ({"simulated": 1}, "true or false"),
        ({"evidence": "AB" * 32}, "hex"),
        ({"crypto_material": "ab"}, "hex"),
        ({"receipt": {}}, "must be text"),
        ({"text": 7}, "must be text"),
        ({"passages": [True]}, "list of ids"),
        ({"documents": ["1"]}, "list of ids"),
        ({"policy": {"name": "x"}}, "no field"),
        ({"policy": {"name": "x", "digest": "", "more": 1}}, "unknown field"),
        ({"type": "line"}, "type must be"),
    ],
)
def test_each_rule_of_a_row_is_kept(asked: Asked, change: dict[str, object], reason: str) -> None:
    whole = lines(asked)
    whole[2] = changed(whole[2], **change)
    with pytest.raises(LedgerFileError, match=reason):
        read(whole)


def test_another_version_is_refused(asked: Asked) -> None:
    with pytest.raises(LedgerFileError, match="must be 1"):
        read([b'{"type": "ledger", "v": 2}\n', *lines(asked)[1:]])


def test_changed_evidence_has_another_name(asked: Asked) -> None:
    digest, saved = next(iter(asked.evidence.items()))
    forged = {**asked.evidence, digest: replace(saved, time=saved.time + 1)}
    with pytest.raises(LedgerFileError, match="evidence that is not there"):
        read(list(encode_ledger(asked.rows, forged)))


@given(st.lists(st.binary(max_size=80) | st.sampled_from([b'{"type":"ledger","v":1}', b'{"type":"end"}']), max_size=5))
def test_any_bytes_give_a_ledger_or_our_error(data: list[bytes]) -> None:
    with contextlib.suppress(LedgerFileError):
        read([line + b"\n" for line in data])
