"""The real sidecar with evidence that verifies, on a thread of its own: for clients that block or are processes."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from support.evidence_builder import build_enclave
from support.sealed_client import TOKEN
from support.sidecar import running_sidecar
from support.upstream_simulator import UpstreamSimulator
from support.workers import BuiltAttester

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mitai_crypto.policy import TrustPolicy


@dataclass(frozen=True)
class SealedEnclave:
    """A running sidecar, its engine, and the policy that it passes.

    Attributes:
        url: Where it answers.
        policy: What it proves.
        engine: The simulated engine; set its `behaviour` from any thread.
        token: An access token that it knows.
        model: The served name.
    """

    url: str
    policy: TrustPolicy
    engine: UpstreamSimulator
    token: str = TOKEN
    model: str = "simulated"


@contextmanager
def sealed_enclave() -> Iterator[SealedEnclave]:
    """Serve until the block ends."""
    machine = build_enclave(now=int(time.time()))
    ready, started = threading.Event(), []
    loop = asyncio.new_event_loop()

    async def serve(folder: Path) -> None:
        stop = asyncio.Event()
        async with (
            UpstreamSimulator(folder / "engine.sock") as engine,
            running_sidecar(engine, attester=BuiltAttester(machine)) as sidecar,
        ):
            identity = sidecar.identity
            policy = machine.policy(
                model_name=identity.model_name,
                model_digest=identity.model_digest,
                configuration=(identity.configuration,),
                engine=(identity.engine,),
            )
            started.append((SealedEnclave(sidecar.url, policy, engine), stop))
            ready.set()
            await stop.wait()

    def run(folder: Path) -> None:
        try:
            loop.run_until_complete(serve(folder))
        finally:
            ready.set()
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    with TemporaryDirectory() as folder:
        thread = threading.Thread(target=run, args=(Path(folder),))
        thread.start()
        ready.wait(30)
        assert started, "the sidecar did not start"
        enclave, stop = started[0]
        try:
            yield enclave
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(30)
