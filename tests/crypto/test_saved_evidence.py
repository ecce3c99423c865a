from __future__ import annotations

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai_crypto.errors import EvidenceError, MitaiError
from mitai_crypto.labels import MAX_BUNDLE_BYTES, MAX_SAVED_EVIDENCE_BYTES
from mitai_crypto.saved_evidence import SavedEvidence, parse_saved_evidence
from mitai_crypto.strict_json import encode_canonical

SAVED = SavedEvidence("https://enclave.example:8443", 1_800_000_000, bytes(range(32)), b'{"v": 1}')
URLS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)


@given(URLS, st.integers(0, 2**40), st.binary(min_size=32, max_size=32), st.binary(max_size=300))
def test_what_is_written_reads_back(url: str, time: int, nonce: bytes, bundle: bytes) -> None:
    saved = SavedEvidence(url, time, nonce, bundle)
    assert parse_saved_evidence(saved.encode()) == saved


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_any_bytes_give_evidence_or_our_error(data: bytes) -> None:
    with contextlib.suppress(MitaiError):
        parse_saved_evidence(data)


@given(st.integers(0, len(SAVED.encode()) - 1), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_has_another_name(index: int, byte: int) -> None:
    data = bytearray(SAVED.encode())
    data[index] = byte
    try:
        read = parse_saved_evidence(bytes(data))
    except EvidenceError:
        return
    assert (read.digest == SAVED.digest) == (bytes(data) == SAVED.encode())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"v": 2}, "v must be 1"),
        ({"url": ""}, "printable ASCII"),
        ({"url": "https://機密.example"}, "printable ASCII"),
        ({"url": "https://enclave\u001b[2J"}, "printable ASCII"),
        ({"url": "h" * 4097}, "at most 4096"),
        ({"time": -1}, "time must be"),
        ({"time": "now"}, "time must be"),
        ({"nonce": base64.b64encode(bytes(31)).decode()}, "32 bytes"),
        ({"nonce": "AA"}, "base64"),
        ({"bundle": "e30"}, "base64"),
        ({"bundle": None}, "base64"),
        ({"note": "unknown"}, "unknown field 'note'"),
    ],
)
def test_each_rule_of_the_form_is_kept(change: dict[str, object], reason: str) -> None:
    values = json.loads(SAVED.encode()) | change
    with pytest.raises(EvidenceError, match=reason):
        parse_saved_evidence(encode_canonical(values))


@pytest.mark.parametrize("name", ["bundle", "nonce", "time", "url", "v"])
def test_no_field_may_be_missing(name: str) -> None:
    values = json.loads(SAVED.encode())
    del values[name]
    with pytest.raises(EvidenceError, match=f"no field '{name}'"):
        parse_saved_evidence(encode_canonical(values))


def test_another_spelling_is_refused() -> None:
    with pytest.raises(EvidenceError, match="canonical"):
        parse_saved_evidence(json.dumps(json.loads(SAVED.encode()), indent=1).encode())


def test_sizes_are_bounded() -> None:
    with pytest.raises(EvidenceError, match="over"):
        parse_saved_evidence(SavedEvidence("u", 1, bytes(32), bytes(MAX_BUNDLE_BYTES + 1)).encode())
    with pytest.raises(EvidenceError):
        parse_saved_evidence(b" " * (MAX_SAVED_EVIDENCE_BYTES + 1))
    largest = SavedEvidence("h" * 4096, 1, bytes(32), bytes(MAX_BUNDLE_BYTES))
    assert parse_saved_evidence(largest.encode()) == largest


def test_its_name_covers_every_part() -> None:
    others = [
        SavedEvidence("https://other.example", SAVED.time, SAVED.nonce, SAVED.bundle),
        SavedEvidence(SAVED.url, SAVED.time + 1, SAVED.nonce, SAVED.bundle),
        SavedEvidence(SAVED.url, SAVED.time, bytes(32), SAVED.bundle),
        SavedEvidence(SAVED.url, SAVED.time, SAVED.nonce, b"{}"),
    ]
    assert len({SAVED.digest, *(other.digest for other in others)}) == 5


def test_bytes_do_not_show_in_a_repr() -> None:
    assert "nonce" not in repr(SAVED)
    assert "bundle" not in repr(SAVED)
