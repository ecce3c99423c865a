from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import TypedDict, cast

import cryptography_vectors
import pytest
from cryptography.hazmat.primitives import hpke as pyca
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from pyhpke import AEADId, CipherSuite, KDFId, KEMId
from pyhpke.kem_key import KEMKey

from mitai_crypto.errors import HpkeError
from mitai_crypto.hpke import (
    DEFAULT_SUITE,
    Aead,
    Kdf,
    Kem,
    RecipientContext,
    SenderContext,
    Suite,
    generate_private_key,
    load_private_key,
    load_public_key,
    setup_recipient,
    setup_sender,
)
from mitai_crypto.kem import INVALID, _HybridPrivate, _X25519Private, _X25519Public
from mitai_crypto.labels import MAX_SEQUENCE

SUITES = [Suite(kem, Kdf.HKDF_SHA256, aead) for kem in Kem for aead in Aead]
VECTORS = Path(cryptography_vectors.__file__).parent / "HPKE"


class Encryption(TypedDict):
    aad: str
    pt: str
    ct: str


class Export(TypedDict):
    exporter_context: str
    L: int
    exported_value: str


class Vector(TypedDict):
    mode: int
    kem_id: int
    kdf_id: int
    aead_id: int
    info: str
    skRm: str
    skEm: str
    pkRm: str
    enc: str
    shared_secret: str
    encryptions: list[Encryption]
    exports: list[Export]


def published(name: str, kem: Kem) -> list[Vector]:
    """Return the base-mode vectors of the suites that exist here."""
    vectors = cast("list[Vector]", json.loads((VECTORS / name).read_text()))
    return [
        vector
        for vector in vectors
        if (vector["mode"], vector["kem_id"], vector["kdf_id"]) == (0, kem, Kdf.HKDF_SHA256)
        and vector["aead_id"] in set(Aead)
    ]


RFC_9180 = published("test-vectors.json", Kem.X25519)
HYBRID = published("hpke-pq-test-vectors.json", Kem.MLKEM768_X25519)


def suite_of(vector: Vector) -> Suite:
    return Suite(Kem(vector["kem_id"]), Kdf(vector["kdf_id"]), Aead(vector["aead_id"]))


def test_there_are_vectors() -> None:
    assert [suite_of(vector).aead for vector in RFC_9180] == list(Aead)
    assert [suite_of(vector).aead for vector in HYBRID] == [Aead.CHACHA20_POLY1305]


@pytest.mark.parametrize("vector", RFC_9180 + HYBRID, ids=lambda vector: f"{vector['kem_id']:#x}-{vector['aead_id']}")
def test_a_recipient_opens_the_published_vectors(vector: Vector) -> None:
    suite = suite_of(vector)
    private = load_private_key(suite.kem, bytes.fromhex(vector["skRm"]))
    assert private.public_bytes.hex() == vector["pkRm"]
    assert private.decapsulate(bytes.fromhex(vector["enc"])).hex() == vector["shared_secret"]
    context = setup_recipient(suite, private, bytes.fromhex(vector["enc"]), bytes.fromhex(vector["info"]))
    for encryption in vector["encryptions"]:
        opened = context.open(bytes.fromhex(encryption["ct"]), bytes.fromhex(encryption["aad"]))
        assert opened.hex() == encryption["pt"]
    for export in vector["exports"]:
        assert context.export(bytes.fromhex(export["exporter_context"]), export["L"]).hex() == export["exported_value"]


@pytest.mark.parametrize("vector", RFC_9180, ids=lambda vector: str(vector["aead_id"]))
def test_a_sender_makes_the_published_vectors(vector: Vector) -> None:
    suite = suite_of(vector)
    key = load_public_key(suite.kem, bytes.fromhex(vector["pkRm"]))
    assert isinstance(key, _X25519Public)
    enc, secret = key._encapsulate(X25519PrivateKey.from_private_bytes(bytes.fromhex(vector["skEm"])))
    assert (enc.hex(), secret.hex()) == (vector["enc"], vector["shared_secret"])
    context = SenderContext(suite, secret, bytes.fromhex(vector["info"]))
    for encryption in vector["encryptions"]:
        sealed = context.seal(bytes.fromhex(encryption["pt"]), bytes.fromhex(encryption["aad"]))
        assert sealed.hex() == encryption["ct"]


@pytest.mark.parametrize("vector", HYBRID, ids=lambda vector: str(vector["aead_id"]))
def test_a_hybrid_sender_schedules_keys_as_published(vector: Vector) -> None:
    context = SenderContext(suite_of(vector), bytes.fromhex(vector["shared_secret"]), bytes.fromhex(vector["info"]))
    for encryption in vector["encryptions"]:
        sealed = context.seal(bytes.fromhex(encryption["pt"]), bytes.fromhex(encryption["aad"]))
        assert sealed.hex() == encryption["ct"]


PYCA_KEM = {Kem.X25519: pyca.KEM.X25519, Kem.MLKEM768_X25519: pyca.KEM.MLKEM768_X25519}
PYCA_AEAD = {
    Aead.AES_128_GCM: pyca.AEAD.AES_128_GCM,
    Aead.AES_256_GCM: pyca.AEAD.AES_256_GCM,
    Aead.CHACHA20_POLY1305: pyca.AEAD.CHACHA20_POLY1305,
}


def pyca_suite(suite: Suite) -> pyca.Suite:
    return pyca.Suite(PYCA_KEM[suite.kem], pyca.KDF.HKDF_SHA256, PYCA_AEAD[suite.aead])


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: f"{suite.kem.name}-{suite.aead.name}")
def test_cryptographys_own_hpke_opens_what_we_seal(suite: Suite) -> None:
    private = generate_private_key(suite.kem)
    enc, sender = setup_sender(suite, private.public_bytes, b"info")
    message = enc + sender.seal("密态".encode())
    if isinstance(private, _HybridPrivate):
        theirs: pyca.MLKEM768X25519PrivateKey | X25519PrivateKey = pyca.MLKEM768X25519PrivateKey(
            private._mlkem, private._x25519
        )
    else:
        theirs = cast("_X25519Private", private)._key
    assert pyca_suite(suite).decrypt(message, theirs, b"info").decode() == "密态"


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: f"{suite.kem.name}-{suite.aead.name}")
def test_we_open_what_cryptographys_own_hpke_seals(suite: Suite) -> None:
    private = generate_private_key(suite.kem)
    raw = private.public_bytes
    x25519 = X25519PublicKey.from_public_bytes(raw[-32:])
    theirs: pyca.MLKEM768X25519PublicKey | X25519PublicKey = x25519
    if suite.kem is Kem.MLKEM768_X25519:
        theirs = pyca.MLKEM768X25519PublicKey(MLKEM768PublicKey.from_public_bytes(raw[:-32]), x25519)
    message = pyca_suite(suite).encrypt("密态".encode(), theirs, b"info")
    enc, ciphertext = message[: suite.kem.enc_bytes], message[suite.kem.enc_bytes :]
    assert setup_recipient(suite, private, enc, b"info").open(ciphertext).decode() == "密态"


PYHPKE_AEAD = {
    Aead.AES_128_GCM: AEADId.AES128_GCM,
    Aead.AES_256_GCM: AEADId.AES256_GCM,
    Aead.CHACHA20_POLY1305: AEADId.CHACHA20_POLY1305,
}


@pytest.mark.parametrize("aead", Aead)
def test_pyhpke_and_we_understand_each_other_over_many_messages(aead: Aead) -> None:
    suite = Suite(Kem.X25519, Kdf.HKDF_SHA256, aead)
    theirs = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, PYHPKE_AEAD[aead])
    raw = X25519PrivateKey.generate()
    private = load_private_key(Kem.X25519, raw.private_bytes_raw())

    enc, sender = setup_sender(suite, private.public_bytes, b"info")
    recipient = theirs.create_recipient_context(enc, KEMKey.from_pyca_cryptography_key(raw), b"info")
    for number in range(3):
        assert recipient.open(sender.seal(bytes([number]), b"aad"), b"aad") == bytes([number])
    assert recipient.export(b"label", 32) == sender.export(b"label", 32)

    enc, their_sender = theirs.create_sender_context(KEMKey.from_pyca_cryptography_key(raw.public_key()), b"info")
    ours = setup_recipient(suite, private, enc, b"info")
    for number in range(3):
        assert ours.open(their_sender.seal(bytes([number]), b"aad"), b"aad") == bytes([number])
    assert their_sender.export(b"label", 32) == ours.export(b"label", 32)


def pair(suite: Suite = DEFAULT_SUITE, info: bytes = b"info") -> tuple[SenderContext, RecipientContext]:
    private = generate_private_key(suite.kem)
    enc, sender = setup_sender(suite, private.public_bytes, b"info")
    return sender, setup_recipient(suite, private, enc, info)


@given(messages=st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=30)), max_size=6))
@settings(max_examples=30, deadline=None)
def test_messages_open_in_order(messages: list[tuple[bytes, bytes]]) -> None:
    sender, recipient = pair()
    for plaintext, aad in messages:
        assert recipient.open(sender.seal(plaintext, aad), aad) == plaintext


def test_threat_10_no_other_order_opens() -> None:
    sender, recipient = pair()
    first, second = sender.seal(b"first"), sender.seal(b"second")
    with pytest.raises(HpkeError):
        recipient.open(second)
    assert recipient.open(first) == b"first"
    with pytest.raises(HpkeError):
        recipient.open(first)
    assert recipient.open(second) == b"second"


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: f"{suite.kem.name}-{suite.aead.name}")
def test_threat_12_the_sequence_number_ends_in_an_error_and_never_wraps(suite: Suite) -> None:
    sender, recipient = pair(suite)
    sender._sequence = recipient._sequence = MAX_SEQUENCE - 1
    last = sender.seal(b"last")
    assert recipient.open(last) == b"last"
    for _ in range(2):
        with pytest.raises(HpkeError, match="last message"):
            sender.seal(b"one too many")
        with pytest.raises(HpkeError, match="last message"):
            recipient.open(last)


def test_threat_12_an_interrupted_call_does_not_reuse_a_number() -> None:
    sender, _ = pair()
    with pytest.raises(TypeError):
        sender.seal(cast("bytes", "not bytes"))
    assert sender._sequence == 1


def test_info_and_suite_bind_the_exchange() -> None:
    sender, recipient = pair(info=b"other")
    with pytest.raises(HpkeError, match=INVALID):
        recipient.open(sender.seal(b"hello"))
    assert sender.export(b"label", 32) != recipient.export(b"label", 32)


def test_exports_differ_by_label_and_length() -> None:
    sender, recipient = pair()
    assert sender.export(b"a", 32) == recipient.export(b"a", 32)
    assert sender.export(b"a", 32) != sender.export(b"b", 32)
    assert sender.export(b"a", 64)[:32] != sender.export(b"a", 32)


@pytest.mark.parametrize("length", [-1, 8161, 2**16, 2**40])
def test_an_export_that_is_too_long_is_our_error(length: int) -> None:
    sender, _ = pair()
    with pytest.raises(HpkeError, match="8160"):
        sender.export(b"label", length)


def test_a_key_of_another_kem_is_refused() -> None:
    private = generate_private_key(Kem.X25519)
    enc, _ = load_public_key(Kem.X25519, private.public_bytes).encapsulate()
    with pytest.raises(HpkeError, match=INVALID):
        setup_recipient(DEFAULT_SUITE, private, enc, b"")
    with pytest.raises(HpkeError, match=INVALID):
        setup_sender(DEFAULT_SUITE, load_public_key(Kem.X25519, private.public_bytes), b"")
    with pytest.raises(HpkeError, match=INVALID):
        setup_sender(DEFAULT_SUITE, private.public_bytes, b"")


@given(enc=st.binary(min_size=1120, max_size=1120), ciphertext=st.binary(max_size=64))
@settings(max_examples=50, deadline=None)
def test_arbitrary_bytes_raise_one_error_with_one_message(enc: bytes, ciphertext: bytes) -> None:
    private = load_private_key(Kem.MLKEM768_X25519, b"s" * 32)
    with pytest.raises(HpkeError) as failure:
        setup_recipient(DEFAULT_SUITE, private, enc, b"").open(ciphertext)
    assert str(failure.value) == INVALID
    assert failure.value.__cause__ is None
    assert failure.value.__suppress_context__


def test_threat_38_contexts_show_and_give_away_nothing() -> None:
    sender, recipient = pair()
    for context in (sender, recipient):
        assert repr(context) == f"<{type(context).__name__} MLKEM768_X25519 AES_256_GCM>"
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(context)
    assert {name for name in dir(sender) if not name.startswith("_")} == {"export", "seal", "suite"}
    assert {name for name in dir(recipient) if not name.startswith("_")} == {"export", "open", "suite"}


@pytest.mark.parametrize("number", [0x0002, 0x0003, 0x0010, 0x0011, 0x0012])
def test_other_kdfs_do_not_exist_here(number: int) -> None:
    with pytest.raises(ValueError, match="not a valid Kdf"):
        Kdf(number)
