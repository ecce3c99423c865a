"""What ChatMitai adds to LangChain's own suites: the seal, the receipt, the ledger, and what never leaves."""

from __future__ import annotations

import asyncio
import json
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, FunctionMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_core.tracers.context import tracing_v2_enabled
from langsmith import Client
from langsmith.utils import get_env_var
from pydantic import BaseModel, ValidationError

from mitai.disclosure import DisclosureOutcome
from mitai.errors import (
    ContentRefused,
    EnclaveRefused,
    EnclaveUnreachable,
    IncompleteAnswer,
    TracingRefused,
    VerificationFailed,
)
from mitai.langchain import ChatMitai, MitaiRetriever
from mitai.langchain.messages import from_wire, to_wire
from support.enclave_simulator import EnclaveSimulator, streamed, whole
from support.evidence_builder import build_enclave
from support.upstream_simulator import Behaviour

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.documents import Document

    from mitai.knowledge_base import KnowledgeBase
    from mitai.storage.ledger import DisclosureRecord
    from support.sealed_enclave import SealedEnclave

QUESTIONS = ["How long is it kept?", "保存多久？", "保固期限多長？"]


def model_of(enclave: SealedEnclave, **changes: object) -> ChatMitai:
    known: dict[str, object] = {"url": enclave.url, "policy": enclave.policy, "token": enclave.token}
    return ChatMitai(**(known | changes))


def last_row(kb: KnowledgeBase) -> DisclosureRecord:
    return kb.ledger.list_disclosures()[-1]


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_comes_with_its_receipt_and_says_that_the_tee_is_simulated(
    enclave: SealedEnclave, question: str
) -> None:
    message = model_of(enclave).invoke([SystemMessage("Be brief."), HumanMessage(question)])
    assert message.text.endswith("你好。")
    told = message.response_metadata["mitai"]
    assert (told["simulated"], told["tee"]) == (True, "simulated")
    assert len(told["measurement"]) >= 64
    assert told["receipt"]["finish"] == "stop"
    assert told["signed_receipt"].count(".") >= 1
    assert message.response_metadata["model_name"] == enclave.model  # the attested one: none was named
    assert enclave.engine.calls[0].document["messages"][1] == {"role": "user", "content": question}


async def test_all_four_ways_give_the_same(enclave: SealedEnclave) -> None:
    model = model_of(enclave)
    whole = await model.ainvoke("hi")
    pieces = [chunk async for chunk in model.astream("hi")]
    sync = await asyncio.to_thread(lambda: list(model.stream("hi")))
    assert len(pieces) > 3
    assert "".join(str(chunk.text) for chunk in pieces) == whole.text == "".join(str(chunk.text) for chunk in sync)
    for last in (pieces[-1], sync[-1]):
        assert last.response_metadata["mitai"]["receipt"]["finish"] == "stop"
        assert last.usage_metadata
    assert all("mitai" not in chunk.response_metadata for chunk in pieces[:-1])


def test_one_model_serves_several_event_loops(enclave: SealedEnclave) -> None:
    model = model_of(enclave)
    texts = {str(asyncio.run(model.ainvoke("hi")).text) for _ in range(2)}
    assert len(texts) == 1


def test_a_stream_that_breaks_off_is_an_error_and_has_no_last_chunk(enclave: SealedEnclave, kb: KnowledgeBase) -> None:
    enclave.engine.behaviour = Behaviour(die_after=3)
    model, seen = model_of(enclave, knowledge_base=kb), []
    with pytest.raises(IncompleteAnswer):
        seen.extend(model.stream("hi"))
    assert len(seen) == 3
    assert all(chunk.chunk_position is None for chunk in seen)
    assert {row.outcome for row in kb.ledger.list_disclosures()} == {DisclosureOutcome.INCOMPLETE}


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_whose_receipt_says_that_the_engine_failed_is_no_answer(kb: KnowledgeBase, *, stream: bool) -> None:
    with EnclaveSimulator() as simulator:
        reply = streamed("Hello") if stream else whole("Hello")
        simulator.answer = lambda _: replace(reply, finish="error")
        model = ChatMitai(url=simulator.url, policy=simulator.policy(), token="t0ken", knowledge_base=kb)
        with pytest.raises(IncompleteAnswer, match="engine"):
            _run(model, stream=stream)
    assert last_row(kb).outcome is DisclosureOutcome.INCOMPLETE


def test_an_enclave_that_does_not_pass_gets_nothing(enclave: SealedEnclave, kb: KnowledgeBase) -> None:
    other = build_enclave().policy(model_name="simulated")
    for stream in (False, True):
        with pytest.raises(VerificationFailed):
            _run(model_of(enclave, policy=other, knowledge_base=kb), stream=stream)
    assert enclave.engine.calls == []
    assert kb.ledger.list_disclosures() == []


def _run(model: ChatMitai, *, stream: bool) -> None:
    list(model.stream("CANARY")) if stream else model.invoke("CANARY")


def test_errors_of_the_channel_pass_as_mitais_own(enclave: SealedEnclave, kb: KnowledgeBase) -> None:
    with pytest.raises(EnclaveRefused) as caught:
        model_of(enclave, token="wrong", knowledge_base=kb).invoke("hi")
    assert caught.value.status == 401
    assert last_row(kb).outcome is DisclosureOutcome.REFUSED
    with pytest.raises(EnclaveRefused) as caught:
        model_of(enclave).invoke("hi", model="another")
    assert caught.value.status == 404
    with pytest.raises(EnclaveUnreachable):
        model_of(enclave, url="http://127.0.0.1:9").invoke("hi")
    with pytest.raises(EnclaveUnreachable):
        model_of(enclave, url="enclave.example")


def test_nothing_is_sent_twice(enclave: SealedEnclave) -> None:
    enclave.engine.behaviour = Behaviour(status=500)
    with pytest.raises(EnclaveRefused):
        model_of(enclave, max_retries=5).invoke("hi")
    assert len(enclave.engine.calls) == 1


def test_a_chain_over_the_knowledge_base_is_written_down_with_its_passages(
    enclave: SealedEnclave, handbook: KnowledgeBase
) -> None:
    retriever = MitaiRetriever(knowledge_base=handbook, k=2)
    prompt = ChatPromptTemplate.from_template("Answer from this:\n{context}\n\nQuestion: {question}")
    model = model_of(enclave, knowledge_base=handbook)
    chain = {"context": retriever | _joined, "question": RunnablePassthrough()} | prompt | model | StrOutputParser()
    assert chain.invoke("保固期限多長？")
    row = last_row(handbook)
    assert row.outcome is DisclosureOutcome.COMPLETE
    assert row.receipt is not None
    assert json.loads(row.receipt)["receipt"]["finish"] == "stop"
    found = {hit.passage_id for hit in handbook.search("保固期限多長？", k=2)}
    assert set(row.passage_ids) == found
    assert "保固" in (row.text or "")
    handbook.remove(row.document_ids[0])
    assert last_row(handbook).text is None


def _joined(documents: list[Document]) -> str:
    return "\n\n".join(document.page_content for document in documents)


async def test_the_row_is_there_before_anything_leaves_also_async(enclave: SealedEnclave, kb: KnowledgeBase) -> None:
    def stop(_: object) -> None:
        assert last_row(kb).outcome is DisclosureOutcome.UNKNOWN
        raise RuntimeError("not today")

    model = model_of(enclave, knowledge_base=kb, before_send=stop)
    with pytest.raises(RuntimeError):
        await model.ainvoke("hi")
    with pytest.raises(RuntimeError):
        await asyncio.to_thread(model.invoke, "hi")
    assert enclave.engine.calls == []


async def test_leaving_a_stream_early_stops_the_engine_and_is_written_down(
    enclave: SealedEnclave, kb: KnowledgeBase
) -> None:
    enclave.engine.behaviour = Behaviour(pause=0.05)
    model = model_of(enclave, knowledge_base=kb)
    stream = model.astream("hi")
    await anext(stream)
    await stream.aclose()
    sync = model.stream("hi")
    await asyncio.to_thread(next, sync)
    await asyncio.to_thread(sync.close)
    assert [row.outcome for row in kb.ledger.list_disclosures()] == [DisclosureOutcome.CLOSED] * 2
    for _ in range(100):
        if all(call.aborted for call in enclave.engine.calls):
            break
        await asyncio.sleep(0.02)
    assert all(call.aborted for call in enclave.engine.calls)


class Leave(BaseModel):
    """Annual leave."""

    days: int
    paid: bool


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_structured_output(enclave: SealedEnclave, method: str) -> None:
    schema = dict if method == "json_mode" else Leave
    if schema is dict:
        model = model_of(enclave).with_structured_output(Leave.model_json_schema(), method=method)
        assert model.invoke("Give 'days' and 'paid'.") == {"days": "a cat", "paid": "a cat"}
    else:
        model = model_of(enclave).with_structured_output(Leave, method=method, include_raw=True)
        answer = model.invoke("25 days")
        assert answer["parsed"] == Leave(days=25, paid=True)
        assert answer["raw"].response_metadata["mitai"]["receipt"]
        assert answer["parsing_error"] is None


def test_structured_output_that_does_not_fit_is_told_beside_the_raw_answer(enclave: SealedEnclave) -> None:
    enclave.engine.behaviour = Behaviour(words=("no", " JSON"))
    answer = model_of(enclave).with_structured_output(Leave, include_raw=True).invoke("25 days")
    assert answer["parsed"] is None
    assert answer["parsing_error"] is not None
    for bad in ({"method": "magic"}, {"method": "json_mode", "strict": True}):
        with pytest.raises(ValueError, match="json_"):
            model_of(enclave).with_structured_output(Leave, **bad)


def test_only_text_is_sent(enclave: SealedEnclave) -> None:
    picture = HumanMessage([{"type": "image_url", "image_url": {"url": "https://tracker.example/x.png"}}])
    for message in (picture, FunctionMessage("x", name="f"), ToolMessage([{"type": "audio"}], tool_call_id="1")):
        with pytest.raises(ContentRefused):
            model_of(enclave).invoke([message])
    assert enclave.engine.calls == []
    said = AIMessage([{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "好"}])
    assert to_wire([said]) == [{"role": "assistant", "content": "好"}]


def test_a_call_whose_arguments_are_no_json_is_an_invalid_call() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}
    message = from_wire({"choices": [{"message": {"content": None, "tool_calls": [call, {"id": 2}, None]}}]})
    assert (message.tool_calls, message.invalid_tool_calls[0]["name"]) == ([], "f")
    for body in ({}, {"choices": []}, {"choices": [None]}, {"choices": [{"message": "x"}]}):
        with pytest.raises(IncompleteAnswer):
            from_wire(body)


def test_threat_32_the_token_shows_nowhere_and_the_model_is_never_written_down(enclave: SealedEnclave) -> None:
    model = model_of(enclave, model="simulated")
    told = (model, dumps(model), model.model_dump(), model.asdict(), vars(model))
    for shown in map(repr, told):
        assert enclave.token not in shown
    assert json.loads(dumps(model))["type"] == "not_implemented"
    assert enclave.token not in str(model._get_invocation_params()) + str(model._get_ls_params())
    with pytest.raises(TypeError, match="never written down"):
        pickle.dumps(model)
    with pytest.raises(ValidationError) as caught:
        ChatMitai(url=enclave.url, policy="x", token=["CANARY-TOKEN"])
    assert "CANARY-TOKEN" not in str(caught.value)
    with pytest.raises(ValidationError):
        model_of(enclave, api_base="https://elsewhere.example")


def test_a_cache_of_langchain_is_not_used(enclave: SealedEnclave) -> None:
    set_llm_cache(cache := InMemoryCache())
    try:
        model_of(enclave).invoke("CANARY")
        assert cache._cache == {}
    finally:
        set_llm_cache(None)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    get_env_var.cache_clear()
    yield
    monkeypatch.undo()
    get_env_var.cache_clear()


@pytest.mark.usefixtures("traced")
def test_where_langsmith_would_be_told_nothing_is_made(enclave: SealedEnclave, kb: KnowledgeBase) -> None:
    with pytest.raises(TracingRefused):
        model_of(enclave)
    with pytest.raises(TracingRefused):
        MitaiRetriever(knowledge_base=kb)
    assert model_of(enclave, allow_tracing=True)


class RecordedClient(Client):
    """A LangSmith client that keeps what it is told and sends nothing."""

    def __init__(self) -> None:
        super().__init__(api_url="http://127.0.0.1:9", api_key="x", auto_batch_tracing=False)
        self.told: list[object] = []

    def create_run(self, *args: object, **kwargs: object) -> None:
        self.told.append((args, kwargs))

    def update_run(self, *args: object, **kwargs: object) -> None:
        self.told.append((args, kwargs))


def test_a_tracer_that_is_switched_on_later_is_told_nothing(enclave: SealedEnclave, handbook: KnowledgeBase) -> None:
    model, retriever = model_of(enclave), MitaiRetriever(knowledge_base=handbook)
    client = RecordedClient()
    with tracing_v2_enabled(client=client):
        runs = (lambda: model.invoke("CANARY"), lambda: list(model.stream("CANARY")), lambda: retriever.invoke("x"))
        for run in runs:
            with pytest.raises(TracingRefused):
                run()
        assert client.told == []
        model_of(enclave, allow_tracing=True).invoke("hello")
    assert client.told
    assert len(enclave.engine.calls) == 1


def test_counting_tokens_fetches_no_tokeniser(enclave: SealedEnclave) -> None:
    model = model_of(enclave)
    assert model.get_num_tokens("密态保护文件") >= 6
    assert model.get_num_tokens_from_messages([HumanMessage("hello there")]) >= 2


def test_without_the_extra_the_import_names_it() -> None:
    code = (
        "import sys; sys.modules['langchain_core'] = None\n"
        "from mitai.errors import ExtraMissing\n"
        "try:\n    import mitai.langchain\n"
        "except ExtraMissing as error:\n    print(error.extra, error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "langchain Install it: pip install 'mitai[langchain]'", done.stderr


def test_the_extra_is_all_that_it_needs() -> None:
    code = (
        "import sys\nfor name in ('openai', 'langchain_openai', 'tiktoken', 'langchain', 'torch'):\n"
        "    sys.modules[name] = None\nimport mitai.langchain"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
