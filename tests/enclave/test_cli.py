"""The command as an operator runs it: real processes, simulated TEE, simulated engine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from mitai_crypto import bhttp
from mitai_crypto.errors import VerificationFailed
from mitai_crypto.policy_toml import policy_from_reference
from mitai_crypto.verify import verify_evidence
from support.launched import SIM, run, serve_options
from support.sealed_client import TOKEN, base64url, chat_body, inner_request, post, seal
from support.upstream_simulator import WORDS, Behaviour

if TYPE_CHECKING:
    from pathlib import Path

    from support.upstream_simulator import UpstreamSimulator

CANARY = "canary-7731-金丝雀"


def listeners(pid: int) -> list[tuple[str, int]]:
    tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    found = [connection for process in tree for connection in process.net_connections("inet")]
    return [tuple(connection.laddr) for connection in found if connection.status == psutil.CONN_LISTEN]


async def test_the_whole_way_from_evidence_to_receipt(short_path: Path, engine: UpstreamSimulator) -> None:
    state = ["--state", str(short_path / "state"), "--input", str(short_path / "tokens.toml")]
    options = serve_options(short_path, engine.path)
    command = ["--", "mitai-enclave", "serve", *options]
    reference, workload = await asyncio.gather(
        run(*SIM, "measure", *state, *command),
        run(sys.executable, "-m", "mitai_enclave", "reference", *options),
    )
    policy = policy_from_reference("test", reference, workload)
    with (short_path / "err").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *SIM, "run", *state, *command, stdout=subprocess.PIPE, stderr=errors
        )
    assert process.stdout is not None
    ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
    assert (ready["event"], ready["tee"]) == ("ready", "simulated")
    async with httpx.AsyncClient(base_url=ready["url"], timeout=20) as client:
        nonce = os.urandom(32)
        bundle = await client.get(f"/.well-known/mitai/attestation?nonce={base64url(nonce).decode()}")
        now = int(time.time())
        result = verify_evidence(bundle.content, nonce=nonce, policy=policy, now=now)
        assert result.simulated
        with pytest.raises(VerificationFailed):
            verify_evidence(bundle.content, nonce=os.urandom(32), policy=policy, now=now)

        engine.behaviour = Behaviour(words=(CANARY, *WORDS))
        sealed = seal(result.key_config(now), inner_request(chat_body(CANARY, stream=True)))
        response = await post(client, sealed.message)
        opener = sealed.opener()
        answer = bhttp.decode_response(opener.feed(response.content) + opener.close())
        assert answer.status == 200
        assert CANARY in answer.content.decode()
        for wire in (sealed.message, response.content):
            assert b"7731" not in wire
        assert (await client.get("/healthz")).status_code == 200
        async with httpx.AsyncClient() as scraper:
            metrics = await scraper.get(f"{ready['metrics']}/metrics")
            assert 'outcome="ok",route="chat"} 0' in metrics.text  # the snapshot of before

        found = listeners(process.pid)
        assert sorted(f"http://{host}:{port}" for host, port in found) == sorted([ready["url"], ready["metrics"]])

        # A signal drains: an answer on its way is finished first.
        engine.behaviour = Behaviour(pause=0.1)
        last = seal(result.key_config(now), inner_request(chat_body(stream=True)))
        streaming = asyncio.create_task(post(client, last.message))
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        opener = last.opener()
        rest = await streaming
        drained = bhttp.decode_response(opener.feed(rest.content) + opener.close())
        assert b"[DONE]" in drained.content
    assert await asyncio.wait_for(process.wait(), 30) == 0
    output = await process.stdout.read() + (short_path / "err").read_bytes()
    for form in (b"7731", "金丝雀".encode(), TOKEN.encode(), b"alice"):
        assert form not in output
    log_lines = [line for line in (short_path / "err").read_text().splitlines() if line.startswith("{")]
    assert [json.loads(line)["event"] for line in log_lines][-1] == "stopped"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"--upstream": "http://example.com:80"}, "loopback"),
        ({"--tokens": "/no/such/file"}, "token file"),
        ({"--tee": "auto"}, "no TEE hardware"),
        ({"--tee": "simulated"}, "mitai-sim"),
        ({"--served-name": "a b"}, "served name"),
        ({"--suite": "rot13"}, "--suite is one of"),
        ({"--model": "/no/such/model"}, "either --model or --upstream"),
        ({"--host": "example.com", "--tee": "simulated"}, ""),
    ],
)
def test_wrong_options_get_one_clear_line_and_the_way_on(short_path: Path, change: dict[str, str], text: str) -> None:
    options = serve_options(short_path, short_path / "none.sock")
    given = dict(zip(options[::2], options[1::2], strict=True)) | change
    flat = [word for pair in given.items() for word in pair]
    done = subprocess.run(
        [sys.executable, "-m", "mitai_enclave", "serve", *flat], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_choice_is_wrong_usage(short_path: Path) -> None:
    command = [sys.executable, "-m", "mitai_enclave", "serve", "--tee", "sgx"]
    assert subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 2


def test_help_starts_quickly_and_loads_nothing_heavy() -> None:
    program = "import sys, mitai_enclave.cli; print(sorted({n.split('.')[0] for n in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    for heavy in ("cryptography", "uvicorn", "httptools", "asyncio", "vllm", "torch"):
        assert f"'{heavy}'" not in loaded
