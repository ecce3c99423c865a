from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai_crypto.errors import EvidenceError
from mitai_crypto.manifest import ManifestEntry, model_digest, tree_digest

DIGEST = hashlib.sha256(b"").hexdigest()
ENTRIES = st.lists(
    st.builds(
        ManifestEntry,
        path=st.text("ab密/", min_size=1, max_size=5).filter(lambda path: all(path.split("/"))),
        size=st.integers(0, 3),
        sha256=st.sampled_from([DIGEST, "00" * 32]),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda entry: entry.path,
)


def test_the_digest_is_the_formula_of_the_specification() -> None:
    entries = [ManifestEntry("b", 2, "22" * 32), ManifestEntry("模型/a", 258, "11" * 32)]
    path = "模型/a".encode()
    expected = hashlib.sha256(
        b"mitai/model/v1\0"
        + (2).to_bytes(8, "big")
        + (1).to_bytes(8, "big") + b"b" + (2).to_bytes(8, "big") + bytes.fromhex("22" * 32)
        + len(path).to_bytes(8, "big") + path + (258).to_bytes(8, "big") + bytes.fromhex("11" * 32),
    ).hexdigest()  # fmt: skip
    assert model_digest(entries) == model_digest(reversed(entries)) == expected


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a\nb", "a\0b", "\udc80"],
)
def test_a_path_is_plain_and_relative(path: str) -> None:
    with pytest.raises(EvidenceError, match="plain relative path"):
        ManifestEntry(path, 0, DIGEST)


def test_sizes_and_digests_are_checked() -> None:
    for size in (-1, 2**63):
        with pytest.raises(EvidenceError):
            ManifestEntry("a", size, DIGEST)
    for digest in ("", DIGEST.upper(), DIGEST + "0", DIGEST[:-1] + "\n"):
        with pytest.raises(EvidenceError):
            ManifestEntry("a", 0, digest)


def test_no_entry_and_a_repeated_entry_are_refused() -> None:
    with pytest.raises(EvidenceError, match="without files"):
        model_digest([])
    entry = ManifestEntry("a", 0, DIGEST)
    with pytest.raises(EvidenceError, match="twice"):
        model_digest([entry, entry])


def test_another_label_gives_another_digest() -> None:
    entry = ManifestEntry("a", 0, DIGEST)
    assert tree_digest([entry], label=b"other") != model_digest([entry])


@given(ENTRIES, ENTRIES)
def test_threat_31_different_manifests_have_different_digests(
    one: list[ManifestEntry], other: list[ManifestEntry]
) -> None:
    same = {(entry.path, entry.size, entry.sha256) for entry in one} == {
        (entry.path, entry.size, entry.sha256) for entry in other
    }
    assert (model_digest(one) == model_digest(other)) == same
