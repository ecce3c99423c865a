"""A real sidecar on loopback, in the test's own event loop, in front of the simulated engine."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import httpx

from mitai_crypto.evidence import TeeKind
from mitai_enclave.address import UnixAddress
from mitai_enclave.assembly import build_parts
from mitai_enclave.config import Limits, Settings
from mitai_enclave.engine import ExternalEngine
from mitai_enclave.listen import bound_sending, listen, make_server, url_of
from mitai_enclave.metrics import Metrics
from mitai_enclave.tee.quote import Quote
from mitai_enclave.tokens import Token, TokenTable
from mitai_enclave.tracing import open_tracing
from support.sealed_client import OTHER_TOKEN, TOKEN, Opened, Sealed, assert_sealed, open_answer, post, seal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mitai_crypto import bhttp
    from mitai_crypto.ohttp import KeyConfig
    from mitai_enclave.attestation import Identity
    from mitai_enclave.epochs import KeyEpochs
    from mitai_enclave.tee.quote import Attester
    from support.upstream_simulator import UpstreamSimulator

TOKENS = TokenTable(
    (
        Token("alice", hashlib.sha256(TOKEN.encode()).digest()),
        Token("bob", hashlib.sha256(OTHER_TOKEN.encode()).digest()),
    )
)


class RecordedAttester:
    """Gives the report data back as the quote, so that a test sees what was bound."""

    kind = TeeKind.SIMULATED

    def quote(self, report_data: bytes) -> Quote:
        return Quote(report_data, b"collateral")


@dataclass
class Sidecar:
    """A running sidecar."""

    url: str
    client: httpx.AsyncClient
    epochs: KeyEpochs
    identity: Identity
    metrics: Metrics
    engine: ExternalEngine
    watching: asyncio.Task[None]

    @property
    def config(self) -> KeyConfig:
        """The current key."""
        return self.epochs.current.epoch.keys[0].config

    def seal(self, request: bhttp.Request | None = None) -> Sealed:
        return seal(self.config, request)

    def open(self, sealed: Sealed, response: httpx.Response) -> Opened:
        assert_sealed(response)
        found = self.epochs.find(sealed.config.key_id)
        assert found is not None
        return open_answer(sealed, response.content, self.identity, found[0].material_digest)

    async def ask(self, request: bhttp.Request | None = None) -> Opened:
        """Seal, send and open."""
        sealed = self.seal(request)
        return self.open(sealed, await post(self.client, sealed.message))


def settings_for(simulator: UpstreamSimulator, limits: Limits | None = None) -> Settings:
    return Settings(
        served_name="simulated",
        tokens=TOKENS,
        upstream=UnixAddress(simulator.path),
        limits=limits or Limits(),
    )


@asynccontextmanager
async def running_sidecar(
    simulator: UpstreamSimulator,
    limits: Limits | None = None,
    *,
    wait: bool = True,
    attester: Attester | None = None,
    otlp: str | None = None,
) -> AsyncIterator[Sidecar]:
    """Serve until the block ends."""
    engine = ExternalEngine(UnixAddress(simulator.path), poll=0.05)
    metrics = Metrics()
    settings = replace(settings_for(simulator, limits), otlp=otlp)
    parts = build_parts(settings, attester or RecordedAttester(), engine, None)
    listener = listen("127.0.0.1", 0)
    bound_sending(listener, settings.limits.send_seconds)
    tracing = open_tracing(settings.otlp)
    running = make_server(parts.gateway(settings, engine, metrics, tracing), send_seconds=settings.limits.send_seconds)
    task = asyncio.create_task(running.serve([listener]))
    while not running.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    if wait:
        await engine.start()
    watching = asyncio.create_task(engine.keep_running())
    url = url_of(listener)
    try:
        async with httpx.AsyncClient(base_url=url, timeout=20) as client:
            yield Sidecar(url, client, parts.replica.epochs, parts.identity, metrics, engine, watching)
    finally:
        watching.cancel()
        running.should_exit = True
        await task
        listener.close()
        await asyncio.to_thread(tracing.close)
