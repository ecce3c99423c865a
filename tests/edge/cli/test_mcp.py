"""`mitai mcp`, `mitai kb set` and what `mitai ledger` shows of it, as a shell and an MCP client see them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from mcp import Client, StdioServerParameters, stdio_client

from mitai.cli.exit_codes import ExitCode
from mitai.knowledge_base import KnowledgeBase
from mitai.models import models_directory
from support.evidence_builder import build_enclave
from support.knowledge_bases import CHEAP, PASSPHRASE
from support.sealed_enclave import sealed_enclave

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.sealed_enclave import SealedEnclave


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name, text in (
        ("secret", PASSPHRASE),
        ("token", "token-of-alice"),
        ("policy", build_enclave().policy().encode()),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        (tmp_path / name).chmod(0o600)
    for name in ("手册", "second"):
        KnowledgeBase.create(tmp_path / name, passphrase=PASSPHRASE, argon2=CHEAP).close()
    return tmp_path


def mitai(home: Path, *arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mitai.cli", *arguments],
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "MITAI_MODELS_DIR": str(models_directory())},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=home,
        **more,
    )


def serving(home: Path, url: str = "http://127.0.0.1:9", *names: str) -> list[str]:
    bases = [part for name in names or ("手册",) for part in ("--kb", str(home / name))]
    return ["mcp", *bases, "--enclave", url, "--policy", str(home / "policy"), "--token-file", str(home / "token")]


def test_the_permission_is_off_is_shown_and_is_kept(home: Path) -> None:
    name, key = str(home / "手册"), ("--passphrase-file", str(home / "secret"))
    assert "no passages" in mitai(home, "kb", "info", name, *key).stdout
    assert mitai(home, "kb", "set", name, "--reveal-passages", *key).returncode == 0
    told = mitai(home, "kb", "info", name, *key)
    assert "passages word for word" in told.stdout
    assert json.loads(mitai(home, "kb", "info", name, *key, "--json").stdout)["reveal_passages"] is True
    assert mitai(home, "kb", "set", name, "--no-reveal-passages", *key).returncode == 0
    assert json.loads(mitai(home, "kb", "info", name, *key, "--json").stdout)["reveal_passages"] is False
    assert mitai(home, "kb", "set", name, *key).returncode == ExitCode.USAGE


def test_the_permission_does_not_show_on_disk(home: Path) -> None:
    with KnowledgeBase.open(home / "手册", passphrase=PASSPHRASE) as kb:
        kb.set_reveal_passages(allowed=True)
    assert b"reveal" not in b"".join(file.read_bytes() for file in (home / "手册").iterdir())


def test_stdin_belongs_to_mcp(home: Path) -> None:
    unasked = mitai(home, *serving(home))
    assert unasked.returncode == ExitCode.LOCKED
    assert "stdin belongs to MCP" in unasked.stderr
    for option in ("--passphrase-fd", "--token-fd"):
        done = mitai(home, *serving(home), option, "0", "--passphrase-file", str(home / "secret"))
        assert (done.returncode, done.stdout) == (ExitCode.LOCKED, "")
        assert "belong to MCP" in done.stderr


def test_one_name_is_served_once(home: Path) -> None:
    done = mitai(home, *serving(home, "http://127.0.0.1:9", "手册", "手册"), "--passphrase-file", str(home / "secret"))
    assert done.returncode == ExitCode.USAGE


async def test_the_command_serves_several_by_one_descriptor_and_ends_with_stdin(home: Path) -> None:
    script = f'exec {sys.executable} -m mitai.cli "$@" --passphrase-fd 3 3<{home / "secret"}'
    arguments = serving(home, "http://127.0.0.1:9", "手册", "second")
    server = StdioServerParameters(command="/bin/sh", args=["-c", script, "sh", *arguments])
    with (home / "log").open("w", encoding="utf-8") as log:
        async with Client(stdio_client(server, errlog=log)) as client:
            (tool,) = (await client.list_tools()).tools
            assert tool.input_schema["properties"]["knowledge_base"]["enum"] == ["手册", "second"]
    assert "serving 手册, second" in (home / "log").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def enclave() -> Iterator[SealedEnclave]:
    with sealed_enclave() as running:
        yield running


@pytest.mark.models
async def test_from_ingest_to_ledger(home: Path, enclave: SealedEnclave) -> None:
    """The whole way with the pinned embedding model: what a client is given is in `mitai ledger`."""
    (home / "保固.txt").write_text("本產品的保固期限為三十個月，自交付之日起計算。", encoding="utf-8")
    (home / "policy").write_text(enclave.policy.encode(), encoding="utf-8")
    name, key = str(home / "手册"), ("--passphrase-file", str(home / "secret"))
    assert mitai(home, "ingest", "--kb", name, str(home / "保固.txt"), *key).returncode == 0
    assert mitai(home, "kb", "set", name, "--reveal-passages", *key).returncode == 0
    enclave.engine.behaviour.words = ("本產品的", "保固期限為", "三十個月。")
    environment = {"MITAI_MODELS_DIR": str(models_directory())}
    arguments = ["-m", "mitai.cli", *serving(home, enclave.url), *key]
    server = StdioServerParameters(command=sys.executable, args=arguments, env=environment)
    with (home / "log").open("w", encoding="utf-8") as log:
        async with Client(stdio_client(server, errlog=log)) as client:
            answer = await client.call_tool("ask", {"question": "保固期限多長？"})
            assert answer.structured_content["citations"][0]["file"] == "保固.txt"
            found = await client.call_tool("search", {"question": "保固期限多長？"})
            assert "三十個月" in found.structured_content["hits"][0]["text"]
    told = json.loads(mitai(home, "ledger", "--kb", name, *key, "--json").stdout)
    assert [row["outcome"] for row in told["disclosures"]] == ["complete"]
    assert [row["tool"] for row in told["revelations"]] == ["ask", "search"]
    shown = mitai(home, "ledger", "--kb", name, *key)
    assert "Given to MCP clients in the clear" in shown.stdout
    one = mitai(home, "ledger", "show", "2", "--revealed", "--kb", name, *key)
    assert "三十個月" in one.stdout
    assert json.loads(mitai(home, "ledger", "show", "1", "--revealed", "--kb", name, *key, "--json").stdout)[
        "revelations"
    ]
    assert mitai(home, "ledger", "show", "9", "--revealed", "--kb", name, *key).returncode == ExitCode.USAGE
