from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitai_crypto.errors import KeyConfigError
from mitai_crypto.hpke import Aead, Kdf, Kem
from mitai_crypto.key_config import KeyConfig, parse_key_config
from support.sealed_exchange import ALL_AEADS, key_pair

CONFIGS = {kem: key_pair(kem, key_id=9)[0] for kem in Kem}


@given(
    key_id=st.integers(0, 255),
    suites=st.lists(st.sampled_from(ALL_AEADS), min_size=1, max_size=3, unique=True),
    kem=st.sampled_from(Kem),
)
@settings(max_examples=60, deadline=None)
def test_parsing_what_was_encoded_gives_the_value(key_id: int, suites: list[tuple[Kdf, Aead]], kem: Kem) -> None:
    config = KeyConfig(key_id, kem, CONFIGS[kem].public_key, tuple(suites))
    assert parse_key_config(config.encode()) == config


@pytest.mark.parametrize("kem", Kem)
def test_the_fingerprint_is_the_hash_of_exactly_the_bytes(kem: Kem) -> None:
    config = CONFIGS[kem]
    assert config.fingerprint == hashlib.sha256(config.encode()).hexdigest()
    assert config.encode()[:3] == bytes([9]) + kem.to_bytes(2, "big")
    other = KeyConfig(10, kem, config.public_key, config.suites)
    assert other.fingerprint != config.fingerprint


@given(data=st.binary(max_size=80))
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_raise_nothing_but_our_error(data: bytes) -> None:
    with contextlib.suppress(KeyConfigError):
        parse_key_config(data)


@given(index=st.integers(0, 46), value=st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_a_changed_byte_is_refused_or_means_something_else(index: int, value: int) -> None:
    original = CONFIGS[Kem.X25519].encode()
    changed = original[:index] + bytes([value]) + original[index + 1 :]
    with contextlib.suppress(KeyConfigError):
        parsed = parse_key_config(changed)
        assert parsed.encode() == changed
        assert (parsed == CONFIGS[Kem.X25519]) == (changed == original)


def test_the_strongest_aead_is_taken_where_it_is_offered() -> None:
    config = CONFIGS[Kem.X25519]
    assert config.suite().aead is Aead.AES_256_GCM
    assert config.suite(Aead.CHACHA20_POLY1305).aead is Aead.CHACHA20_POLY1305
    weak = KeyConfig(1, config.kem, config.public_key, ((Kdf.HKDF_SHA256, Aead.CHACHA20_POLY1305), ALL_AEADS[0]))
    assert weak.suite().aead is Aead.CHACHA20_POLY1305
    with pytest.raises(KeyConfigError, match="AES_256_GCM"):
        weak.suite(Aead.AES_256_GCM)


def test_each_offered_suite_has_one_header() -> None:
    config = CONFIGS[Kem.MLKEM768_X25519]
    assert [header.hex() for header in config.headers] == [
        "09647a00010001",
        "09647a00010002",
        "09647a00010003",
    ]


def test_values_that_could_not_be_parsed_cannot_be_made() -> None:
    key = CONFIGS[Kem.X25519].public_key
    for key_id, public_key, suites in (
        (256, key, ALL_AEADS),
        (-1, key, ALL_AEADS),
        (1, key[1:], ALL_AEADS),
        (1, key, ()),
        (1, key, ALL_AEADS + ALL_AEADS),
        (1, key, ALL_AEADS * 6),
    ):
        with pytest.raises(KeyConfigError):
            KeyConfig(key_id, Kem.X25519, public_key, suites)


def test_the_repr_is_short() -> None:
    assert CONFIGS[Kem.MLKEM768_X25519].public_key.hex() not in repr(CONFIGS[Kem.MLKEM768_X25519])
    assert len(repr(CONFIGS[Kem.MLKEM768_X25519])) < 300
