from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitai_crypto.errors import ChannelError, DecapsulationError, HpkeError, KeyConfigError, MessageTooLarge
from mitai_crypto.hpke import Aead, Kdf, Kem, load_private_key
from mitai_crypto.key_config import KeyConfig
from mitai_crypto.labels import CHUNK_SIZE, MAX_CHUNK_CIPHERTEXT, MAX_REQUEST_BYTES
from mitai_crypto.ohttp import RequestOpener, seal_request
from mitai_crypto.ohttp_chunks import FINAL_MARKER
from support.sealed_exchange import ALL_AEADS, FixedExchange, key_pair, open_request

KEYS = {kem: key_pair(kem) for kem in Kem}
FAILURES = Path(__file__).parent / "vectors" / "failures" / "request"


@pytest.mark.parametrize("kem", Kem)
@pytest.mark.parametrize("aead", Aead)
@pytest.mark.parametrize("size", [0, 1, 6144, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE])
def test_a_request_opens_to_what_was_sealed(kem: Kem, aead: Aead, size: int) -> None:
    config, private_key = KEYS[kem]
    sealed = seal_request(config, b"p" * size, aead=aead)
    opened = open_request(sealed.message, config, private_key)
    assert opened.plaintext == b"p" * size
    assert opened.enc == sealed.enc
    assert opened.config is config


@given(plaintext=st.binary(max_size=300), step=st.integers(1, 400))
@settings(max_examples=40, deadline=None)
def test_the_split_of_the_body_does_not_matter(plaintext: bytes, step: int) -> None:
    config, private_key = KEYS[Kem.MLKEM768_X25519]
    message = seal_request(config, plaintext).message
    opener = RequestOpener({1: (config, private_key)}.get)
    for start in range(0, len(message), step):
        opener.feed(message[start : start + step])
    assert opener.close().plaintext == plaintext


def test_every_seal_is_another_one() -> None:
    config, _ = KEYS[Kem.X25519]
    first, second = seal_request(config, b"same"), seal_request(config, b"same")
    assert first.enc != second.enc
    assert first.message[-20:] != second.message[-20:]


def test_threat_09_nothing_comes_out_before_the_final_chunk_verified() -> None:
    config, private_key = KEYS[Kem.X25519]
    opener = RequestOpener({1: (config, private_key)}.get)
    message = seal_request(config, b"p" * 3 * CHUNK_SIZE).message
    opener.feed(message[:-1])
    with pytest.raises(DecapsulationError):
        opener.close()
    assert opener._parts == []


def test_threat_09_every_cut_of_a_request_is_refused() -> None:
    here = FixedExchange("a")
    message = here.seal().message
    for cut in range(len(message)):
        opener = RequestOpener({7: (here.config, here.gateway_key)}.get)
        opener.feed(message[:cut])
        with pytest.raises(DecapsulationError):
            opener.close()


def failure_of(message: bytes, step: int) -> ChannelError:
    here = FixedExchange("a")
    hybrid = load_private_key(Kem.MLKEM768_X25519, bytes(32))
    keys = {
        7: (here.config, here.gateway_key),
        1: (KeyConfig(1, hybrid.kem, hybrid.public_bytes, ALL_AEADS), hybrid),
    }
    opener = RequestOpener(keys.get)

    def run() -> None:
        for start in range(0, len(message), step):
            opener.feed(message[start : start + step])
        opener.close()

    with pytest.raises(ChannelError) as failure:
        run()
    for call in (lambda: opener.feed(b""), opener.close):
        with pytest.raises(type(failure.value)):
            call()
    assert opener._parts == []
    return failure.value


def shown(error: ChannelError) -> tuple[object, ...]:
    return type(error), str(error), error.args, error.hint, error.__cause__, error.__suppress_context__


def test_threat_14_every_reason_gives_the_same_error() -> None:
    vectors = [json.loads(path.read_text()) for path in sorted(FAILURES.glob("*.json"))]
    messages = [bytes.fromhex(vector["input"]) for vector in vectors if vector["error"] == "DecapsulationError"]
    assert len(messages) > 30
    failures = {shown(failure_of(message, step)) for message in messages for step in (1 << 20, 7)}
    assert len(failures) == 1
    failure = failures.pop()
    assert failure[0] is DecapsulationError
    assert failure[1] == "the sealed message does not open"
    assert failure[4:] == (None, True)  # nothing is chained that a log could show


@given(message=st.binary(max_size=120), kept=st.integers(0, 60))
@settings(max_examples=150, deadline=None)
def test_arbitrary_bytes_raise_nothing_but_our_errors(message: bytes, kept: int) -> None:
    """Also behind a genuine beginning of `kept` bytes."""
    genuine = FixedExchange("a").seal().message
    assert type(failure_of(genuine[:kept] + message, 1 << 20)) in {DecapsulationError, MessageTooLarge}


def test_threat_20_the_cap_holds_for_the_whole_request() -> None:
    config, private_key = KEYS[Kem.X25519]
    message = seal_request(config, b"p" * 1000).message
    opener = RequestOpener({1: (config, private_key)}.get, max_bytes=len(message))
    opener.feed(message)
    assert opener.close().plaintext == b"p" * 1000
    opener = RequestOpener({1: (config, private_key)}.get, max_bytes=len(message) - 1)
    with pytest.raises(MessageTooLarge):
        opener.feed(message)
    with pytest.raises(MessageTooLarge):
        opener.close()


def test_threat_20_a_request_that_no_gateway_takes_is_not_made() -> None:
    config, _ = KEYS[Kem.X25519]
    with pytest.raises(MessageTooLarge):
        seal_request(config, bytes(MAX_REQUEST_BYTES))


def test_threat_20_one_huge_chunk_is_refused_early() -> None:
    config, private_key = KEYS[Kem.X25519]
    head = seal_request(config, b"").message[: 7 + 32]
    opener = RequestOpener({1: (config, private_key)}.get)
    with pytest.raises(MessageTooLarge):
        opener.feed(head + FINAL_MARKER + bytes(MAX_CHUNK_CIPHERTEXT + 1))


def test_a_suite_that_the_key_does_not_offer_is_refused_on_both_sides() -> None:
    config, private_key = KEYS[Kem.X25519]
    narrow = KeyConfig(1, config.kem, config.public_key, ((Kdf.HKDF_SHA256, Aead.AES_256_GCM),))
    with pytest.raises(KeyConfigError):
        seal_request(narrow, b"", aead=Aead.AES_128_GCM)
    message = seal_request(config, b"", aead=Aead.AES_128_GCM).message
    with pytest.raises(DecapsulationError):
        open_request(message, narrow, private_key)


def test_threat_13_a_low_order_key_seals_nothing() -> None:
    with pytest.raises(HpkeError):
        seal_request(KeyConfig(1, Kem.X25519, bytes(32), ALL_AEADS), b"secret")


def test_an_opener_is_used_once() -> None:
    config, private_key = KEYS[Kem.X25519]
    opener = RequestOpener({1: (config, private_key)}.get)
    opener.feed(seal_request(config, b"once").message)
    opener.close()
    with pytest.raises(ChannelError, match="read to its end"):
        opener.close()
    with pytest.raises(ChannelError, match="read to its end"):
        opener.feed(b"more")
