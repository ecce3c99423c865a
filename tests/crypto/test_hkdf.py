from __future__ import annotations

import pytest

from mitai_crypto.hkdf import expand, extract, labeled_expand, labeled_extract

IKM = b"\x0b" * 22


def test_rfc_5869_case_1() -> None:
    prk = extract(bytes(range(13)), IKM)
    assert prk.hex() == "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
    okm = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    assert expand(prk, bytes(range(0xF0, 0xFA)), 42).hex() == okm


def test_an_empty_salt_is_32_zero_bytes() -> None:
    assert extract(b"", IKM) == extract(bytes(32), IKM)


def test_no_labelled_output_is_a_prefix_of_a_longer_one() -> None:
    long = labeled_expand(b"suite", bytes(32), b"label", b"", 64)
    assert long[:32] != labeled_expand(b"suite", bytes(32), b"label", b"", 32)


def test_labels_and_suites_separate_what_is_derived() -> None:
    assert labeled_extract(b"s", b"", b"a", b"x") != labeled_extract(b"s", b"", b"b", b"x")
    assert labeled_extract(b"s", b"", b"a", b"x") != labeled_extract(b"t", b"", b"a", b"x")


def test_more_than_255_blocks_are_refused() -> None:
    assert len(expand(bytes(32), b"", 8160)) == 8160
    with pytest.raises(ValueError, match="8160"):
        expand(bytes(32), b"", 8161)
