"""The official client becomes confidential by one argument."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import httpx2
import openai
import pytest

from mitai.errors import IncompleteAnswer, PlaintextRefused
from mitai.transport import AsyncSealedTransport, HttpxSealedTransport, SealedTransport
from support.enclave_simulator import Raw, models, refusal, streamed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.enclave_simulator import EnclaveSimulator

MESSAGES = [{"role": "user", "content": "请问 CANARY-41"}]
MODEL = "SmolLM2-135M-Instruct"
TEXT = "Hello sealed world，密态。"


@pytest.fixture(params=["httpx2", "httpx"])
def client(request: pytest.FixtureRequest, simulator: EnclaveSimulator) -> Iterator[openai.OpenAI]:
    module, sealed = {"httpx2": (httpx2, SealedTransport), "httpx": (httpx, HttpxSealedTransport)}[request.param]
    http_client = module.Client(transport=sealed(simulator.url, policy=simulator.policy(), token="t0ken"))
    with openai.OpenAI(http_client=http_client, api_key="unused") as opened:
        yield opened


def async_client(simulator: EnclaveSimulator) -> openai.AsyncOpenAI:
    transport = AsyncSealedTransport(simulator.url, policy=simulator.policy(), token="t0ken")
    return openai.AsyncOpenAI(http_client=httpx2.AsyncClient(transport=transport), api_key="unused")


def test_a_chat(client: openai.OpenAI, simulator: EnclaveSimulator) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert answer.choices[0].message.content == TEXT
    assert dict(simulator.executed[0].headers)[b"authorization"] == b"Bearer t0ken"


def test_a_streamed_chat(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
    assert "".join(event.choices[0].delta.content or "" for event in stream) == TEXT
    assert stream.response.extensions["mitai"].receipt.finish == "stop"


async def test_a_chat_async(simulator: EnclaveSimulator) -> None:
    async with async_client(simulator) as client:
        answer = await client.chat.completions.create(model=MODEL, messages=MESSAGES)
        assert answer.choices[0].message.content == TEXT


async def test_a_streamed_chat_async(simulator: EnclaveSimulator) -> None:
    async with async_client(simulator) as client:
        stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        assert "".join([event.choices[0].delta.content or "" async for event in stream]) == TEXT
        assert stream.response.extensions["mitai"].receipt.finish == "stop"


def test_models(client: openai.OpenAI, simulator: EnclaveSimulator) -> None:
    simulator.answer = lambda _: models()
    assert [model.id for model in client.models.list()] == [MODEL]


def test_a_sealed_refusal_is_the_clients_own_error(client: openai.OpenAI, simulator: EnclaveSimulator) -> None:
    simulator.answer = lambda _: refusal(401, "invalid_api_key")
    with pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert caught.value.code == "invalid_api_key"


@pytest.mark.parametrize("stream", [False, True])
def test_threat_09_truncation_anywhere_reaches_the_reader(
    client: openai.OpenAI, simulator: EnclaveSimulator, *, stream: bool
) -> None:
    """The client stops reading at [DONE]: what is cut behind it must not be lost on it."""
    pieces = len(streamed("Hello", " world").pieces) if stream else 1
    simulator.answer = (lambda _: streamed("Hello", " world")) if stream else simulator.answer
    for kept in range(2 + pieces + 1):
        simulator.executed.clear()
        simulator.misbehaviour.frames = lambda sent, kept=kept: sent[:kept]
        with pytest.raises(IncompleteAnswer):
            _read(client, stream=stream)
        assert len(simulator.executed) == 1  # and the client did not resend by itself


@pytest.mark.parametrize("trailers", [lambda _: (), lambda value: ((b"mitai-receipt", value[:-4]),)])
def test_threat_09_an_answer_without_a_valid_receipt_reaches_the_reader(
    client: openai.OpenAI, simulator: EnclaveSimulator, trailers: object
) -> None:
    simulator.misbehaviour.trailers = trailers
    with pytest.raises(IncompleteAnswer):
        _read(client, stream=True)


async def test_threat_09_truncation_reaches_the_async_reader(simulator: EnclaveSimulator) -> None:
    async with async_client(simulator) as client:
        for kept in range(5):
            simulator.misbehaviour.frames = lambda sent, kept=kept: [*sent[:2], *sent[2:][:kept]]
            with pytest.raises(IncompleteAnswer):
                await _read_async(client)


def test_threat_01_an_unsealed_answer_is_not_an_answer(client: openai.OpenAI, simulator: EnclaveSimulator) -> None:
    forged = Raw(200, b'{"choices":[]}', (("content-type", "application/json"),))
    simulator.misbehaviour.outer = lambda outer: forged if outer.method == "POST" else None
    with pytest.raises(PlaintextRefused):
        _read(client, stream=False)
    assert simulator.count("/mitai/ohttp") == 1


def _read(client: openai.OpenAI, *, stream: bool) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=stream)
    if stream:
        list(answer)


async def _read_async(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
    async for _ in stream:
        pass
