"""The MCP server as a client of the official SDK meets it: over stdio, the real process and the real sidecar."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp_types import Implementation

from mitai.cli.mcp import _WithoutTraces
from mitai.disclosure import DisclosureOutcome
from mitai.enclave import EnclaveClient
from mitai.knowledge_base import KnowledgeBase
from mitai.mcp.server import Serving
from support.embedder import HashingEmbedder
from support.evidence_builder import build_enclave
from support.knowledge_bases import CHEAP, PASSPHRASE
from support.sealed_enclave import sealed_enclave
from support.upstream_simulator import Behaviour

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    import numpy as np
    from mcp_types import CallToolResult
    from numpy.typing import NDArray

    from support.sealed_enclave import SealedEnclave

TESTS = Path(__file__).parents[2]
HANDBOOK = """# Leave

Every full-time employee is entitled to 25 days of paid annual leave per calendar year.

# 差旅

员工出差的住宿费标准为每晚四百元，超过部分由员工自行承担。

# 保固

本產品的保固期限為三十個月，自交付之日起計算。
"""
ASKED = {
    "How many days of paid annual leave are there?": (
        "Full-time employees are entitled to 25 days of paid annual leave.",
        "Leave",
    ),
    "出差住宿费标准是多少？": ("员工出差的住宿费标准为每晚四百元。", "差旅"),
    "保固期限多長？": ("本產品的保固期限為三十個月。", "保固"),
}


@dataclass
class Setting:
    """A running enclave and two knowledge bases.

    Attributes:
        enclave: The sidecar with its engine.
        folder: Where the knowledge bases and the policy are.
        stderr: What the server said last.
    """

    enclave: SealedEnclave
    folder: Path
    stderr: list[str] = field(default_factory=list)

    @property
    def policy(self) -> Path:
        return self.folder / "policy.toml"

    def open(self, name: str) -> KnowledgeBase:
        return KnowledgeBase.open(self.folder / name, passphrase=PASSPHRASE, embedder=HashingEmbedder())

    @asynccontextmanager
    async def client(self, *names: str) -> AsyncIterator[Client]:
        """Start the server and connect; what it wrote to stderr is kept."""
        names = names or ("handbook",)
        arguments = [self.enclave.url, str(self.policy), *(str(self.folder / name) for name in names)]
        server = StdioServerParameters(
            command=sys.executable, args=["-m", "support.mcp_process", *arguments], cwd=TESTS
        )
        log = self.folder / "stderr"
        with log.open("w", encoding="utf-8") as errlog:
            told = Implementation(name="editor 编辑器", version="7")
            async with Client(stdio_client(server, errlog=errlog), client_info=told) as client:
                yield client
        self.stderr.append(log.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def serving() -> Iterator[SealedEnclave]:
    with sealed_enclave() as running:
        yield running


@pytest.fixture
def setting(serving: SealedEnclave, tmp_path: Path) -> Setting:
    serving.engine.behaviour = Behaviour()
    serving.engine.requests.clear()
    (tmp_path / "handbook.md").write_text(HANDBOOK, encoding="utf-8")
    for name in ("handbook", "second"):
        path = tmp_path / name
        with KnowledgeBase.create(path, passphrase=PASSPHRASE, argon2=CHEAP, embedder=HashingEmbedder()) as kb:
            kb.ingest([tmp_path / "handbook.md"])
    (tmp_path / "policy.toml").write_text(serving.policy.encode(), encoding="utf-8")
    return Setting(serving, tmp_path)


def says(setting: Setting, text: str) -> None:
    setting.enclave.engine.behaviour.words = tuple(text[start : start + 4] for start in range(0, len(text), 4))


def text_of(result: CallToolResult) -> str:
    return "\n".join(getattr(block, "text", "") for block in result.content)


async def test_ask_in_three_scripts_gives_answers_with_places_and_no_passage(setting: Setting) -> None:
    async with setting.client() as client:
        (tool,) = (await client.list_tools()).tools
        assert tool.name == "ask"
        assert "knowledge_base" not in tool.input_schema["required"]
        for question, (answer, heading) in ASKED.items():
            says(setting, answer)
            result = await client.call_tool("ask", {"question": question})
            assert not result.is_error, text_of(result)
            told = result.structured_content
            assert (told["answer"], told["simulated"], told["finish"]) == (answer, True, "stop")
            assert told["citations"] == [{"file": "handbook.md", "page": None, "headings": [heading]}]
            assert "SIMULATED" in text_of(result)
            assert f"[1] handbook.md › {heading}" in text_of(result)
            assert "自行承担" not in json.dumps(result.model_dump(mode="json"), ensure_ascii=False)
    with setting.open("handbook") as kb:
        assert [row.outcome for row in kb.ledger.list_disclosures()] == [DisclosureOutcome.COMPLETE] * 3
        rows = kb.revelations.list_revelations()
        assert [(row.client, row.tool) for row in rows] == [("editor 编辑器 7", "ask")] * 3
        assert rows[1].passage_ids
        assert "四百元" in (rows[1].text or "")


async def test_search_is_neither_listed_nor_answered_until_it_is_allowed(setting: Setting) -> None:
    async with setting.client("handbook", "second") as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["ask"]
        refused = await client.call_tool("search", {"question": "住宿费", "knowledge_base": "second"})
        assert refused.is_error
        assert text_of(refused).startswith("PassagesStay")
        assert "--reveal-passages" in text_of(refused)
        assert "四百" not in text_of(refused)

        with setting.open("second") as kb:
            kb.set_reveal_passages(allowed=True)
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert listed["search"].input_schema["properties"]["knowledge_base"]["enum"] == ["second"]
        found = await client.call_tool("search", {"question": "住宿费", "knowledge_base": "second", "k": 1})
        (hit,) = found.structured_content["hits"]
        assert (hit["file"], hit["headings"]) == ("handbook.md", ["差旅"])
        assert "四百元" in hit["text"]
        assert hit["text"] in text_of(found)
        still = await client.call_tool("search", {"question": "住宿费", "knowledge_base": "handbook"})
        assert still.is_error

        with setting.open("second") as kb:
            kb.set_reveal_passages(allowed=False)
        again = await client.call_tool("search", {"question": "住宿费", "knowledge_base": "second"})
        assert again.is_error
    with setting.open("second") as kb:
        (row,) = kb.revelations.list_revelations()
        assert (row.tool, row.client, len(row.passage_ids)) == ("search", "editor 编辑器 7", 1)
        assert "四百元" in (row.text or "")
    assert setting.enclave.engine.calls == []


async def test_with_the_permission_citations_carry_their_quotes(setting: Setting) -> None:
    with setting.open("handbook") as kb:
        kb.set_reveal_passages(allowed=True)
    (question, (answer, _)), *_ = ASKED.items()
    says(setting, answer)
    async with setting.client() as client:
        told = (await client.call_tool("ask", {"question": question})).structured_content
    assert told["citations"][0]["quote"].startswith("Every full-time employee is entitled to 25 days")


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"question": "  "},
        {"question": 7},
        {"question": "x" * 8001},
        {"question": "x", "k": 0},
        {"question": "x", "k": 21},
        {"question": "x", "k": True},
        {"question": "x", "k": "3"},
        {"question": "x", "knowledge_base": "../second"},
        {"question": "x", "knowledge_base": None},
        {"question": "x", "CANARY-名": 1},
    ],
)
def test_bad_arguments_are_refused_with_a_way_on(arguments: dict[str, object]) -> None:
    from mitai.errors import ArgumentRefused
    from mitai.mcp.tools import parse_arguments

    with pytest.raises(ArgumentRefused) as caught:
        parse_arguments(arguments, ("handbook",))
    assert caught.value.hint
    assert "CANARY" not in str(caught.value)
    with pytest.raises(ArgumentRefused):
        parse_arguments({"question": "x"}, ("handbook", "second"))


async def test_bad_calls_do_not_take_the_server_down(setting: Setting) -> None:
    async with setting.client() as client:
        for name in ("ask", "search"):
            result = await client.call_tool(name, {"question": "CANARY", "k": 99})
            assert result.is_error
            assert text_of(result).startswith("ArgumentRefused")
        with pytest.raises(MCPError):
            await client.call_tool("delete", {})
        assert (await client.list_tools()).tools
    assert "CANARY" not in setting.stderr[0]
    assert setting.enclave.engine.calls == []


async def test_an_enclave_that_does_not_pass_is_a_tool_error_with_a_way_on(setting: Setting) -> None:
    setting.policy.write_text(build_enclave().policy(model_name="simulated").encode(), encoding="utf-8")
    async with setting.client() as client:
        result = await client.call_tool("ask", {"question": "住宿费 CANARY"})
        assert result.is_error
        assert text_of(result).startswith("VerificationFailed")
        assert "→" in text_of(result)
    assert setting.enclave.engine.calls == []
    assert "CANARY" not in setting.stderr[0]
    with setting.open("handbook") as kb:
        assert kb.ledger.list_disclosures() == []
        assert kb.revelations.list_revelations() == []


async def test_progress_says_how_much_and_not_what(setting: Setting) -> None:
    setting.enclave.engine.behaviour.pause = 0.15
    told: list[tuple[float, str | None]] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        told.append((done, message))

    async with setting.client() as client:
        result = await client.call_tool("ask", {"question": "住宿费"}, progress_callback=progress)
    assert not result.is_error, text_of(result)
    assert len(told) > 1
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert all(message == f"{int(done)} characters" for done, message in told)


async def test_cancelling_stops_the_engine_and_is_written_down(setting: Setting) -> None:
    setting.enclave.engine.behaviour.pause = 0.05
    setting.enclave.engine.behaviour.words = ("字",) * 2000
    async with setting.client() as client:
        with anyio.move_on_after(1.5):
            await client.call_tool("ask", {"question": "住宿费"})
        for _ in range(100):
            if setting.enclave.engine.calls and setting.enclave.engine.calls[0].aborted:
                break
            await anyio.sleep(0.05)
        assert setting.enclave.engine.calls[0].aborted
        assert (await client.list_tools()).tools  # and the server goes on
    with setting.open("handbook") as kb:
        assert [row.outcome for row in kb.ledger.list_disclosures()] == [DisclosureOutcome.CLOSED]
        assert kb.revelations.list_revelations() == []


async def test_a_client_that_goes_away_stops_the_engine(setting: Setting) -> None:
    setting.enclave.engine.behaviour.pause = 0.05
    setting.enclave.engine.behaviour.words = ("字",) * 2000
    async with setting.client() as client, anyio.create_task_group() as group:
        group.start_soon(client.call_tool, "ask", {"question": "住宿费"})
        while not setting.enclave.engine.calls:  # noqa: ASYNC110 - the engine has no event for it
            await anyio.sleep(0.02)
        group.cancel_scope.cancel()
    assert setting.enclave.engine.calls[0].aborted
    with setting.open("handbook") as kb:
        assert [row.outcome for row in kb.ledger.list_disclosures()] == [DisclosureOutcome.CLOSED]


async def test_what_cannot_be_written_down_is_not_handed_over(setting: Setting) -> None:
    with setting.open("handbook") as kb:
        kb.set_reveal_passages(allowed=True)
        async with setting.client() as client:
            with kb._store.database.write():  # another process keeps the write lock for longer than it is waited for
                result = await client.call_tool("search", {"question": "住宿费"})
        assert result.is_error
        assert text_of(result).startswith("KnowledgeBaseBusy")
        assert "四百" not in text_of(result)
        assert kb.revelations.list_revelations() == []


def test_stdout_carries_nothing_but_protocol_and_no_log_holds_content(setting: Setting) -> None:
    setting.enclave.engine.behaviour = Behaviour(status=500)  # its body quotes the request
    sent = [
        {
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "x", "version": "1"},
            },
        },
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {"name": "ask", "arguments": {"question": "CANARY 住宿费"}}},
        {"id": 3, "method": "tools/call", "params": {"name": "ask", "arguments": "CANARY"}},
        {"id": 4, "method": "no/such/method"},
    ]
    lines = [json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False) for message in sent]
    arguments = [setting.enclave.url, str(setting.policy), str(setting.folder / "handbook")]
    with subprocess.Popen(
        [sys.executable, "-m", "support.mcp_process", *arguments],
        cwd=TESTS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("CANARY is no JSON\n" + "\n".join(lines) + "\n")
        process.stdin.flush()
        answers = {}
        while {2, 3, 4} - answers.keys():
            message = json.loads(process.stdout.readline())
            assert message["jsonrpc"] == "2.0"
            answers[message.get("id")] = message
        process.stdin.close()
        assert process.wait(20) == 0
        assert process.stderr is not None
        rest, log = process.stdout.read(), process.stderr.read()
    assert answers[2]["result"]["isError"]
    assert "EnclaveRefused" in answers[2]["result"]["content"][0]["text"]
    assert rest == ""
    assert "CANARY" not in json.dumps(list(answers.values()))
    assert "CANARY" not in log
    assert "ask failed: EnclaveRefused" in log


class FailingEmbedder(HashingEmbedder):
    """Fails at a question and quotes it, as libraries do."""

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise ValueError(f"cannot embed {texts[0]}")


async def test_the_words_of_an_unexpected_error_reach_neither_client_nor_log(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    path = setting.folder / "handbook"
    with (
        KnowledgeBase.open(path, passphrase=PASSPHRASE, embedder=FailingEmbedder()) as kb,
        EnclaveClient(setting.enclave.url, policy=setting.enclave.policy, token=setting.enclave.token) as enclave,
    ):
        kb.set_reveal_passages(allowed=True)
        async with Client(Serving({"handbook": kb}, enclave, max_tokens=8).server()) as client:
            for tool in ("ask", "search"):
                result = await client.call_tool(tool, {"question": "CANARY 住宿费"})
                assert result.is_error
                assert text_of(result) == "Mitai failed (ValueError). Nothing was handed over."
    assert "failed: ValueError" in caplog.text
    assert "CANARY" not in caplog.text


def test_a_trace_in_the_log_is_the_name_of_its_error() -> None:
    told = (ValueError, ValueError("CANARY"), None)
    record = logging.LogRecord("mcp", logging.ERROR, "", 0, "raised", (), told)
    assert _WithoutTraces("%(message)s").format(record) == "raised\nValueError"


def test_without_the_extra_the_import_names_it() -> None:
    code = (
        "import sys; sys.modules['mcp'] = None\nfrom mitai.errors import ExtraMissing\n"
        "try:\n    import mitai.mcp\nexcept ExtraMissing as error:\n    print(error.extra, error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "mcp Install it: pip install 'mitai[mcp]'", done.stderr
