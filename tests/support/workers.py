"""A real keeper in the test's own event loop, with real worker processes, in front of the simulated engine."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

import support.sidecar
from mitai_crypto.evidence import TeeKind
from mitai_enclave import messages
from mitai_enclave.address import UnixAddress
from mitai_enclave.assembly import Parts, build_parts
from mitai_enclave.config import Limits
from mitai_enclave.engine import ExternalEngine
from mitai_enclave.listen import bound_sending, listen_apart, url_of
from mitai_enclave.metrics import Metrics
from mitai_enclave.tee.quote import Quote
from mitai_enclave.tokens import Token
from support.sidecar import Sidecar, settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mitai_enclave.workers import WorkerPool
    from support.evidence_builder import BuiltEnclave
    from support.upstream_simulator import UpstreamSimulator


WELCOME = messages.Welcome(
    served_name="m",
    tokens=(Token("alice", bytes(32)), Token("bob", b"\1" * 32)),
    limits=Limits(rotation_seconds=7),
    engine=messages.Endpoint("/run/engine.sock", None, None),
    tee=TeeKind.SIMULATED,
    receipt_key=bytes(range(32)),
    engine_kind="external",
    model_digest=None,
    configuration="00" * 32,
    salt_secret=b"\2" * 32,
    harmful=("seed",),
    otlp="http://127.0.0.1:4318",
    reading_share=8,
)


@dataclass(frozen=True)
class BuiltAttester:
    """Signs quotes as the launcher does, without its process."""

    machine: BuiltEnclave
    kind: TeeKind = TeeKind.SIMULATED

    def quote(self, report_data: bytes) -> Quote:
        signed = self.machine.sign(replace(self.machine.quote, report_data=report_data))
        return Quote(signed.encode(), self.machine.collateral().encode())


@dataclass
class Workers(Sidecar):
    """A replica of several processes."""

    parts: Parts
    pool: WorkerPool


@asynccontextmanager
async def running_workers(
    simulator: UpstreamSimulator, workers: int, limits: Limits | None = None, *, key_prefix: str = ""
) -> AsyncIterator[Workers]:
    """Serve until the block ends."""
    engine = ExternalEngine(UnixAddress(simulator.path), poll=0.05)
    metrics = Metrics()
    settings = replace(settings_for(simulator, limits), workers=workers, key_prefix=key_prefix)
    parts = build_parts(settings, support.sidecar.RecordedAttester(), engine, None)
    listeners = listen_apart("127.0.0.1", 0, workers)
    url = url_of(listeners[0])
    for listener in listeners:
        bound_sending(listener, settings.limits.send_seconds)
    with tempfile.TemporaryDirectory(prefix="mt-") as folder:
        pool = parts.pool(settings, engine, metrics, listeners, Path(folder))
        try:
            await pool.start()
            await engine.start()
            watching = asyncio.create_task(engine.keep_running())
            async with httpx.AsyncClient(base_url=url, timeout=20) as client:
                epochs = parts.replica.epochs
                yield Workers(url, client, epochs, parts.identity, metrics, engine, watching, parts, pool)
            watching.cancel()
        finally:
            await pool.stop()
