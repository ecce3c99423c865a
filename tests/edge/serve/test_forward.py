"""Plain requests through the endpoint, with the official client, to a real sidecar and to a simulated enclave."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2
import openai
import pytest

from mitai.disclosure import DisclosureOutcome
from mitai.knowledge_base import KnowledgeBase
from support.enclave_simulator import Raw, Reply, chat_event, refusal, rotated, streamed
from support.knowledge_bases import PASSPHRASE
from support.sealed_client import TOKEN
from support.serving import ENCLAVE_TOKEN, LOCAL_TOKEN, Served, serving, sidecar_in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.enclave_simulator import EnclaveSimulator
    from support.serving import SidecarInThread

MODEL = "SmolLM2-135M-Instruct"
MESSAGES = [{"role": "user", "content": "How long? 保存多久？保存多久？"}]
BODY = {"model": MODEL, "messages": MESSAGES}
TEXT = "Hello sealed world，密态。"
SIDECAR_TEXT = "The retention period is 14 days. 保存期限为十四天。"
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[SidecarInThread]:
    with sidecar_in_thread(tmp_path) as running:
        yield running


@pytest.fixture
def through(sidecar: SidecarInThread) -> Iterator[Served]:
    with serving(sidecar.url, sidecar.policy, enclave_token=TOKEN) as running:
        yield running


def test_the_official_client_through_the_real_sidecar(through: Served, sidecar: SidecarInThread) -> None:
    with through.openai() as client:
        answer = client.chat.completions.create(model="simulated", messages=MESSAGES)
        assert answer.choices[0].message.content == SIDECAR_TEXT
        stream = client.chat.completions.create(model="simulated", messages=MESSAGES, stream=True)
        assert "".join(event.choices[0].delta.content or "" for event in stream if event.choices) == SIDECAR_TEXT
        client.completions.create(model="simulated", prompt="保存")
        vectors = client.embeddings.create(model="simulated", input=["保存", "retention"], encoding_format="float")
        assert vectors.data[0].embedding == [0.1]
        assert [model.id for model in client.models.list()] == ["simulated"]
    assert [call.path for call in sidecar.engine.calls] == [
        "/v1/chat/completions",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
    ]


async def test_the_asynchronous_client(through: Served) -> None:
    async with through.openai_async() as client:
        answer = await client.chat.completions.create(model="simulated", messages=MESSAGES)
        assert answer.choices[0].message.content == SIDECAR_TEXT
        stream = await client.chat.completions.create(model="simulated", messages=MESSAGES, stream=True)
        pieces = [event.choices[0].delta.content or "" async for event in stream if event.choices]
        assert "".join(pieces) == SIDECAR_TEXT


def test_tools_and_response_format_pass_and_the_enclaves_validation_comes_back(
    through: Served, sidecar: SidecarInThread
) -> None:
    form = {"type": "json_object"}
    with through.openai() as client:
        client.chat.completions.create(
            model="simulated", messages=MESSAGES, tools=[TOOL], tool_choice="auto", response_format=form
        )
        assert sidecar.engine.calls[0].document["tools"] == [TOOL]
        assert sidecar.engine.calls[0].document["response_format"] == form
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="simulated", messages=MESSAGES, extra_body={"chat_template": "x"})
        assert caught.value.code == "unsupported_parameter"
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="another", messages=MESSAGES)
    assert len(sidecar.engine.calls) == 1


def test_an_engine_that_dies_within_a_stream_is_no_clean_end(through: Served, sidecar: SidecarInThread) -> None:
    sidecar.engine.behaviour.die_after = 3
    data, clean = read_raw(through, {**BODY, "model": "simulated", "stream": True})
    assert b"engine_failed" in data
    assert b"[DONE]" not in data
    assert not clean
    with through.openai() as client, pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="simulated", messages=MESSAGES, stream=True))


def test_a_client_that_goes_away_stops_the_engine(through: Served, sidecar: SidecarInThread) -> None:
    sidecar.engine.behaviour.pause = 0.05
    with (
        through.openai() as client,
        client.chat.completions.create(model="simulated", messages=MESSAGES, stream=True) as stream,
    ):
        next(iter(stream))
    assert eventually(lambda: sidecar.engine.calls[0].aborted)


def test_a_client_that_goes_away_before_the_answer_stops_the_engine(through: Served, sidecar: SidecarInThread) -> None:
    sidecar.engine.behaviour.silent = True
    with through.openai(timeout=0.5, max_retries=0) as client, pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model="simulated", messages=MESSAGES)
    assert eventually(lambda: sidecar.engine.calls[0].aborted)
    assert eventually(lambda: through.log[-1]["status"] == 499)


def test_only_the_enclaves_token_and_allowed_fields_go_to_the_enclave(
    plain: Served, simulator: EnclaveSimulator
) -> None:
    with plain.http(cookie="CANARY=1", **{"mitai-cache-salt": "s", "user-agent": "CANARY", "x-a": "CANARY"}) as client:
        answer = client.post("/v1/chat/completions", json=BODY)
    assert answer.status_code == 200
    sent = dict(simulator.executed[0].headers)
    assert sent[b"authorization"] == b"Bearer " + ENCLAVE_TOKEN.encode()
    assert set(sent) == {
        b"accept", b"mitai-cache-salt", b"content-type", b"accept-encoding", b"authorization", b"date",
        b"mitai-request-id", b"mitai-blind",
    }  # fmt: skip
    assert LOCAL_TOKEN.encode() not in repr(simulator.executed).encode()
    assert ENCLAVE_TOKEN not in answer.text + repr(answer.headers)


def test_the_body_goes_byte_for_byte(plain: Served, simulator: EnclaveSimulator) -> None:
    body = b'{ "model":"%s" ,"messages":[{"role":"user","content":"\xe7\xb9\x81\xe9\xab\x94"}]}' % MODEL.encode()
    with plain.http() as client:
        client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert simulator.executed[0].content == body


def test_every_answer_says_what_was_verified(plain: Served, simulator: EnclaveSimulator) -> None:
    with plain.http() as client:
        before = client.get("/healthz")
        whole = client.post("/v1/chat/completions", json=BODY)
        with client.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as stream:
            stream.read()
        after = client.get("/v1/nothing")
    assert before.json() == {"status": "ok", "tee": "unverified"}
    for answer in (whole, stream, after):
        assert answer.headers["mitai-tee"] == "simulated"
        assert len(answer.headers["mitai-measurement"]) == 64
        assert answer.headers["cache-control"] == "no-store"
    assert len(whole.headers["mitai-receipt"]) == 64


@pytest.mark.parametrize("kept", range(1, 6))
def test_threat_09_truncation_of_a_stream_is_an_error_event_and_a_broken_connection(
    plain: Served, simulator: EnclaveSimulator, kept: int
) -> None:
    """Cut after the head, after each event, and before the final chunk."""
    simulator.answer = lambda _: streamed("Hello", " world")
    simulator.misbehaviour.frames = lambda frames: frames[: 1 + kept]
    data, clean = read_raw(plain, {**BODY, "stream": True})
    assert not clean
    assert b"[DONE]" not in data
    assert json.loads(data.split(b"data: ")[-1])["error"]["code"] == "incomplete_answer"
    assert len(simulator.executed) == 1


def test_threat_09_a_cut_within_an_event_leaves_the_error_event_whole(
    plain: Served, simulator: EnclaveSimulator
) -> None:
    whole = chat_event("Hello")
    simulator.answer = lambda _: Reply(pieces=(whole, whole[:30]))
    simulator.misbehaviour.frames = lambda frames: frames[:-1]
    data, clean = read_raw(plain, {**BODY, "stream": True})
    first, second = data.split(b"\n\n")[:2]
    assert json.loads(first.removeprefix(b"data: "))["choices"][0]["delta"]["content"] == "Hello"
    assert json.loads(second.removeprefix(b"data: "))["error"]["code"] == "incomplete_answer"
    assert not clean


@pytest.mark.parametrize("kept", [2, 3])
def test_threat_09_a_collected_answer_is_whole_or_an_error(
    plain: Served, simulator: EnclaveSimulator, kept: int
) -> None:
    simulator.misbehaviour.frames = lambda frames: frames[:kept]
    with plain.openai(max_retries=2) as client, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert (caught.value.status_code, caught.value.code) == (502, "incomplete_answer")
    assert len(simulator.executed) == 1  # the client did not resend: it was told not to


def test_events_in_pieces_arrive_whole(plain: Served, simulator: EnclaveSimulator) -> None:
    data = b"".join(streamed("Hello", "，密态", "。").pieces)
    simulator.answer = lambda _: Reply(pieces=tuple(data[at : at + 7] for at in range(0, len(data), 7)))
    got, clean = read_raw(plain, {**BODY, "stream": True})
    assert (got, clean) == (data, True)


def test_a_restarted_enclave_is_verified_again(plain: Served, simulator: EnclaveSimulator) -> None:
    with plain.openai() as client:
        client.chat.completions.create(model=MODEL, messages=MESSAGES)
        simulator.enclave = rotated(simulator.enclave)
        answer = client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert answer.choices[0].message.content == TEXT
    assert simulator.count("/.well-known/mitai/attestation") == 2
    assert len(simulator.executed) == 2


def test_an_enclave_that_no_longer_verifies_gets_nothing(plain: Served, simulator: EnclaveSimulator) -> None:
    from support.evidence_builder import build_enclave

    simulator.enclave = build_enclave("another", now=int(time.time()))
    with plain.openai() as client, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert (caught.value.status_code, caught.value.code) == (502, "enclave_not_verified")
    assert simulator.count("/mitai/ohttp") == 0


def test_an_unsealed_answer_and_a_dead_enclave_are_errors_in_openais_shape(
    plain: Served, simulator: EnclaveSimulator
) -> None:
    forged = Raw(200, b'{"choices":[{"message":{"content":"FORGED"}}]}', (("content-type", "application/json"),))
    simulator.misbehaviour.outer = lambda outer: forged if outer.method == "POST" else None
    with plain.http() as client:
        answer = client.post("/v1/chat/completions", json=BODY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "answer_not_sealed")
    assert "FORGED" not in answer.text
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"]["hint"]


def test_nothing_listens_at_the_enclaves_address(simulator: EnclaveSimulator) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with serving(f"http://127.0.0.1:{port}", simulator.policy()) as served, served.http() as client:
        answer = client.post("/v1/chat/completions", json=BODY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "enclave_unreachable")
    assert answer.headers["mitai-tee"] == "unverified"


def test_a_sealed_refusal_comes_back_as_it_is(plain: Served, simulator: EnclaveSimulator) -> None:
    simulator.answer = lambda _: refusal(429, "rate", message="slowly 請慢")
    with plain.openai(max_retries=0) as client, pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert caught.value.code == "rate"


# --- the ledger of plain requests ---


@pytest.fixture
def recorded(simulator: EnclaveSimulator, knowledge_base: KnowledgeBase) -> Iterator[Served]:
    with serving(simulator.url, simulator.policy(), ledger=knowledge_base.ledger) as running:
        yield running


def test_a_plain_request_is_recorded_before_it_leaves_and_completed_with_its_receipt(
    recorded: Served, simulator: EnclaveSimulator, knowledge_base: KnowledgeBase
) -> None:
    rows_when_executed: list[list[DisclosureOutcome]] = []
    inner = simulator.answer

    def answer(request: object) -> Reply:
        rows_when_executed.append([row.outcome for row in knowledge_base.ledger.list_disclosures()])
        return inner(request)  # type: ignore[arg-type] # passed through

    simulator.answer = answer
    with recorded.openai() as client:
        client.chat.completions.create(model=MODEL, messages=MESSAGES)
        list(client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))
    assert rows_when_executed[0] == [DisclosureOutcome.UNKNOWN]
    assert eventually(lambda: outcomes(knowledge_base) == ["complete", "complete"])
    row = knowledge_base.ledger.list_disclosures()[0]
    assert "保存多久" in str(row.text)
    assert row.simulated
    assert row.receipt is not None
    assert json.loads(row.receipt)["receipt"]


def test_the_receipt_field_names_the_receipt_in_the_ledger(recorded: Served, knowledge_base: KnowledgeBase) -> None:
    with recorded.http() as client:
        answer = client.post("/v1/chat/completions", json=BODY)
    (row,) = knowledge_base.ledger.list_disclosures()
    kept = json.loads(str(row.receipt))["receipt"]
    canonical = json.dumps(kept, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    assert answer.headers["mitai-receipt"] == hashlib.sha256(canonical).hexdigest()


def test_how_a_plain_request_ended_is_recorded(
    recorded: Served, simulator: EnclaveSimulator, knowledge_base: KnowledgeBase
) -> None:
    with recorded.http() as client:
        simulator.misbehaviour.frames = lambda frames: frames[:3]
        client.post("/v1/chat/completions", json=BODY)
        simulator.misbehaviour.frames = None
        simulator.answer = lambda _: refusal(400, "bad")
        client.post("/v1/chat/completions", json=BODY)
        simulator.answer = lambda _: streamed(*["word"] * 200)
        simulator.misbehaviour.pause = 0.02
        with client.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as stream:
            next(stream.iter_bytes())
    assert eventually(lambda: outcomes(knowledge_base) == ["incomplete", "refused", "closed"])


def test_a_client_that_goes_away_before_the_answer_is_recorded(
    recorded: Served, simulator: EnclaveSimulator, knowledge_base: KnowledgeBase
) -> None:
    with recorded.http() as client:
        client.get("/v1/models")
        simulator.misbehaviour.pause = 2.0
        client.timeout = 1.5
        with pytest.raises(httpx2.ReadTimeout):
            client.post("/v1/chat/completions", json=BODY)
    assert eventually(lambda: outcomes(knowledge_base) == ["closed"])


def test_nothing_leaves_when_the_row_cannot_be_written(
    recorded: Served, simulator: EnclaveSimulator, knowledge_base: KnowledgeBase
) -> None:
    knowledge_base.close()
    with recorded.openai(max_retries=0) as client, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert caught.value.code == "internal_error"
    assert simulator.count("/mitai/ohttp") == 0


def test_a_busy_ledger_keeps_the_request_here_and_holds_nobody_up(
    simulator: EnclaveSimulator, knowledge_base: KnowledgeBase
) -> None:
    """Another process is writing: the row has to wait for it, in a thread, while others are served."""
    path = knowledge_base.path
    with (
        KnowledgeBase.open(path, passphrase=PASSPHRASE, busy_timeout=4.0) as other,
        serving(simulator.url, simulator.policy(), ledger=other.ledger) as served,
        served.http() as client,
        ThreadPoolExecutor(1) as pool,
        knowledge_base._store.database.write(),
    ):
        waiting = pool.submit(client.post, "/v1/chat/completions", json=BODY)
        time.sleep(0.3)
        began = time.monotonic()
        with served.http() as second:
            assert second.get("/healthz").status_code == 200
        assert time.monotonic() - began < 2
        assert not waiting.done()
        answer = waiting.result()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "knowledge_base_busy")
    assert simulator.count("/mitai/ohttp") == 0


def outcomes(knowledge_base: KnowledgeBase) -> list[str]:
    return [row.outcome.value for row in knowledge_base.ledger.list_disclosures()]


def eventually(holds: object, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():  # type: ignore[operator] # a callable
            return True
        time.sleep(0.02)
    return False


def read_raw(served: Served, body: dict[str, object]) -> tuple[bytes, bool]:
    """Return the body of a streamed answer and whether HTTP says that it is whole."""
    address = urlsplit(served.url)
    data = b""
    with (
        httpx2.Client(trust_env=False, timeout=20) as client,
        client.stream(
            "POST",
            f"http://{address.netloc}/v1/chat/completions",
            json=body,
            headers={"authorization": f"Bearer {LOCAL_TOKEN}"},
        ) as answer,
    ):
        try:
            for piece in answer.iter_raw():
                data += piece
        except httpx2.RemoteProtocolError:
            return data, False
    return data, True
