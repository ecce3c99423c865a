"""Chats with a knowledge base: answers with citations in three scripts, follow-ups, the ledger, errors."""

from __future__ import annotations

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import openai
import pytest

from mitai.answering.answer import NOTHING_FOUND
from mitai_crypto.evidence import TeeKind, measurement_digest
from support.enclave_simulator import models, streamed
from support.serving import Served, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mitai.knowledge_base import KnowledgeBase
    from mitai_crypto.bhttp import Request
    from support.enclave_simulator import EnclaveSimulator, Reply

MODEL = "kb:手冊"
CASES = [
    ("How many days of paid annual leave are there?", "There are 27 days of paid annual leave.", "handbook.md"),
    ("住房补贴每月多少？", "住房补贴为每月一千元。", "员工手册.txt"),
    ("光譜儀的保固期限多久？", "光譜儀的保固期限為三十個月。", "保固說明.txt"),
]


def says(simulator: EnclaveSimulator, *words: str) -> None:
    def answer(request: Request) -> Reply:
        return models() if request.path == b"/v1/models" else streamed(*words)

    simulator.answer = answer


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def prompt_of(simulator: EnclaveSimulator) -> str:
    chat = [request for request in simulator.executed if request.path == b"/v1/chat/completions"][-1]
    return str(json.loads(chat.content)["messages"][-1]["content"])


@pytest.mark.parametrize(("question", "said", "file"), CASES)
def test_an_answer_with_citations(
    served: Served, simulator: EnclaveSimulator, knowledge_base: KnowledgeBase, *, question: str, said: str, file: str
) -> None:
    says(simulator, said[:5], said[5:])
    with served.openai() as client:
        answer = client.chat.completions.create(model=MODEL, messages=[user(question)])
    message = answer.choices[0].message
    assert (message.content, answer.choices[0].finish_reason) == (said, "stop")
    (citation,) = message.model_extra["citations"]
    assert citation["file"] == file
    text = next(path for path in knowledge_base.path.parent.joinpath("documents").iterdir() if path.name == file)
    assert text.read_text(encoding="utf-8")[citation["start"] : citation["end"]].strip() in citation["quote"]
    assert said[citation["sentence"]["start"] : citation["sentence"]["end"]] in said
    (annotation,) = message.annotations
    assert annotation.url_citation.title == file
    assert annotation.url_citation.url.startswith("mitai:%E6%89%8B%E5%86%8A/")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 5)
    proof = answer.model_extra["mitai"]
    (row,) = knowledge_base.ledger.list_disclosures()
    assert (proof["simulated"], proof["tee"], proof["ledger"]) == (True, "simulated", row.disclosure_id)
    assert (row.outcome.value, proof["grounding"], proof["unsupported"]) == ("complete", "supported", [])
    kept = json.loads(str(row.receipt))["receipt"]
    canonical = json.dumps(kept, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    assert proof["receipt"] == hashlib.sha256(canonical).hexdigest()
    assert prompt_of(simulator).endswith(question)


@pytest.mark.parametrize(("question", "said", "file"), CASES)
async def test_a_streamed_answer_with_citations(
    served: Served, simulator: EnclaveSimulator, question: str, said: str, file: str
) -> None:
    says(simulator, *said)
    async with served.openai_async() as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=[user(question)], stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == said
    assert len(chunks) == len(said) + 3
    assert chunks[-1].usage.total_tokens == 12
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert [citation["file"] for citation in chunks[-2].choices[0].delta.model_extra["citations"]] == [file]
    assert chunks[-2].model_extra["mitai"]["simulated"] is True


@pytest.mark.parametrize("stream", [False, True])
def test_the_fields_say_what_was_verified(served: Served, simulator: EnclaveSimulator, *, stream: bool) -> None:
    says(simulator, CASES[0][1])
    with served.http() as client:
        body = {"model": MODEL, "messages": [user(CASES[0][0])], "stream": stream}
        answer = client.post("/v1/chat/completions", json=body)
    assert answer.headers["mitai-tee"] == "simulated"
    expected = measurement_digest(TeeKind.SIMULATED, simulator.enclave.quote.registers)
    assert answer.headers["mitai-measurement"] == expected


def test_what_is_not_in_the_passages_is_marked(served: Served, simulator: EnclaveSimulator) -> None:
    says(simulator, "There are 99 days of paid annual leave.")
    with served.openai() as client:
        answer = client.chat.completions.create(model=MODEL, messages=[user(CASES[0][0])])
    assert answer.choices[0].message.model_extra["citations"] == []
    proof = answer.model_extra["mitai"]
    assert (proof["grounding"], proof["unsupported"]) == ("weak", [{"start": 0, "end": 39}])
    assert proof["note"]


def test_the_models_are_the_enclaves_and_the_knowledge_bases(served: Served) -> None:
    with served.openai() as client:
        assert [model.id for model in client.models.list()] == ["SmolLM2-135M-Instruct", MODEL]


def test_a_follow_up_is_searched_and_sent_with_what_was_said_before(
    served: Served, simulator: EnclaveSimulator
) -> None:
    says(simulator, "Part-time staff have 14 days.")
    turns = [
        {"role": "system", "content": "CANARY-SYSTEM"},
        user(CASES[0][0]),
        {"role": "assistant", "content": "There are 27 days."},
        {"role": "user", "content": [{"type": "text", "text": "And for part-time staff?"}]},
    ]
    with served.openai() as client:
        answer = client.chat.completions.create(model=MODEL, messages=turns)
    assert [c["file"] for c in answer.choices[0].message.model_extra["citations"]] == ["handbook.md"]
    prompt = prompt_of(simulator)
    assert prompt.endswith("And for part-time staff?")
    assert f"user: {CASES[0][0]}\nassistant: There are 27 days." in prompt
    assert "CANARY-SYSTEM" not in prompt


def test_where_nothing_is_found_nothing_is_sent(simulator: EnclaveSimulator, tmp_path: object) -> None:
    class Empty:
        ledger = None

        def search(self, query: str, *, k: int) -> list[object]:  # noqa: ARG002 - finds nothing, whatever is asked
            return []

    with serving(simulator.url, simulator.policy(), corpora={"empty": Empty()}) as served, served.openai() as client:
        answer = client.chat.completions.create(model="kb:empty", messages=[user("什么？")])
    assert answer.choices[0].message.content == NOTHING_FOUND["zh"]
    assert answer.model_extra["mitai"]["receipt"] is None
    assert simulator.seen == []


def test_an_answer_that_breaks_off_is_no_clean_end(
    served: Served, simulator: EnclaveSimulator, knowledge_base: KnowledgeBase
) -> None:
    says(simulator, "There", " are", " 27 days.")
    simulator.misbehaviour.frames = lambda frames: frames[:4] if len(frames) > 4 else frames
    with served.openai() as client, pytest.raises(openai.APIError) as caught:
        list(client.chat.completions.create(model=MODEL, messages=[user(CASES[0][0])], stream=True))
    assert caught.value.code == "incomplete_answer"
    with served.openai(max_retries=2) as client, pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model=MODEL, messages=[user(CASES[0][0])])
    assert [row.outcome.value for row in knowledge_base.ledger.list_disclosures()] == ["incomplete", "incomplete"]
    assert any(line.get("broken") and line["status"] == 200 for line in served.log)


@pytest.mark.parametrize("pieces", [1, 0])
def test_a_client_that_goes_away_closes_the_row_and_the_connection(
    served: Served, simulator: EnclaveSimulator, knowledge_base: KnowledgeBase, pieces: int
) -> None:
    """While the answer streams, and while its thread waits for the first piece."""
    says(simulator, *["word "] * 100)
    body = {"model": MODEL, "messages": [user(CASES[0][0])], "stream": True}
    with served.http() as client:
        client.post("/v1/chat/completions", json=body)
        simulator.misbehaviour.pause = 0.03 if pieces else 2.0
        client.timeout = 20 if pieces else 3.5
        try:
            with client.stream("POST", "/v1/chat/completions", json=body) as stream:
                next(stream.iter_bytes())
        except Exception as error:  # noqa: BLE001 - the client's own timeout, whatever its class
            assert "Timeout" in type(error).__name__  # noqa: PT017
    deadline = time.monotonic() + 8
    outcomes: list[str] = []
    while time.monotonic() < deadline and outcomes[1:] != ["closed"]:
        time.sleep(0.05)
        outcomes = [row.outcome.value for row in knowledge_base.ledger.list_disclosures()]
    assert outcomes == ["complete", "closed"]


def test_several_at_once(served: Served, simulator: EnclaveSimulator, knowledge_base: KnowledgeBase) -> None:
    says(simulator, "There are 27 days", " of paid annual leave.")
    simulator.misbehaviour.pause = 0.01

    def ask(number: int) -> str:
        with served.openai() as client:
            asked = [user(f"{CASES[0][0]} {number}")]
            if number % 2:
                return str(client.chat.completions.create(model=MODEL, messages=asked).choices[0].message.content)
            stream = client.chat.completions.create(model=MODEL, messages=asked, stream=True)
            return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    with ThreadPoolExecutor(16) as pool:
        said = set(pool.map(ask, range(24)))
    assert said == {"There are 27 days of paid annual leave."}
    rows = knowledge_base.ledger.list_disclosures()
    assert [row.outcome.value for row in rows] == ["complete"] * 24
    assert len({row.request_digest for row in rows}) == 24


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"n": 2}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 9}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_what_a_knowledge_base_cannot_honour_is_refused(
    served: Served, simulator: EnclaveSimulator, changes: dict[str, object], param: str
) -> None:
    with served.http() as client:
        answer = client.post("/v1/chat/completions", json={"model": MODEL, "messages": [user("x")], **changes})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert simulator.executed == []


def test_neutral_settings_of_common_clients_pass(served: Served, simulator: EnclaveSimulator) -> None:
    says(simulator, CASES[0][1])
    with served.openai() as client:
        client.chat.completions.create(
            model=MODEL,
            messages=[user(CASES[0][0])],
            n=1, top_p=1, frequency_penalty=0, presence_penalty=0, stop=None, tools=[], max_tokens=50, temperature=0.5,
            user="somebody",
        )  # fmt: skip
    sent = json.loads(simulator.executed[-1].content)
    assert (sent["max_tokens"], sent["temperature"]) == (50, 0.5)
    assert "somebody" not in str(sent)


@pytest.mark.parametrize(("path", "status"), [("/v1/chat/completions", 404), ("/v1/embeddings", 400)])
def test_an_unknown_knowledge_base_goes_nowhere(
    served: Served, simulator: EnclaveSimulator, path: str, status: int
) -> None:
    with served.http() as client:
        answer = client.post(path, json={"model": "kb:nothing", "messages": [user("x")], "input": "x"})
    assert answer.status_code == status
    assert simulator.executed == []


def test_a_question_that_is_too_long(served: Served) -> None:
    with served.openai() as client, pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=[user("leave " * 9000)])
    assert caught.value.code == "context_length_exceeded"


@pytest.fixture
def both(simulator: EnclaveSimulator, knowledge_base: KnowledgeBase) -> Iterator[Served]:
    with serving(
        simulator.url,
        simulator.policy(),
        corpora={knowledge_base.name: knowledge_base},
        ledger=knowledge_base.ledger,
    ) as running:
        yield running


def test_one_pool_of_connections_carries_both_kinds(both: Served, simulator: EnclaveSimulator) -> None:
    says(simulator, CASES[0][1])
    with both.openai() as client:
        client.chat.completions.create(model=MODEL, messages=[user(CASES[0][0])])
        client.chat.completions.create(model="SmolLM2-135M-Instruct", messages=[user("x")], stream=True).close()
    assert simulator.count("/mitai/ohttp") == 3  # the models, once, and two chats


def test_the_log_holds_no_content_names_or_tokens(both: Served, simulator: EnclaveSimulator) -> None:
    from support.canary import find
    from support.serving import ENCLAVE_TOKEN, LOCAL_TOKEN

    says(simulator, "金絲雀 CANARY-ANSWER 27 days.")
    with both.openai(max_retries=0) as client:
        for model in (MODEL, "SmolLM2-135M-Instruct", "kb:CANARY-KB"):
            try:
                client.chat.completions.create(model=model, messages=[user("CANARY-QUESTION 年假 leave days")])
            except openai.APIStatusError:
                continue
    lines = both.lines.getvalue()
    words = ["CANARY-QUESTION", "CANARY-ANSWER", "CANARY-KB", "handbook.md", "手冊", "年假", "金絲雀"]
    assert find([*words, LOCAL_TOKEN, ENCLAVE_TOKEN], lines.encode()) == []
    requests = [line for line in both.log if line["event"] == "request"]
    assert [(line["kind"], line["route"], line["status"]) for line in requests] == [
        ("kb", "chat", 200),
        ("plain", "chat", 200),
        ("kb", "chat", 404),
    ]
