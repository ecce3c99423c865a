"""The client against the real sidecar, with evidence that really verifies."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx2
import openai
import pytest

import support.sidecar
from mitai.enclave import EnclaveClient
from mitai.errors import EnclaveRefused, IncompleteAnswer
from mitai.padding import PADDED
from mitai.transport import AsyncSealedTransport
from mitai.transport.exchange import Exchange, PlainRequest, imf_fixdate, inner_request, new_request_id
from support.evidence_builder import build_enclave
from support.sealed_client import TOKEN
from support.sidecar import running_sidecar
from support.upstream_simulator import UpstreamSimulator
from support.workers import BuiltAttester

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mitai.chat import ChatMessage
    from mitai.enclave import ChatStream
    from mitai_crypto.policy import TrustPolicy
    from support.sidecar import Sidecar

MESSAGES: list[ChatMessage] = [{"role": "user", "content": "How long is it kept? 保存多久？"}]
TEXT = "The retention period is 14 days. 保存期限为十四天。"


@dataclass(frozen=True)
class Running:
    """A sidecar, its engine, and the policy that it passes."""

    sidecar: Sidecar
    engine: UpstreamSimulator
    policy: TrustPolicy

    def client(self, token: str = TOKEN) -> EnclaveClient:
        return EnclaveClient(self.sidecar.url, policy=self.policy, token=token, timeout=20)


@pytest.fixture
async def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    async with _running(tmp_path, monkeypatch) as started:
        yield started


@asynccontextmanager
async def _running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    machine = build_enclave(now=int(time.time()))
    monkeypatch.setattr(support.sidecar, "RecordedAttester", lambda: BuiltAttester(machine))
    async with UpstreamSimulator(tmp_path / "engine.sock") as engine, running_sidecar(engine) as sidecar:
        policy = machine.policy(
            model_name=sidecar.identity.model_name,
            model_digest=sidecar.identity.model_digest,
            configuration=(sidecar.identity.configuration,),
            engine=(sidecar.identity.engine,),
        )
        yield Running(sidecar, engine, policy)


def _chat(running: Running) -> tuple[str, ChatStream]:
    with running.client() as client:
        stream = client.chat(MESSAGES)
        return "".join(stream), stream


async def test_a_chat_with_the_real_sidecar(running: Running) -> None:
    text, stream = await asyncio.to_thread(_chat, running)
    assert text == TEXT
    assert stream.finish == "stop"
    assert stream.usage is not None
    assert stream.attestation.report.ok
    assert running.engine.calls[0].document["messages"] == MESSAGES


async def test_the_openai_client_with_the_real_sidecar(running: Running) -> None:
    transport = AsyncSealedTransport(running.sidecar.url, policy=running.policy, token=TOKEN)
    http_client = httpx2.AsyncClient(transport=transport)
    async with openai.AsyncOpenAI(http_client=http_client, api_key="unused", max_retries=0) as client:
        model = running.sidecar.identity.model_name
        answer = await client.chat.completions.create(model=model, messages=MESSAGES)
        assert answer.choices[0].message.content == TEXT
        stream = await client.chat.completions.create(model=model, messages=MESSAGES, stream=True)
        pieces = [event.choices[0].delta.content or "" async for event in stream if event.choices]
        assert "".join(pieces) == TEXT


async def test_a_wrong_token_is_refused_inside_the_seal(running: Running) -> None:
    def chat() -> None:
        with running.client("wrong") as client:
            client.chat(MESSAGES)

    with pytest.raises(EnclaveRefused) as caught:
        await asyncio.to_thread(chat)
    assert caught.value.status == 401
    assert running.engine.calls == []


async def test_an_engine_that_dies_within_the_answer(running: Running) -> None:
    running.engine.behaviour.die_after = 3
    with pytest.raises(IncompleteAnswer, match="engine"):
        await asyncio.to_thread(_chat, running)


async def test_threat_41_one_request_id_runs_once(running: Running) -> None:
    """The client's own resend would carry the same id; the sidecar refuses the second, sealed."""
    with running.client() as client:
        attested = await asyncio.to_thread(client.verify)
    model = running.sidecar.identity.model_name
    body = json.dumps({"model": model, "messages": MESSAGES}).encode()
    plain = PlainRequest(b"POST", b"/v1/chat/completions", ((b"content-type", b"application/json"),), body)
    request_id = new_request_id()
    bodies: list[bytes] = []
    for _ in range(2):
        request = inner_request(
            plain, token=TOKEN, request_id=request_id, date=imf_fixdate(time.time()), padding=PADDED
        )
        exchange = Exchange(request, attested, attested.key_config(int(time.time())), PADDED)
        answer = await running.sidecar.client.post(
            exchange.target, content=exchange.message, headers={"content-type": "message/ohttp-chunked-req"}
        )
        reader = exchange.answer()
        bodies.append(reader.feed(answer.content) + reader.close())
        assert reader.receipt is not None
    assert b"repeated_request" in bodies[1]
    assert len(running.engine.calls) == 1


@pytest.mark.parametrize("rotations", [1, 3])
async def test_a_client_outlives_rotations(running: Running, rotations: int) -> None:
    """After one the retired key still opens, and its receipt verifies; after three there is a new key."""
    epochs = running.sidecar.epochs
    with running.client() as client:
        first = await asyncio.to_thread(lambda: "".join(client.chat(MESSAGES)))
        before = epochs.current
        epochs._monotonic = lambda: time.monotonic() + rotations * 3600 + 1
        assert epochs.current is not before
        second = await asyncio.to_thread(lambda: "".join(client.chat(MESSAGES)))
    assert first == second == TEXT
    assert len(running.engine.calls) == 2


async def test_closing_early_stops_the_engine(running: Running) -> None:
    running.engine.behaviour.pause = 0.05

    def begin() -> None:
        with running.client() as client, client.chat(MESSAGES) as stream:
            next(stream)

    await asyncio.to_thread(begin)
    for _ in range(100):
        if running.engine.calls[0].aborted:
            break
        await asyncio.sleep(0.02)
    assert running.engine.calls[0].aborted
