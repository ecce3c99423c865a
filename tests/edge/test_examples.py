"""Each example runs, as it stands, in a process of its own against a real sidecar with a simulated engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.sealed_client import TOKEN
from support.serving import LOCAL_TOKEN, SidecarInThread, serving, sidecar_in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"
TEXT = "The retention period is 14 days. 保存期限为十四天。"


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[SidecarInThread]:
    with sidecar_in_thread(tmp_path) as running:
        yield running


@pytest.fixture
def environment(sidecar: SidecarInThread, tmp_path: Path) -> dict[str, str]:
    """What `env.sh` of the demo sets."""
    (tmp_path / "policy.toml").write_text(sidecar.policy.encode(), encoding="utf-8")
    (tmp_path / "token").write_text(TOKEN + "\n", encoding="utf-8")
    (tmp_path / "local-token").write_text(LOCAL_TOKEN + "\n", encoding="utf-8")
    return {
        "PATH": os.environ["PATH"],
        "MITAI_ENCLAVE": sidecar.url,
        "MITAI_POLICY": str(tmp_path / "policy.toml"),
        "MITAI_TOKEN_FILE": str(tmp_path / "token"),
        "MITAI_LOCAL_TOKEN_FILE": str(tmp_path / "local-token"),
        "PYTHONIOENCODING": "utf-8",
    }


def run(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )


def said(environment: dict[str, str], *command: str) -> str:
    done = run(environment, *command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_hello(environment: dict[str, str], sidecar: SidecarInThread) -> None:
    shown = said(environment, sys.executable, str(EXAMPLES / "hello.py"))
    assert shown.startswith("TEE simulated, measurement ")
    assert shown.splitlines()[1] == TEXT
    assert sidecar.engine.calls[0].document["messages"] == [{"role": "user", "content": "你好"}]


def test_hello_is_short() -> None:
    lines = (EXAMPLES / "hello.py").read_text(encoding="utf-8").splitlines()
    assert sum(bool(line) and not line.startswith('"""') for line in lines) <= 10


def test_hello_says_nothing_to_an_enclave_that_does_not_verify(
    environment: dict[str, str], sidecar: SidecarInThread, tmp_path: Path
) -> None:
    from support.evidence_builder import build_enclave

    (tmp_path / "policy.toml").write_text(build_enclave("another").policy().encode(), encoding="utf-8")
    done = run(environment, sys.executable, str(EXAMPLES / "hello.py"))
    assert done.returncode != 0
    assert "VerificationFailed" in done.stderr
    assert sidecar.engine.calls == []


def test_openai_client(environment: dict[str, str], sidecar: SidecarInThread) -> None:
    shown = said(environment, sys.executable, str(EXAMPLES / "openai_client.py"))
    assert shown.splitlines() == [f"whole:    {TEXT}", f"streamed: {TEXT}", f"async:    {TEXT}"]
    assert len(sidecar.engine.calls) == 3


def test_curl(environment: dict[str, str], sidecar: SidecarInThread) -> None:
    with serving(sidecar.url, sidecar.policy, enclave_token=TOKEN) as served:
        shown = said({**environment, "MITAI_SERVE_URL": served.url}, "bash", str(EXAMPLES / "curl.sh"), "你好嗎")
    assert '"id": "simulated"' in shown
    assert shown.rstrip().endswith("data: [DONE]")
    assert '"content": " 保存期限"' in shown
    assert sidecar.engine.calls[0].document["messages"] == [{"role": "user", "content": "你好嗎"}]


def test_curl_fails_where_the_answer_breaks_off(environment: dict[str, str], sidecar: SidecarInThread) -> None:
    sidecar.engine.behaviour.die_after = 3
    with serving(sidecar.url, sidecar.policy, enclave_token=TOKEN) as served:
        done = run({**environment, "MITAI_SERVE_URL": served.url}, "bash", str(EXAMPLES / "curl.sh"), "你好")
    assert done.returncode == 18
    assert "engine_failed" in done.stdout
    assert "[DONE]" not in done.stdout
