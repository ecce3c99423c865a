"""Chats with a knowledge base: `mitai.ask` in threads, its answer as a completion (`docs/spec/serve.md` §5)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import anyio
from anyio import to_thread
from starlette.responses import JSONResponse

from mitai.answering.answer import DEFAULT_PASSAGES, ask
from mitai.serve.completion import Completion
from mitai.serve.conversation import parse_question
from mitai.serve.problems import Problem
from mitai.serve.stream import DONE_EVENT, EventStream, json_event
from mitai.serve.upstream import attested_fields

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence

    from starlette.responses import Response

    from mitai.answering.answer import AnswerStream, Corpus, Ledger
    from mitai.answering.prompt import Quotable
    from mitai.enclave import EnclaveClient
    from mitai.serve.conversation import Question

P = ParamSpec("P")
T = TypeVar("T")

PREFIX: Final = "kb:"
MAX_THREADS: Final = 8  # each waits for the disk, the embedding model or the enclave


class KnowledgeBases:
    """The knowledge bases of one endpoint.

    Args:
        corpora: By name.
        enclave: Answers; used in threads only.
        passages: How many passages to retrieve for a question.
    """

    def __init__(
        self, corpora: Mapping[str, Corpus], enclave: EnclaveClient, *, passages: int = DEFAULT_PASSAGES
    ) -> None:
        self._corpora = corpora
        self._enclave = enclave
        self._passages = passages
        self._limiter = anyio.CapacityLimiter(MAX_THREADS)

    @property
    def models(self) -> list[str]:
        """Return what a client puts into `model`."""
        return [f"{PREFIX}{name}" for name in self._corpora]

    async def chat(self, body: Mapping[str, object]) -> Response:
        """Answer a chat request whose model begins with ``kb:``.

        Args:
            body: The request's JSON.

        Raises:
            Problem: There is no such knowledge base, or it cannot answer such a request.
            MitaiError: What `mitai.ask` raises, before there is an answer.
        """
        name = str(body.get("model")).removeprefix(PREFIX)
        corpus = self._corpora.get(name)
        if corpus is None:
            raise Problem(404, "model_not_found", "No such knowledge base is open here.", param="model")
        question = parse_question(body)
        completion = Completion(name)
        if not question.stream:
            async with self._asking(corpus, question) as stream:
                answer = await self._in_thread(lambda: stream.answer)
            return JSONResponse(completion.whole(answer), headers=self._attested())
        events = self._events(corpus, question, completion)
        first = await anext(events)  # a failure until here is an ordinary error
        return EventStream(_after(first, events), self._attested())

    def _attested(self) -> dict[str, str]:
        """Return the fields that name the enclave that answered; nothing where nothing was sent."""
        attestation = self._enclave.attestation
        return {} if attestation is None else attested_fields(attestation)

    async def _events(self, corpus: Corpus, question: Question, completion: Completion) -> AsyncGenerator[bytes, None]:
        async with self._asking(corpus, question) as stream:
            piece = await self._in_thread(next, stream, None)
            yield json_event(completion.first())
            while piece is not None:
                yield json_event(completion.text(piece))
                piece = await self._in_thread(next, stream, None)
            answer = await self._in_thread(lambda: stream.answer)
        yield json_event(completion.last(answer))
        if question.include_usage:
            yield json_event(completion.usage(answer))
        yield DONE_EVENT

    @asynccontextmanager
    async def _asking(self, corpus: Corpus, question: Question) -> AsyncIterator[AnswerStream]:
        searched = corpus if question.query == question.text else _Searching(corpus, question.query)
        stream = await self._in_thread(
            ask,
            searched,
            question.text,
            self._enclave,
            k=self._passages,
            max_tokens=question.max_tokens,
            temperature=question.temperature,
        )
        try:
            yield stream
        finally:
            with anyio.CancelScope(shield=True):
                await self._in_thread(stream.close)

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await to_thread.run_sync(partial(function, *args, **kwargs), limiter=self._limiter)


class _Searching:
    """A corpus that is searched for something else than the question: a follow-up means what was asked before it."""

    def __init__(self, corpus: Corpus, query: str) -> None:
        self._corpus = corpus
        self._query = query

    @property
    def ledger(self) -> Ledger:
        return self._corpus.ledger

    def search(self, query: str, *, k: int) -> Sequence[Quotable]:
        del query
        return self._corpus.search(self._query, k=k)


async def _after(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    try:
        yield first
        async for event in rest:
            yield event
    finally:
        await rest.aclose()
