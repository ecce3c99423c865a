from __future__ import annotations

import copy
import json
import pickle
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from mitai_crypto import ohttp
from mitai_crypto.errors import ChannelError, DecapsulationError
from mitai_crypto.hpke import Aead, Kem, SenderContext, load_private_key
from mitai_crypto.kem import _X25519Public
from mitai_crypto.key_config import request_info
from mitai_crypto.ohttp import RequestOpener, ResponseOpener, ResponseSealer, parse_key_config, seal_request
from mitai_crypto.ohttp_request import _seal_chunks
from support.sealed_exchange import FixedExchange, key_pair, open_request

DRAFT = json.loads((Path(__file__).parent / "vectors" / "published" / "chunked_ohttp.json").read_text())


def draft(name: str) -> bytes:
    return bytes.fromhex(DRAFT[name])


def drafts_opener() -> RequestOpener:
    config = parse_key_config(draft("key_config"))
    return RequestOpener({1: (config, load_private_key(Kem.X25519, draft("gateway_private_key")))}.get)


def test_the_drafts_key_configuration() -> None:
    config = parse_key_config(draft("key_config"))
    assert config.encode() == draft("key_config")
    assert config.public_key == draft("gateway_public_key")
    assert config.suite().aead is Aead.AES_128_GCM


def test_the_drafts_request_is_made_byte_by_byte() -> None:
    config = parse_key_config(draft("key_config"))
    suite = config.suite()
    header = config.header(suite)
    assert isinstance(config.key, _X25519Public)
    enc, secret = config.key._encapsulate(X25519PrivateKey.from_private_bytes(draft("client_ephemeral_private_key")))
    assert enc == draft("enc")
    assert request_info(header) == draft("info") + b"\x00" + header
    context = SenderContext(suite, secret, request_info(header))
    sealed = _seal_chunks(header + enc, enc, context, map(bytes.fromhex, DRAFT["request_plaintext_chunks"]))
    assert sealed.message == draft("encapsulated_request")
    assert sealed.opener.feed(draft("encapsulated_response")).hex() == "".join(DRAFT["response_plaintext_chunks"])
    assert sealed.opener.close() == b""
    assert sealed.opener.response_nonce == draft("response_nonce")


def test_the_drafts_request_opens_and_its_response_is_made_byte_by_byte() -> None:
    opener = drafts_opener()
    opener.feed(draft("encapsulated_request"))
    context = opener._context
    assert context is not None
    assert opener.close().plaintext.hex() == "".join(DRAFT["request_plaintext_chunks"])
    assert context.export(b"message/bhttp chunked response", 16) == draft("exported_secret")
    sealer = ResponseSealer(context, draft("enc"), draft("response_nonce"))
    *pieces, last = map(bytes.fromhex, DRAFT["response_plaintext_chunks"])
    response = sealer.begin() + b"".join(map(sealer.seal, pieces)) + sealer.finish(last)
    assert response == draft("encapsulated_response")


def test_threat_08_a_request_reflected_as_its_response_opens_nothing() -> None:
    for kem in Kem:
        for aead in Aead:
            config, _ = key_pair(kem)
            sealed = seal_request(config, b"question" * 100, aead=aead)
            opener, released = sealed.opener, list[bytes]()
            with pytest.raises(ChannelError):
                released.extend(call() for call in (partial(opener.feed, sealed.message), opener.close))
            assert b"".join(released) == b""


def test_threat_08_a_response_reflected_as_a_request_opens_nothing() -> None:
    here = FixedExchange("a")
    opener = RequestOpener({7: (here.config, here.gateway_key)}.get)
    with pytest.raises(DecapsulationError):
        opener.feed(here.request_frames()[0] + b"".join(here.response_frames()[1:]))


def test_threat_11_answers_belong_to_one_exchange() -> None:
    config, private_key = key_pair(Kem.MLKEM768_X25519)
    first, second = seal_request(config, b"first"), seal_request(config, b"second")
    sealer = open_request(second.message, config, private_key).sealer
    answer = sealer.begin() + sealer.seal(b"answer to the second")
    with pytest.raises(DecapsulationError):
        first.opener.feed(answer)
    assert second.opener.feed(answer) == b"answer to the second"


def test_threat_38_no_name_exports_a_response_secret() -> None:
    assert ohttp.__all__ == sorted(ohttp.__all__)
    assert set(ohttp.__all__) == {
        "KeyConfig",
        "OpenedRequest",
        "PlainRequestOpener",
        "PlainResponseOpener",
        "PlainResponseSealer",
        "RequestOpener",
        "ResponseOpener",
        "ResponseSealer",
        "SealedPlainRequest",
        "SealedRequest",
        "Sealer",
        "encode_key_list",
        "parse_key_config",
        "seal_plain_request",
        "seal_request",
    }


def public_names(value: object) -> set[str]:
    return {name for name in dir(value) if not name.startswith("_")}


def test_threat_38_objects_show_and_give_away_no_secret() -> None:
    config, private_key = key_pair(Kem.MLKEM768_X25519)
    sealed = seal_request(config, b"CANARY in the question")
    opener = RequestOpener({1: (config, private_key)}.get)
    opener.feed(sealed.message)
    context = opener._context
    assert context is not None
    opened = opener.close()
    secret = context.export(b"message/bhttp chunked response", 32)
    sealed.opener.feed(opened.sealer.begin())

    assert public_names(sealed) == {"enc", "message", "opener"}
    assert public_names(opened) == {"config", "enc", "plaintext", "sealer"}
    assert public_names(opener) == {"close", "feed", "label"}
    assert public_names(sealed.opener) == {"close", "feed", "response_nonce"}
    assert public_names(opened.sealer) == {"begin", "finish", "media_type", "response_nonce", "seal", "streams"}
    for value in (sealed, opened, opener, sealed.opener, opened.sealer):
        text = repr(value)
        assert "CANARY" not in text
        assert secret.hex() not in text
        assert str(secret) not in text
        assert len(text) < 500


def test_threat_38_nothing_that_holds_a_key_can_be_pickled_or_copied() -> None:
    config, private_key = key_pair(Kem.X25519)
    sealed = seal_request(config, b"question")
    opener = RequestOpener({1: (config, private_key)}.get)
    opener.feed(sealed.message)
    holders: list[object] = [sealed.opener, sealed, opener, opener.close().sealer]
    assert isinstance(sealed.opener, ResponseOpener)
    for holder in holders:
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(holder)
        with pytest.raises(TypeError, match="pickle"):
            copy.deepcopy(holder)
