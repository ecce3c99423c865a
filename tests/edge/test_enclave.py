from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from mitai.enclave import EnclaveClient, _delta_text, _parse_event
from mitai.errors import (
    ContextTooLong,
    EnclaveRefused,
    EnclaveUnreachable,
    IncompleteAnswer,
    VerificationFailed,
)
from mitai_crypto.evidence import TeeKind
from mitai_crypto.labels import ATTESTATION_PATH
from mitai_crypto.receipt import Usage
from support.enclave_simulator import (
    EnclaveSimulator,
    Reply,
    chat_event,
    event,
    models,
    refusal,
    streamed,
)
from support.evidence_builder import build_enclave

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mitai.chat import ChatMessage
    from mitai.disclosure import Outgoing

MESSAGES: list[ChatMessage] = [{"role": "user", "content": "密态 CANARY"}]


@pytest.fixture
def simulator() -> Iterator[EnclaveSimulator]:
    with EnclaveSimulator() as running:
        yield running


@pytest.fixture
def enclave(simulator: EnclaveSimulator) -> Iterator[EnclaveClient]:
    with EnclaveClient(simulator.url, policy=simulator.policy(), token="t0ken", timeout=5) as client:
        yield client


def test_a_chat_streams_text_and_ends_with_its_receipt(enclave: EnclaveClient) -> None:
    stream = enclave.chat(MESSAGES)
    assert (stream.receipt, stream.usage, stream.finish, stream.signed_receipt) == (None, None, None, None)
    assert list(stream) == ["Hello", " sealed", " world", "，密态。"]
    assert stream.finish == "stop"
    assert stream.usage == Usage(7, 5)
    assert stream.receipt is not None
    assert stream.signed_receipt is not None
    assert stream.attestation.simulated


def test_the_engine_is_asked_for_the_attested_model(enclave: EnclaveClient, simulator: EnclaveSimulator) -> None:
    list(enclave.chat(MESSAGES, max_tokens=9))
    body = json.loads(simulator.executed[0].content)
    assert body == {
        "model": "SmolLM2-135M-Instruct",
        "messages": MESSAGES,
        "temperature": 0.0,
        "max_tokens": 9,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_verify_asks_anew_and_later_requests_rest_on_it(enclave: EnclaveClient, simulator: EnclaveSimulator) -> None:
    for fetches in (1, 2):
        result = enclave.verify()
        assert result.report.ok
        assert simulator.count(ATTESTATION_PATH) == fetches
    list(enclave.chat(MESSAGES))
    assert simulator.count(ATTESTATION_PATH) == 2


def test_models_and_their_context_length(enclave: EnclaveClient, simulator: EnclaveSimulator) -> None:
    simulator.answer = lambda _: models(2048)
    assert [(model.name, model.context_tokens) for model in enclave.models()] == [("SmolLM2-135M-Instruct", 2048)]
    assert enclave.context_tokens() == 2048
    assert enclave.context_tokens("another") is None
    assert len(simulator.executed) == 1


def test_an_engine_that_names_no_context_length(enclave: EnclaveClient, simulator: EnclaveSimulator) -> None:
    simulator.answer = lambda _: models(None)
    assert enclave.context_tokens() is None


def test_the_hook_runs_before_anything_of_the_chat_leaves(enclave: EnclaveClient, simulator: EnclaveSimulator) -> None:
    shown: list[tuple[Outgoing, int]] = []
    list(enclave.chat(MESSAGES, before_send=lambda outgoing: shown.append((outgoing, len(simulator.executed)))))
    assert [(json.loads(outgoing.text)["messages"], sent) for outgoing, sent in shown] == [(MESSAGES, 0)]


def test_threat_26_simulation_is_refused_where_hardware_is_wanted(simulator: EnclaveSimulator) -> None:
    policy = simulator.policy(tee=(TeeKind.TDX, TeeKind.SEV_SNP), root=None)
    with EnclaveClient(simulator.url, policy=policy, token="t0ken") as client:
        with pytest.raises(VerificationFailed) as caught:
            client.verify()
        assert caught.value.report.simulated
        with pytest.raises(VerificationFailed):
            client.chat(MESSAGES)
    assert simulator.executed == []


@pytest.mark.parametrize("change", ["measurement", "model", "configuration", "swapped key"])
def test_an_enclave_that_is_not_what_the_policy_wants_gets_nothing(simulator: EnclaveSimulator, change: str) -> None:
    other = build_enclave("B", now=int(time.time()))
    policy = {
        "measurement": lambda: simulator.policy(
            references=(other.policy().references[0].__class__("x", 0, None, {f"r{i}": "0" * 96 for i in range(4)}),)
        ),
        "model": lambda: simulator.policy(model_digest="0" * 64),
        "configuration": lambda: simulator.policy(configuration=("0" * 64,)),
        "swapped key": simulator.policy,
    }[change]()
    if change == "swapped key":
        genuine = simulator.enclave
        simulator.misbehaviour.evidence = lambda nonce: genuine.bundle(nonce, material=other.material.encode())
        simulator.enclave = other
        simulator.misbehaviour.evidence = other.bundle
    with EnclaveClient(simulator.url, policy=policy, token="t0ken") as client, pytest.raises(VerificationFailed):
        client.chat(MESSAGES)
    assert simulator.executed == []


# -- refusals


@pytest.mark.parametrize(("status", "code"), [(401, "invalid_api_key"), (404, "model_not_found"), (503, "overloaded")])
def test_a_sealed_refusal(enclave: EnclaveClient, simulator: EnclaveSimulator, status: int, code: str) -> None:
    simulator.answer = lambda _: refusal(status, code, message="the engine quotes CANARY")
    with pytest.raises(EnclaveRefused) as caught:
        enclave.chat(MESSAGES)
    assert caught.value.status == status
    assert code in str(caught.value)
    assert "CANARY" not in f"{caught.value!r}{caught.value.hint}"


@pytest.mark.parametrize(
    "reply",
    [
        refusal(400, None, message="This model's maximum context length is 2048 tokens. However, …"),
        refusal(400, "context_length_exceeded"),
    ],
)
def test_a_context_that_is_too_long(enclave: EnclaveClient, simulator: EnclaveSimulator, reply: Reply) -> None:
    simulator.answer = lambda _: reply
    with pytest.raises(ContextTooLong):
        enclave.chat(MESSAGES)


def test_nobody_there(simulator: EnclaveSimulator) -> None:
    with EnclaveClient("http://127.0.0.1:1", policy=simulator.policy(), token="t") as client:
        with pytest.raises(EnclaveUnreachable):
            client.verify()
        with pytest.raises(EnclaveUnreachable):
            client.chat(MESSAGES)


# -- answers that break off


def test_threat_09_a_cut_answer_is_an_error_after_what_was_shown(
    enclave: EnclaveClient, simulator: EnclaveSimulator
) -> None:
    simulator.misbehaviour.frames = lambda frames: frames[:4]
    shown: list[str] = []
    with pytest.raises(IncompleteAnswer):
        shown.extend(enclave.chat(MESSAGES))
    assert shown == ["Hello", " sealed"]


def test_an_engine_that_dies_within_the_answer(enclave: EnclaveClient, simulator: EnclaveSimulator) -> None:
    dead = event({"error": {"message": "engine failed", "type": "server_error", "code": "engine_failed"}})
    simulator.answer = lambda _: Reply(pieces=(chat_event("Hel"), b"\n\n" + dead), finish="error")
    stream = enclave.chat(MESSAGES)
    shown: list[str] = []
    with pytest.raises(IncompleteAnswer, match="engine"):
        shown.extend(stream)
    assert shown == ["Hel"]
    assert stream.finish == "error"  # the enclave lived on and signed for it


def test_a_receipt_that_says_error_is_believed(enclave: EnclaveClient, simulator: EnclaveSimulator) -> None:
    simulator.answer = lambda _: Reply(pieces=streamed("all", " fine").pieces, finish="error")
    with pytest.raises(IncompleteAnswer):
        list(enclave.chat(MESSAGES))


@pytest.mark.parametrize("piece", [b"data: {not json}\n\n", b'data: {"choices":"x"}\n\ndata: 5\n\ndata: {"a"\n\n'])
def test_an_event_that_is_no_event(enclave: EnclaveClient, simulator: EnclaveSimulator, piece: bytes) -> None:
    simulator.answer = lambda _: Reply(pieces=(piece,))
    with pytest.raises(IncompleteAnswer):
        list(enclave.chat(MESSAGES))


def test_closing_early_stops_the_answer(enclave: EnclaveClient, simulator: EnclaveSimulator) -> None:
    simulator.answer = lambda _: streamed(*"abcdefghij")
    simulator.misbehaviour.pause = 0.01
    with enclave.chat(MESSAGES) as stream:
        assert next(stream) == "a"
    assert list(stream) == []
    assert stream.receipt is None


def test_repr_shows_no_token(enclave: EnclaveClient) -> None:
    assert "t0ken" not in repr(enclave)
    assert "t0ken" not in repr(vars(enclave))


def test_a_lone_surrogate_in_an_answer_is_replaced_so_that_it_can_be_shown_and_stored() -> None:
    event: dict[str, object] = {"choices": [{"delta": {"content": "密\ud800态 🙂"}}]}
    assert _delta_text(event).encode() == "密\ufffd态 🙂".encode()


def test_an_event_nested_without_end_is_an_incomplete_answer() -> None:
    with pytest.raises(IncompleteAnswer):
        _parse_event("[" * 200_000)
