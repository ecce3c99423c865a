"""An MCP server over knowledge bases and one verified enclave (`docs/spec/mcp.md`)."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread
from mcp.server import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolResult, ListToolsResult

from mitai.answering.answer import DEFAULT_ANSWER_TOKENS, ask
from mitai.errors import MitaiError, PassagesStay
from mitai.mcp.results import answer_as_json, answer_result, failure, hits_as_json, search_result, unexpected
from mitai.mcp.tools import ASK, SEARCH, ask_tool, parse_arguments, search_tool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp.server.context import ServerRequestContext
    from mcp_types import CallToolRequestParams, PaginatedRequestParams

    from mitai.answering.answer import Answer
    from mitai.enclave import EnclaveClient
    from mitai.knowledge_base import KnowledgeBase
    from mitai.mcp.results import Json
    from mitai.mcp.tools import Asked

PROGRESS_SECONDS: Final = 0.25  # between two progress notifications
CLOSING_SECONDS: Final = 5.0  # for questions that were cut off to close their ledger rows
_INSTRUCTIONS: Final = (
    "Mitai answers questions about the user's private documents without showing them to whoever runs the cloud. "
    "Use `ask` for questions. `search` is there only where the user lets passages reach this model."
)
_log: Final = logging.getLogger("mitai.mcp")


def serve(
    bases: Mapping[str, KnowledgeBase], enclave: EnclaveClient, *, max_tokens: int = DEFAULT_ANSWER_TOKENS
) -> None:
    """Serve MCP on stdin and stdout until stdin ends.

    Args:
        bases: Open knowledge bases by the names that clients use; at least one.
        enclave: Who answers.
        max_tokens: The longest answer.
    """
    serving = Serving(bases, enclave, max_tokens=max_tokens)
    try:
        anyio.run(_serve_stdio, serving)
    finally:
        serving.close()


async def _serve_stdio(serving: Serving) -> None:
    async with stdio_server() as (incoming, outgoing):
        server = serving.server()
        await server.run(incoming, outgoing, server.create_initialization_options())


@dataclass(eq=False)
class _Run:
    """A question that is being answered on a thread.

    Attributes:
        characters: How much of the answer is there.
        cancelled: Whether nobody waits for it any more.
        ended: Whether its ledger row is closed.
    """

    characters: int = 0
    cancelled: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)


class Serving:
    """The handlers of the server.

    Args:
        bases: Open knowledge bases by name.
        enclave: Who answers.
        max_tokens: The longest answer.
    """

    def __init__(self, bases: Mapping[str, KnowledgeBase], enclave: EnclaveClient, *, max_tokens: int) -> None:
        self._bases = bases
        self._enclave = enclave
        self._max_tokens = max_tokens
        self._runs: set[_Run] = set()

    def server(self) -> Server[dict[str, object]]:
        """Return the server of the official SDK with these handlers."""
        return Server(
            "mitai",
            version=version("mitai"),
            title="Mitai",
            instructions=_INSTRUCTIONS,
            on_list_tools=self.list_tools,
            on_call_tool=self.call_tool,
        )

    def close(self) -> None:
        """Stop what still runs, and wait a little for its ledger rows."""
        for run in tuple(self._runs):
            run.cancelled.set()
        for run in tuple(self._runs):
            run.ended.wait(CLOSING_SECONDS)

    async def list_tools(
        self, context: ServerRequestContext[dict[str, object]], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        """List `ask`, and `search` where a knowledge base lets its passages go."""
        del context, params
        tools = [ask_tool(tuple(self._bases))]
        if open_ones := [name for name, base in self._bases.items() if base.reveals_passages]:
            tools.append(search_tool(open_ones))
        return ListToolsResult(tools=tools)

    async def call_tool(
        self, context: ServerRequestContext[dict[str, object]], params: CallToolRequestParams
    ) -> CallToolResult:
        """Run a tool; every error is told with its way on, and none takes the server down."""
        if params.name not in {ASK, SEARCH}:
            raise MCPError(INVALID_PARAMS, "There is no such tool.")
        try:
            asked = parse_arguments(params.arguments or {}, tuple(self._bases))
            if params.name == SEARCH:
                return await self._search(context, asked)
            return await self._ask(context, asked)
        except MitaiError as error:
            _log.warning("%s failed: %s", params.name, type(error).__name__)
            return failure(error)
        except Exception as error:  # noqa: BLE001 - the SDK would send its words to the client and into the log
            _log.error("%s failed: %s", params.name, type(error).__name__)
            return unexpected(error)

    async def _search(self, context: ServerRequestContext[dict[str, object]], asked: Asked) -> CallToolResult:
        base = self._bases[asked.knowledge_base]
        if not base.reveals_passages:
            raise PassagesStay(f"the passages of {asked.knowledge_base} stay on the device")
        hits = await anyio.to_thread.run_sync(lambda: base.search(asked.question, k=asked.k))
        told = hits_as_json(hits)
        _record(base, _client(context), SEARCH, told, tuple(hit.passage_id for hit in hits))
        return search_result(told, hits)

    async def _ask(self, context: ServerRequestContext[dict[str, object]], asked: Asked) -> CallToolResult:
        base = self._bases[asked.knowledge_base]
        answer = await self._answer(context, base, asked)
        told = answer_as_json(answer, with_quotes=base.reveals_passages)
        _record(base, _client(context), ASK, told, tuple(passage.passage_id for passage in answer.context))
        return answer_result(told, answer)

    async def _answer(
        self, context: ServerRequestContext[dict[str, object]], base: KnowledgeBase, asked: Asked
    ) -> Answer:
        """Answer on a thread, with progress; where the client cancels, the thread stops at the next piece."""
        run = _Run()
        self._runs.add(run)
        answer: Answer | None = None
        failed: Exception | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(_report, context, run)
            try:
                answer = await anyio.to_thread.run_sync(self._on_thread, run, base, asked, abandon_on_cancel=True)
            except Exception as error:  # noqa: BLE001 - raised again below, outside the group, which would wrap it
                failed = error
            finally:
                run.cancelled.set()
                group.cancel_scope.cancel()
        if failed is not None:
            raise failed
        assert answer is not None  # noqa: S101 - the thread was not told to stop
        return answer

    def _on_thread(self, run: _Run, base: KnowledgeBase, asked: Asked) -> Answer | None:
        try:
            with ask(base, asked.question, self._enclave, k=asked.k, max_tokens=self._max_tokens) as stream:
                for text in stream:
                    run.characters += len(text)
                    if run.cancelled.is_set():
                        return None  # leaving the block closes the stream: the engine stops, the row says so
                return stream.answer
        finally:
            run.ended.set()
            self._runs.discard(run)


async def _report(context: ServerRequestContext[dict[str, object]], run: _Run) -> None:
    """Tell how much of the answer is there; never what it says, for it is not in the ledger yet."""
    told = 0
    while True:
        await anyio.sleep(PROGRESS_SECONDS)
        if run.characters > told:
            told = run.characters
            await context.session.report_progress(told, message=f"{told} characters")


def _record(base: KnowledgeBase, client: str, tool: str, told: Json, passages: tuple[int, ...]) -> None:
    """Write down what the client is about to be given; if that fails, it is given nothing."""
    text = json.dumps(told, ensure_ascii=False)
    base.revelations.record(client=client, tool=tool, text=text, passage_ids=passages)


def _client(context: ServerRequestContext[dict[str, object]]) -> str:
    params = context.session.client_params
    return "" if params is None else f"{params.client_info.name} {params.client_info.version}".strip()
