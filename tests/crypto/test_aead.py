from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag

from mitai_crypto.aead import Aead

SIZES = {Aead.AES_128_GCM: (16, 16), Aead.AES_256_GCM: (32, 32), Aead.CHACHA20_POLY1305: (32, 32)}


@pytest.mark.parametrize("aead", Aead)
def test_sizes_are_those_of_the_registry(aead: Aead) -> None:
    assert (aead.key_bytes, aead.response_nonce_bytes) == SIZES[aead]


@pytest.mark.parametrize("aead", Aead)
def test_a_cipher_opens_what_it_sealed_and_adds_a_tag_of_16_bytes(aead: Aead) -> None:
    cipher = aead.cipher(b"k" * aead.key_bytes)
    sealed = cipher.encrypt(bytes(12), b"hello", b"aad")
    assert len(sealed) == 5 + 16
    assert cipher.decrypt(bytes(12), sealed, b"aad") == b"hello"
    with pytest.raises(InvalidTag):
        cipher.decrypt(bytes(12), sealed, b"other")


def test_the_ciphers_are_different_ones() -> None:
    sealed = {aead.cipher(b"k" * aead.key_bytes).encrypt(bytes(12), b"hello", None) for aead in Aead}
    assert len(sealed) == 3
