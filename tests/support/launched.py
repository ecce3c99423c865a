"""An enclave started by its command under the simulated TEE, as an operator would, in front of a given engine."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from mitai.enclave import EnclaveClient
from mitai_crypto.policy_toml import policy_from_reference
from support.sealed_client import TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mitai_crypto.policy import TrustPolicy

SIM = [sys.executable, "-m", "mitai_sim"]


def serve_options(short_path: Path, upstream: Path) -> list[str]:
    tokens = short_path / "tokens.toml"
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    tokens.write_text(f'[[token]]\nprincipal = "alice"\nsha256 = "{digest}"\n')
    return [
        "--served-name",
        "simulated",
        "--tokens",
        str(tokens),
        "--tee",
        "simulated",
        "--upstream",
        f"unix:{upstream}",
    ]


async def run(*command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output


@dataclass
class Launched:
    """A launcher and what it started."""

    process: asyncio.subprocess.Process
    url: str
    policy: TrustPolicy
    keeper: psutil.Process

    def workers(self) -> list[psutil.Process]:
        return [child for child in self.keeper.children() if "mitai_enclave.worker" in child.cmdline()]

    def chat(self) -> str:
        with EnclaveClient(self.url, policy=self.policy, token=TOKEN, timeout=20) as client:
            return "".join(client.chat([{"role": "user", "content": "保存多久？"}]))


@asynccontextmanager
async def launched(short_path: Path, upstream: Path, *more: str) -> AsyncIterator[Launched]:
    """Start an enclave by its command under the simulated TEE; it is ready inside the block."""
    options = [*serve_options(short_path, upstream), *more]
    state = ["--state", str(short_path / "state"), "--input", str(short_path / "tokens.toml")]
    command = ["--", "mitai-enclave", "serve", *options]
    reference, workload = await asyncio.gather(
        run(*SIM, "measure", *state, *command), run(sys.executable, "-m", "mitai_enclave", "reference", *options)
    )
    with (short_path / "err").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *SIM, "run", *state, *command, stdout=subprocess.PIPE, stderr=errors
        )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 120)
        (keeper,) = psutil.Process(process.pid).children()
        policy = policy_from_reference("test", reference, workload)
        yield Launched(process, json.loads(line)["url"], policy, keeper)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
