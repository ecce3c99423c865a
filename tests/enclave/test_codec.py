from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai_crypto.kem import Kem
from mitai_enclave import messages
from mitai_enclave.codec import decode, encode
from mitai_enclave.errors import ChannelBroken
from mitai_enclave.metrics import Outcome
from mitai_enclave.routes import RouteClass
from support.workers import WELCOME

NAMES = {kind: name for table in (messages.TO_KEEPER, messages.TO_WORKER) for name, kind in table.items()}


@pytest.mark.parametrize(
    "message",
    [
        WELCOME,
        messages.Ready(),
        messages.AskKeys(1),
        messages.KeyRing(1, (messages.RingKey(255, Kem.X25519, bytes(32), b"\1" * 32, 2**50),), 0),
        messages.KeyRing(2, (), 2**50),
        messages.AskAdmission(3, bytes(32), bytes(32), "张三", bytes(16)),
        messages.Verdict(3, admitted=True, refusal=None),
        messages.Verdict(3, admitted=False, refusal=messages.Refusal(503, "overloaded", "太多請求")),
        messages.AskReading(4),
        messages.Granted(4, granted=False),
        messages.Release(messages.SlotKind.RUNNING),
        messages.AskEvidence(5, bytes(32)),
        messages.Evidence(5, b"", messages.EvidenceProblem.TOO_MANY),
        messages.AskHealth(6),
        messages.Healthy(6, healthy=True),
        messages.Count(Outcome.OK, RouteClass.CHAT),
        messages.Handover(17),
    ],
    ids=lambda message: type(message).__name__,
)
def test_every_message_comes_back_as_it_was(message: object) -> None:
    kind = type(message)
    text = encode(NAMES[kind], message)
    assert decode(text, {NAMES[kind]: kind}, max_bytes=10_000) == message


def test_every_kind_has_a_name_of_its_own() -> None:
    assert len(NAMES) == len(messages.TO_KEEPER) + len(messages.TO_WORKER)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"n":1,"op":"health"}',
        b'{"n":1,"op":"health","v":2}',
        b'{"n":1,"op":"health","v":true}',
        b'{"n":1,"op":"unknown","v":1}',
        b'{"n":1,"op":["health"],"v":1}',
        b'{"op":"health","v":1}',
        b'{"m":1,"n":1,"op":"health","v":1}',
        b'{"n":"1","op":"health","v":1}',
        b'{"n":true,"op":"health","v":1}',
        b'{"n":-1,"op":"health","v":1}',
        b'{"n":1.0,"op":"health","v":1}',
        b'{"n":null,"op":"health","v":1}',
        b'{"n": 1,"op":"health","v":1}',
        b'{"n":1,"n":1,"op":"health","v":1}',
        b'{"n":1,"op":"health","v":1} ',
        b'{"n":1,"nonce":"AB","op":"attest","v":1}',
        b'{"n":1,"nonce":"a","op":"attest","v":1}',
        b'{"n":1,"nonce":"ab ","op":"attest","v":1}',
        b'{"op":"release","slot":"all","v":1}',
        b'{"op":"count","outcome":"ok","route":1,"v":1}',
        b'{"op":"welcome","v":1}',
    ],
)
def test_anything_else_is_refused(text: bytes) -> None:
    with pytest.raises(ChannelBroken):
        decode(text, messages.TO_KEEPER, max_bytes=1000)


def test_nested_values_are_as_strict() -> None:
    good = encode("welcome", WELCOME)
    for old, new in (
        (b'"rotation_seconds":7', b'"rotation_seconds":0'),
        (b'"rotation_seconds":7', b'"rotation_seconds":70000'),
        (b'"tee":"simulated"', b'"tee":"real"'),
        (b'{"principal":"alice"', b'{"admin":true,"principal":"alice"'),
        (b'"model_digest":null', b'"model_digest":1'),
        (b'"tokens":[', b'"tokens":[null,'),
    ):
        assert good.count(old) == 1
        with pytest.raises(ChannelBroken):
            decode(good.replace(old, new), messages.TO_WORKER, max_bytes=10_000)


def test_a_message_over_its_limit_is_refused() -> None:
    text = encode("ready", messages.Ready())
    with pytest.raises(ChannelBroken):
        decode(text, messages.TO_KEEPER, max_bytes=len(text) - 1)


@given(st.binary(max_size=200))
def test_noise_never_leaves_the_error_tree(noise: bytes) -> None:
    with pytest.raises(ChannelBroken):
        decode(noise, messages.TO_KEEPER, max_bytes=1000)


def test_threat_38_no_secret_shows_in_a_repr() -> None:
    shown = repr(WELCOME) + repr(messages.RingKey(1, Kem.X25519, b"\x77" * 32, b"", 0))
    for secret in (WELCOME.receipt_key, WELCOME.salt_secret, b"\x77" * 32, WELCOME.tokens[1].sha256):
        assert repr(secret) not in shown
