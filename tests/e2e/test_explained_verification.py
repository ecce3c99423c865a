"""With real processes: measure, write the policy, verify, ask, stop the enclave, and check all of it again."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from mitai.answering.answer import ask
from mitai.enclave import EnclaveClient
from mitai.knowledge_base import KnowledgeBase
from mitai.policy_file import load_policy
from support.asked import HANDBOOK, QUESTIONS
from support.embedder import HashingEmbedder
from support.knowledge_bases import CHEAP, PASSPHRASE
from support.sealed_client import TOKEN
from support.upstream_simulator import UpstreamSimulator

SIM = [sys.executable, "-m", "mitai_sim"]


async def run(*command: str | Path, code: int = 0) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=subprocess.PIPE, env={**os.environ, "NO_COLOR": "1"}
    )
    output, _ = await process.communicate()
    assert process.returncode == code
    return output


def ask_all(folder: Path, url: str) -> None:
    (folder / "handbook.md").write_text(HANDBOOK, encoding="utf-8")
    with (
        KnowledgeBase.create(folder / "kb", passphrase=PASSPHRASE, argon2=CHEAP, embedder=HashingEmbedder()) as kb,
        EnclaveClient(url, policy=load_policy(folder / "policy.toml"), token=TOKEN, timeout=30) as enclave,
    ):
        kb.ingest([folder / "handbook.md"])
        for question in QUESTIONS:
            assert ask(kb, question, enclave).answer.receipt


async def test_what_was_verified_is_verified_again_when_the_enclave_is_gone() -> None:
    with tempfile.TemporaryDirectory(prefix="mt-") as name:
        folder = Path(name)
        async with UpstreamSimulator(folder / "engine.sock") as engine:
            await _tell_the_story(folder, engine)


async def _tell_the_story(folder: Path, engine: UpstreamSimulator) -> None:
    mitai = [sys.executable, "-m", "mitai.cli"]
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    (folder / "tokens.toml").write_text(f'[[token]]\nprincipal = "a"\nsha256 = "{digest}"\n', encoding="utf-8")
    (folder / "secret").write_text(PASSPHRASE, encoding="utf-8")
    (folder / "secret").chmod(0o600)
    options = ["--served-name", "simulated", "--tokens", str(folder / "tokens.toml"), "--tee", "simulated"]
    options += ["--upstream", f"unix:{engine.path}"]
    state = ["--state", str(folder / "state"), "--input", str(folder / "tokens.toml")]
    command = [*state, "--", "mitai-enclave", "serve", *options]

    (folder / "reference.json").write_bytes(await run(*SIM, "measure", *command))
    (folder / "workload.json").write_bytes(await run(sys.executable, "-m", "mitai_enclave", "reference", *options))
    made = ["--reference", folder / "reference.json", "--workload", folder / "workload.json"]
    await run(*mitai, "policy", "init", *made, "-o", folder / "policy.toml")
    policy = ["--policy", folder / "policy.toml"]
    assert json.loads(await run(*mitai, "policy", "check", folder / "policy.toml", "--json"))["ok"]

    with (folder / "err").open("wb") as errors:
        enclave = await asyncio.create_subprocess_exec(*SIM, "run", *command, stdout=subprocess.PIPE, stderr=errors)
    assert enclave.stdout is not None
    url = json.loads(await asyncio.wait_for(enclave.stdout.readline(), 60))["url"]
    fetched = json.loads(await run(*mitai, "verify", url, *policy, "--bundle", folder / "bundle.json", "--json"))
    await asyncio.to_thread(ask_all, folder, url)
    enclave.send_signal(signal.SIGTERM)
    await asyncio.wait_for(enclave.communicate(), 30)

    again = json.loads(await run(*mitai, "verify", "--bundle", folder / "bundle.json", *policy, "--json"))
    assert again["steps"] == fetched["steps"]
    assert again["enclave"] == fetched["enclave"]
    base = ["--kb", folder / "kb", "--passphrase-file", folder / "secret"]
    checked = json.loads(await run(*mitai, "ledger", "verify", *base, *policy, "--json"))
    assert [row["outcome"] for row in checked["rows"]] == ["verified"] * 3
    assert checked["simulated"]
    await run(*mitai, "ledger", "export", *base, "-o", folder / "ledger.jsonl")
    alone = json.loads(await run(*mitai, "ledger", "verify", "--file", folder / "ledger.jsonl", *policy, "--json"))
    assert alone == checked
    text = (folder / "policy.toml").read_text(encoding="utf-8")
    changed = re.sub(r'(r2 = ")(.)', lambda found: found[1] + ("1" if found[2] == "0" else "0"), text)
    (folder / "other.toml").write_text(changed, encoding="utf-8")
    failed = json.loads(
        await run(*mitai, "ledger", "verify", *base, "--policy", folder / "other.toml", "--json", code=7)
    )
    assert {row["outcome"] for row in failed["rows"]} == {"failed"}
    assert all("step 7" in row["reason"] for row in failed["rows"])
