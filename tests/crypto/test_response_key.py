"""Where does the response key come from? From the HPKE context alone (`docs/spec/ohttp.md` §3)."""

from __future__ import annotations

import os

import pytest

from mitai_crypto.aead import Aead
from mitai_crypto.errors import ChannelError, TruncatedMessage
from mitai_crypto.hpke import Kdf
from mitai_crypto.kem import Kem, PrivateKey, generate_private_key
from mitai_crypto.key_config import HEADER_BYTES
from mitai_crypto.labels import AEAD_TAG_BYTES, CHUNK_SIZE
from mitai_crypto.ohttp import KeyConfig, RequestOpener, SealedRequest, seal_request
from mitai_crypto.ohttp_chunks import FINAL_MARKER
from mitai_crypto.ohttp_response import ResponseSealer
from mitai_crypto.varint import encode_varint


def key_pair() -> tuple[KeyConfig, PrivateKey]:
    private = generate_private_key(Kem.X25519)
    return KeyConfig(1, Kem.X25519, private.public_bytes, ((Kdf.HKDF_SHA256, Aead.AES_128_GCM),)), private


def exchange() -> tuple[SealedRequest, ResponseSealer]:
    """Return a request at the device, and what seals its answer at the enclave."""
    config, private = key_pair()
    sealed = seal_request(config, b"question")
    opener = RequestOpener({1: (config, private)}.get)
    opener.feed(sealed.message)
    return sealed, opener.close().sealer


@pytest.mark.parametrize("question", [b"question", "问题".encode(), "問題".encode()])
def test_threat_07_who_sees_all_public_bytes_and_adds_a_key_cannot_answer(question: bytes) -> None:
    config, private = key_pair()
    sealed = seal_request(config, question)
    other = seal_request(config, question)  # the attacker's own exchange with the same enclave key
    opener = RequestOpener({1: (config, private)}.get)
    opener.feed(other.message)
    opener.close()
    context = opener._context
    assert context is not None
    # Everything that travels in the open is the victim's; only the context is the attacker's.
    forged = ResponseSealer(context, sealed.enc, os.urandom(16))
    message = forged.begin() + forged.seal(b"forged") + forged.finish()
    with pytest.raises(ChannelError):
        sealed.opener.feed(message)


def test_threat_09_a_chunk_promoted_to_final_does_not_end_a_request() -> None:
    config, private = key_pair()
    sealed = seal_request(config, bytes(CHUNK_SIZE + 1))
    head = HEADER_BYTES + Kem.X25519.enc_bytes
    first = len(encode_varint(CHUNK_SIZE + AEAD_TAG_BYTES))
    chunk = sealed.message[head + first : head + first + CHUNK_SIZE + AEAD_TAG_BYTES]
    opener = RequestOpener({1: (config, private)}.get)
    opener.feed(sealed.message[:head] + FINAL_MARKER + chunk)
    with pytest.raises(ChannelError):
        opener.close()


def test_threat_09_a_chunk_promoted_to_final_does_not_end_a_response() -> None:
    """Whole answers are one chunk and an end: were the first taken for the end, the receipt would be missing."""
    sealed, sealer = exchange()
    nonce, chunk = sealer.begin(), sealer.seal(b"part")
    prefix = len(encode_varint(len(b"part") + AEAD_TAG_BYTES))
    assert sealed.opener.feed(nonce + FINAL_MARKER + chunk[prefix:]) == b""
    with pytest.raises(ChannelError):
        sealed.opener.close()


def test_threat_09_without_its_marker_no_chunk_is_the_final_one() -> None:
    """The marker is public. Where the ciphertext reads as the length of a chunk to come, only it tells the end."""
    text = b"all of it"
    final = len(text) + AEAD_TAG_BYTES
    for _ in range(200):
        sealed, sealer = exchange()
        nonce, ciphertext = sealer.begin(), sealer.finish(text).removeprefix(FINAL_MARKER)
        assert len(ciphertext) == final
        if 0x40 < ciphertext[0] < 0x80:  # two bytes of a length that is more than what is there
            break
    assert sealed.opener.feed(nonce + ciphertext) == b""
    with pytest.raises(TruncatedMessage):
        sealed.opener.close()
