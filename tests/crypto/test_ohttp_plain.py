from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from pyhpke import AEADId, CipherSuite, KDFId, KEMId
from pyhpke.kem_key import KEMKey

from mitai_crypto.bhttp import decode_request, decode_response
from mitai_crypto.errors import ChannelError, DecapsulationError, MessageTooLarge, TruncatedMessage
from mitai_crypto.hkdf import expand, extract
from mitai_crypto.hpke import Aead, Kem, SenderContext, load_private_key
from mitai_crypto.kem import _X25519Public
from mitai_crypto.key_config import request_info
from mitai_crypto.labels import (
    MAX_REQUEST_BYTES,
    MAX_RESPONSE_BYTES,
    MEDIA_TYPE_PLAIN_RESPONSE,
    MEDIA_TYPE_RESPONSE,
    PLAIN_REQUEST_LABEL,
)
from mitai_crypto.ohttp import (
    KeyConfig,
    OpenedRequest,
    PlainRequestOpener,
    PlainResponseSealer,
    RequestOpener,
    encode_key_list,
    parse_key_config,
    seal_plain_request,
    seal_request,
)
from mitai_crypto.ohttp_plain import _seal
from support.sealed_exchange import FixedExchange, key_pair, open_request

RFC = json.loads((Path(__file__).parent / "vectors" / "published" / "ohttp.json").read_text())


def rfc(name: str) -> bytes:
    return bytes.fromhex(RFC[name])


def rfcs_opener() -> PlainRequestOpener:
    config = parse_key_config(rfc("key_config"))
    return PlainRequestOpener({1: (config, load_private_key(Kem.X25519, rfc("gateway_private_key")))}.get)


def open_plain(message: bytes, config: KeyConfig, private_key: object) -> OpenedRequest:
    opener = PlainRequestOpener({config.key_id: (config, private_key)}.get)  # type: ignore[arg-type] - of key_pair
    opener.feed(message)
    return opener.close()


def test_the_rfcs_request_is_made_byte_by_byte_and_its_response_opens() -> None:
    config = parse_key_config(rfc("key_config"))
    suite = config.suite()
    header = config.header(suite)
    assert isinstance(config.key, _X25519Public)
    enc, secret = config.key._encapsulate(X25519PrivateKey.from_private_bytes(rfc("client_ephemeral_private_key")))
    assert enc == rfc("enc")
    assert request_info(header, PLAIN_REQUEST_LABEL) == rfc("info")
    context = SenderContext(suite, secret, request_info(header, PLAIN_REQUEST_LABEL))
    sealed = _seal(header + enc, enc, context, rfc("request_plaintext"))
    assert sealed.message == rfc("encapsulated_request")
    assert sealed.opener.open(rfc("encapsulated_response")) == rfc("response_plaintext")
    assert sealed.opener.response_nonce == rfc("response_nonce")
    assert decode_response(rfc("response_plaintext")).status == 200


def test_the_rfcs_request_opens_and_its_response_is_made_byte_by_byte() -> None:
    opener = rfcs_opener()
    opener.feed(rfc("encapsulated_request"))
    context = opener._context
    assert context is not None
    opened = opener.close()
    assert opened.plaintext == rfc("request_plaintext")
    assert decode_request(opened.plaintext).authority == b"example.com"
    assert context.export(b"message/bhttp response", 16) == rfc("exported_secret")
    sealer = PlainResponseSealer(context, rfc("enc"), rfc("response_nonce"))
    assert sealer.begin() + sealer.finish(rfc("response_plaintext")) == rfc("encapsulated_response")


def test_the_rfcs_values_are_what_pyhpke_derives() -> None:
    suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES128_GCM)
    private_key = KEMKey.from_pyca_cryptography_key(X25519PrivateKey.from_private_bytes(rfc("gateway_private_key")))
    recipient = suite.create_recipient_context(rfc("enc"), private_key, info=rfc("info"))
    assert recipient.open(rfc("encapsulated_request")[39:]) == rfc("request_plaintext")
    assert recipient.export(b"message/bhttp response", 16) == rfc("exported_secret")
    prk = extract(rfc("enc") + rfc("response_nonce"), rfc("exported_secret"))
    assert prk == rfc("prk")
    assert expand(prk, b"key", 16) == rfc("aead_key")
    assert expand(prk, b"nonce", 12) == rfc("aead_nonce")


def test_pyhpke_seals_and_we_open_and_answer() -> None:
    config, private_key = key_pair(Kem.X25519, key_id=9)
    header = config.header(config.suite(Aead.AES_256_GCM))
    suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM)
    enc, sender = suite.create_sender_context(
        suite.kem.deserialize_public_key(config.public_key), info=b"message/bhttp request\x00" + header
    )
    opened = open_plain(header + enc + sender.seal("文件保存多久？".encode()), config, private_key)
    assert opened.plaintext.decode() == "文件保存多久？"
    answer = opened.sealer.begin() + opened.sealer.finish("五年。".encode())
    prk = extract(enc + answer[:32], sender.export(b"message/bhttp response", 32))
    cipher = Aead.AES_256_GCM.cipher(expand(prk, b"key", 32))
    assert cipher.decrypt(expand(prk, b"nonce", 12), answer[32:], None).decode() == "五年。"


@pytest.mark.parametrize("aead", list(Aead))
@pytest.mark.parametrize("kem", list(Kem))
@given(question=st.binary(max_size=200), answer=st.lists(st.binary(max_size=100), max_size=4), step=st.integers(1, 99))
def test_round_trip(kem: Kem, aead: Aead, question: bytes, answer: list[bytes], step: int) -> None:
    config, private_key = key_pair(kem)
    sealed = seal_plain_request(config, question, aead=aead)
    opener = PlainRequestOpener({1: (config, private_key)}.get)
    for start in range(0, len(sealed.message), step):
        opener.feed(sealed.message[start : start + step])
    opened = opener.close()
    assert opened.plaintext == question
    assert opened.enc == sealed.enc
    assert not opened.sealer.streams
    assert opened.sealer.media_type == MEDIA_TYPE_PLAIN_RESPONSE
    message = opened.sealer.begin() + b"".join(map(opened.sealer.seal, answer)) + opened.sealer.finish(b"end")
    assert sealed.opener.open(message) == b"".join(answer) + b"end"
    assert sealed.opener.response_nonce == opened.sealer.response_nonce


def test_nothing_is_given_out_before_the_end() -> None:
    config, private_key = key_pair(Kem.X25519)
    sealer = open_plain(seal_plain_request(config, b"question").message, config, private_key).sealer
    assert sealer.begin() == sealer.response_nonce
    assert sealer.seal(b"half an ") == b""
    assert len(sealer.finish(b"answer")) == len(b"half an answer") + 16


def test_a_sealer_is_used_once_and_in_order() -> None:
    config, private_key = key_pair(Kem.X25519)
    sealer = open_plain(seal_plain_request(config, b"question").message, config, private_key).sealer
    for call in (sealer.seal, sealer.finish):
        with pytest.raises(ChannelError):
            call(b"too early")
    sealer.begin()
    sealer.finish(b"answer")
    for again in (sealer.begin, sealer.finish, lambda: sealer.seal(b"more")):
        with pytest.raises(ChannelError):
            again()


def test_an_opener_opens_once_also_after_a_failure() -> None:
    here = FixedExchange("a")
    opener = here.seal_plain().opener
    with pytest.raises(TruncatedMessage):
        _ = opener.response_nonce
    with pytest.raises(DecapsulationError):
        opener.open(here.plain_response()[:-1])
    with pytest.raises(ChannelError, match="read to its end"):
        opener.open(here.plain_response())


def test_threat_09_a_format_does_not_open_as_the_other() -> None:
    for kem in Kem:
        config, private_key = key_pair(kem)
        with pytest.raises(DecapsulationError):
            open_plain(seal_request(config, b"").message, config, private_key)
        with pytest.raises(ChannelError):
            open_request(seal_plain_request(config, b"question").message, config, private_key)
        # The chunked format's last chunk without its marker is the closest that the two come.
        chunked = seal_request(config, b"question").message
        head = 7 + kem.enc_bytes
        with pytest.raises(DecapsulationError):
            open_plain(chunked[:head] + chunked[head + 1 :], config, private_key)


def test_threat_11_plain_answers_belong_to_one_exchange() -> None:
    config, private_key = key_pair(Kem.MLKEM768_X25519)
    first, second = seal_plain_request(config, b"first"), seal_plain_request(config, b"second")
    sealer = open_plain(second.message, config, private_key).sealer
    answer = sealer.begin() + sealer.finish(b"answer to the second")
    with pytest.raises(DecapsulationError):
        first.opener.open(answer)
    assert second.opener.open(answer) == b"answer to the second"


def test_threat_20_sizes_are_capped_on_both_sides() -> None:
    config, private_key = key_pair(Kem.X25519)
    with pytest.raises(MessageTooLarge):
        seal_plain_request(config, bytes(MAX_REQUEST_BYTES))
    sealed = seal_plain_request(config, b"question")
    opener = PlainRequestOpener({1: (config, private_key)}.get, max_bytes=len(sealed.message) - 1)
    with pytest.raises(MessageTooLarge):
        opener.feed(sealed.message)
    sealer = open_plain(sealed.message, config, private_key).sealer
    sealer.begin()
    with pytest.raises(MessageTooLarge):
        sealer.seal(bytes(MAX_RESPONSE_BYTES))
    with pytest.raises(MessageTooLarge):
        sealed.opener.open(bytes(MAX_RESPONSE_BYTES + 1))


def test_threat_38_plain_objects_show_and_give_away_no_secret() -> None:
    config, private_key = key_pair(Kem.X25519)
    sealed = seal_plain_request(config, b"CANARY in the question")
    opener = PlainRequestOpener({1: (config, private_key)}.get)
    opener.feed(sealed.message)
    context = opener._context
    assert context is not None
    opened = opener.close()
    secret = context.export(b"message/bhttp response", 32)
    opened.sealer.begin()
    opened.sealer.seal(b"CANARY in the answer")
    for value in (sealed, opener, opened, sealed.opener, opened.sealer):
        text = repr(value)
        assert "CANARY" not in text
        assert secret.hex() not in text
        assert len(text) < 500
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(value)
        with pytest.raises(TypeError, match="pickle"):
            copy.deepcopy(value)


def test_key_lists_hold_each_configuration_behind_its_length() -> None:
    first, _ = key_pair(Kem.MLKEM768_X25519, key_id=1)
    second, _ = key_pair(Kem.X25519, key_id=2)
    data = encode_key_list((first, second))
    found = []
    while data:
        length = int.from_bytes(data[:2], "big")
        found.append(parse_key_config(data[2 : 2 + length]))
        data = data[2 + length :]
    assert found == [first, second]
    assert encode_key_list(()) == b""


def test_the_chunked_sealer_says_what_it_is() -> None:
    config, private_key = key_pair(Kem.X25519)
    sealer = open_request(seal_request(config, b"").message, config, private_key).sealer
    assert sealer.streams
    assert sealer.media_type == MEDIA_TYPE_RESPONSE
    assert RequestOpener.label != PlainRequestOpener.label
