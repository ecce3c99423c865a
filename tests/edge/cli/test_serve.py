"""`mitai serve` as a process: what it needs, shows, keeps to itself, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import openai
import pytest

from mitai.cli.exit_codes import ExitCode
from mitai.keyslots.private_file import create_empty
from mitai.knowledge_base import KnowledgeBase
from mitai.models import models_directory
from support.canary import find
from support.enclave_simulator import EnclaveSimulator, models, streamed
from support.evidence_builder import build_enclave
from support.knowledge_bases import CHEAP, PASSPHRASE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mitai_crypto.policy import TrustPolicy

MODEL = "SmolLM2-135M-Instruct"
ENCLAVE_TOKEN = "CANARY-enclave-token"
ASKED = [{"role": "user", "content": "CANARY-QUESTION 住房补贴每月多少？"}]


@dataclass
class Process:
    """A running `mitai serve` and what it said."""

    popen: subprocess.Popen[str]
    ready: dict[str, object]
    errors: list[str]

    @property
    def url(self) -> str:
        return str(self.ready["url"])

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.popen.send_signal(number)
        return self.popen.wait(40)


@pytest.fixture
def simulator() -> Iterator[EnclaveSimulator]:
    with EnclaveSimulator() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_private(tmp_path / "enclave-token", ENCLAVE_TOKEN + "\n")
    write_private(tmp_path / "passphrase", PASSPHRASE + "\n")
    return tmp_path


def write_private(path: Path, text: str) -> None:
    create_empty(path)
    path.write_text(text, encoding="utf-8")


def command(folder: Path, url: str, policy: TrustPolicy, *options: str) -> list[str]:
    (folder / "policy.toml").write_text(policy.encode(), encoding="utf-8")
    required = [
        "--enclave",
        url,
        "--policy",
        str(folder / "policy.toml"),
        "--token-file",
        str(folder / "enclave-token"),
    ]
    port = [] if "--socket" in options else ["--port", "0"]
    return [sys.executable, "-m", "mitai.cli", "serve", *required, *port, *options]


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "XDG_DATA_HOME": str(folder / "data"),
        "MITAI_MODELS_DIR": str(models_directory()),
        "COLUMNS": "200",
        "NO_COLOR": "1",
    }


@contextmanager
def started(folder: Path, simulator: EnclaveSimulator, *options: str) -> Iterator[Process]:
    popen = subprocess.Popen(
        command(folder, simulator.url, simulator.policy(), "--json", *options),
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert popen.stdout is not None
    assert popen.stderr is not None
    errors: list[str] = []
    reading = threading.Thread(target=errors.extend, args=(popen.stderr,), daemon=True)
    reading.start()
    try:
        line = popen.stdout.readline()
        assert line, "".join(errors)
        yield Process(popen, json.loads(line), errors)
    finally:
        if popen.poll() is None:
            popen.kill()
        popen.wait(20)
        reading.join(20)
        popen.stdout.close()
        popen.stderr.close()


def failed(
    folder: Path, simulator: EnclaveSimulator, *options: str, policy: TrustPolicy | None = None, url: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, url or simulator.url, policy or simulator.policy(), *options),
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_script_waits_for_the_ready_line_and_uses_the_token_file(folder: Path, simulator: EnclaveSimulator) -> None:
    kept = folder / "local-token"
    with started(folder, simulator, "--local-token-file", str(kept), "--log-format", "json") as process:
        assert process.ready == {
            "event": "ready",
            "url": process.ready["url"],
            "socket": None,
            "tee": "simulated",
            "simulated": True,
            "measurement": process.ready["measurement"],
            "models": [MODEL],
        }
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        token = kept.read_text(encoding="utf-8").strip()
        with openai.OpenAI(base_url=f"{process.url}/v1", api_key=token) as client:
            answer = client.chat.completions.create(model=MODEL, messages=ASKED)
            assert answer.choices[0].message.content == "Hello sealed world，密态。"
            stream = client.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
            assert "".join(c.choices[0].delta.content or "" for c in stream) == "Hello sealed world，密态。"
        with openai.OpenAI(base_url=f"{process.url}/v1", api_key="wrong") as client, pytest.raises(openai.APIError):
            client.models.list()
        assert process.stop() == 0
        assert process.popen.stdout is not None
        assert process.popen.stdout.read() == ""
    logged = [json.loads(line) for line in process.errors]
    assert [line["status"] for line in logged if line["event"] == "request"] == [200, 200, 401]
    with started(folder, simulator, "--local-token-file", str(kept)) as again:
        assert kept.read_text(encoding="utf-8").strip() == token
        assert again.stop(signal.SIGINT) == 0


def test_threat_16_nothing_of_a_request_or_a_token_is_in_logs_output_or_arguments(
    folder: Path, simulator: EnclaveSimulator
) -> None:
    simulator.answer = lambda request: models() if request.path == b"/v1/models" else streamed("CANARY-ANSWER 金絲雀")
    kept = folder / "local-token"
    with started(folder, simulator, "--local-token-file", str(kept)) as process:
        token = kept.read_text(encoding="utf-8").strip()
        with httpx2.Client(base_url=process.url, headers={"authorization": f"Bearer {token}"}) as client:
            body = {"model": MODEL, "messages": ASKED, "stream": True}
            assert "CANARY-ANSWER" in client.post("/v1/chat/completions", json=body).text
            client.post("/v1/CANARY-PATH", json=body)
            client.post("/v1/chat/completions", content=b"CANARY-BROKEN", headers={"content-type": "application/json"})
            simulator.misbehaviour.frames = lambda frames: frames[:-1]
            with pytest.raises(httpx2.RemoteProtocolError):
                client.post("/v1/embeddings", json={"model": MODEL, "input": "CANARY-INPUT"})
        arguments = Path(f"/proc/{process.popen.pid}/cmdline").read_bytes()
        assert process.stop() == 0
    said = ("".join(process.errors) + json.dumps(process.ready, ensure_ascii=False)).encode() + arguments
    assert b"route=chat" in said
    assert find(["CANARY", "金絲雀", "住房补贴", token, ENCLAVE_TOKEN], said) == []
    left = [path for path in folder.rglob("*") if path.is_file() and path.name not in {"local-token", "enclave-token"}]
    assert [path.name for path in left if find(["CANARY", "金絲雀", token], path.read_bytes())] == []


def test_a_unix_socket_without_a_token(folder: Path, simulator: EnclaveSimulator) -> None:
    path = folder / "s"
    with started(folder, simulator, "--socket", str(path), "--no-token") as process:
        assert process.ready["socket"] == str(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path))) as client:
            assert client.get("http://localhost/v1/models").json()["data"][0]["id"] == MODEL
            assert client.get("http://localhost/v1/models", headers={"origin": "null"}).status_code == 403
        assert process.stop() == 0
    assert not path.exists()


def test_a_person_at_a_terminal_is_shown_the_token_once_and_what_is_not_recorded(
    folder: Path, simulator: EnclaveSimulator
) -> None:
    ours, theirs = pty.openpty()
    popen = subprocess.Popen(
        command(folder, simulator.url, simulator.policy()),
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while b"records them" not in shown:
            shown += os.read(ours, 4096)
        text = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
        assert "SIMULATED" in text
        assert "not recorded" in text
        token = text.split("API key (shown once): ")[1].split()[0]
        url = text.split("Ready: ")[1].split()[0]
        with openai.OpenAI(base_url=url, api_key=token) as client:
            assert client.models.list().data[0].id == MODEL
        popen.send_signal(signal.SIGINT)
        assert popen.wait(20) == 0
    finally:
        popen.kill()
        popen.wait()
        os.close(ours)
        assert popen.stdout is not None
        popen.stdout.close()


def test_a_running_answer_may_end(folder: Path, simulator: EnclaveSimulator) -> None:
    simulator.misbehaviour.pause = 0.3
    with started(folder, simulator, "--no-token") as process:
        with httpx2.Client(base_url=process.url, timeout=20) as client:
            body = {"model": MODEL, "messages": ASKED, "stream": True}
            with client.stream("POST", "/v1/chat/completions", json=body) as stream:
                pieces = stream.iter_bytes()
                first = next(pieces)
                process.popen.send_signal(signal.SIGTERM)
                time.sleep(0.3)
                assert b"[DONE]" in first + b"".join(pieces)
        assert process.popen.wait(20) == 0


def test_a_second_signal_ends_it_at_once(folder: Path, simulator: EnclaveSimulator) -> None:
    simulator.misbehaviour.pause = 5
    with started(folder, simulator, "--no-token") as process:
        host, port = process.url.removeprefix("http://").split(":")
        body = json.dumps({"model": MODEL, "messages": []}).encode()
        with socket.create_connection((host, int(port))) as client:
            client.sendall(
                f"POST /v1/embeddings HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\n\r\n".encode()
                + body
            )
            time.sleep(0.5)
            process.popen.send_signal(signal.SIGINT)
            time.sleep(0.3)
            assert process.popen.poll() is None
            began = time.monotonic()
            assert process.stop(signal.SIGINT) == 0
            assert time.monotonic() - began < 8


def test_an_enclave_that_does_not_verify_is_not_served(folder: Path, simulator: EnclaveSimulator) -> None:
    other = build_enclave("another").policy()
    done = failed(folder, simulator, "--no-token", "--json", policy=other)
    assert done.returncode == ExitCode.UNVERIFIED
    told = json.loads(done.stdout)
    assert told["error"]["type"] == "VerificationFailed"
    assert len(told["report"]["steps"]) == 13
    for_people = failed(folder, simulator, "--no-token", policy=other)
    assert "NOT VERIFIED" in for_people.stdout
    assert simulator.count("/mitai/ohttp") == 0


def test_no_enclave(folder: Path, simulator: EnclaveSimulator) -> None:
    assert failed(folder, simulator, "--no-token", url="http://127.0.0.1:9").returncode == ExitCode.UNREACHABLE


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "localhost"])
def test_other_addresses_are_refused(folder: Path, simulator: EnclaveSimulator, host: str) -> None:
    done = failed(folder, simulator, "--no-token", "--host", host)
    assert done.returncode == ExitCode.FAILED
    assert "loopback" in done.stderr
    assert simulator.seen == []


def test_without_a_terminal_a_token_is_not_shown_to_a_log(folder: Path, simulator: EnclaveSimulator) -> None:
    done = failed(folder, simulator)
    assert done.returncode == ExitCode.LOCKED
    assert "--local-token-file" in done.stderr
    assert simulator.seen == []


def test_threat_32_a_token_file_that_others_can_read_is_refused(folder: Path, simulator: EnclaveSimulator) -> None:
    (folder / "local").write_text("token")
    (folder / "local").chmod(0o644)
    done = failed(folder, simulator, "--local-token-file", str(folder / "local"))
    assert done.returncode == ExitCode.LOCKED
    assert "chmod 600" in done.stderr


@pytest.mark.parametrize(
    "options", [["--ledger", "nowhere"], ["--log-format", "xml"], ["--local-token-file", "x"], ["--kb", "nowhere"]]
)
def test_options_that_do_not_fit(folder: Path, simulator: EnclaveSimulator, options: list[str]) -> None:
    done = failed(folder, simulator, "--no-token", *options)
    assert done.returncode in {ExitCode.FAILED, ExitCode.USAGE, ExitCode.LOCKED, ExitCode.KNOWLEDGE_BASE}
    assert "rror" in done.stderr
    assert simulator.seen == []


def test_a_missing_extra_is_named(folder: Path, simulator: EnclaveSimulator) -> None:
    arguments = command(folder, simulator.url, simulator.policy(), "--no-token")[3:]
    hidden = (
        "import sys; sys.modules['starlette'] = None; sys.argv[1:] = " + repr(arguments) + "\n"
        "from mitai.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", hidden],
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == ExitCode.FAILED
    assert "mitai[serve]" in done.stderr


@pytest.mark.models
def test_a_knowledge_base_served_with_the_real_embedding_model(folder: Path, simulator: EnclaveSimulator) -> None:
    simulator.answer = lambda request: (
        models() if request.path == b"/v1/models" else streamed("住房补贴为每月", "一千元。")
    )
    (folder / "员工手册.txt").write_text("住房补贴为每月一千元。\n", encoding="utf-8")
    with KnowledgeBase.create(folder / "手册", passphrase=PASSPHRASE, argon2=CHEAP) as base:
        base.ingest([folder / "员工手册.txt"])
    (folder / "x").mkdir()
    KnowledgeBase.create(folder / "x" / "second", passphrase=PASSPHRASE, argon2=CHEAP).close()
    bases = ["--kb", str(folder / "手册"), "--kb", str(folder / "x" / "second"), "--ledger", "手册"]
    options = [*bases, "--no-token", "--passphrase-file", str(folder / "passphrase")]
    with started(folder, simulator, *options) as process:
        assert process.ready["models"] == [MODEL, "kb:second", "kb:手册"]
        with openai.OpenAI(base_url=f"{process.url}/v1", api_key="unused") as client:
            answer = client.chat.completions.create(model="kb:手册", messages=ASKED)
            assert answer.choices[0].message.content == "住房补贴为每月一千元。"
            assert [c["file"] for c in answer.choices[0].message.model_extra["citations"]] == ["员工手册.txt"]
            client.chat.completions.create(model=MODEL, messages=ASKED, stream=True).close()
        assert process.stop() == 0
    assert find(["员工手册", "手册", "CANARY-QUESTION"], "".join(process.errors).encode()) == []
    with KnowledgeBase.open(folder / "手册", passphrase=PASSPHRASE) as base:
        outcomes = [row.outcome.value for row in base.ledger.list_disclosures()]
    assert outcomes[0] == "complete"
    assert len(outcomes) == 2
