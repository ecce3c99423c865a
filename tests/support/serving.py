"""The local endpoint and what stands behind it, each really listening on loopback, for tests of any colour.

The endpoint runs in a thread here; tests of the process are in `tests/edge/cli/test_serve.py`.
"""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import httpx2
import openai
import pytest

import support.sidecar
from mitai.serve.app import Endpoint, build_app
from mitai.serve.listening import listen_loopback
from mitai.serve.log import LogFormat, ServeLog
from mitai.serve.server import _configuration, _Server
from mitai.serve.upstream import Upstream, closing
from mitai_crypto.evidence import TeeKind
from mitai_enclave.tee.quote import Quote
from support.evidence_builder import BuiltEnclave, build_enclave
from support.sidecar import running_sidecar
from support.upstream_simulator import UpstreamSimulator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mitai.answering.answer import Corpus, Ledger
    from mitai_crypto.policy import TrustPolicy

ENCLAVE_TOKEN = "t0ken-of-the-enclave"
LOCAL_TOKEN = "l0cal-token"


@dataclass
class Served:
    """A running endpoint.

    Attributes:
        url: Of the endpoint.
        lines: What it logged.
    """

    url: str
    lines: io.StringIO = field(repr=False)

    @property
    def log(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.lines.getvalue().splitlines()]

    def openai(self, *, api_key: str = LOCAL_TOKEN, **options: object) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=api_key, **options)

    def openai_async(self, **options: object) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=LOCAL_TOKEN, **options)

    def http(self, **headers: str) -> httpx2.Client:
        given = {"authorization": f"Bearer {LOCAL_TOKEN}", **headers}
        return httpx2.Client(base_url=self.url, headers=given, timeout=20, trust_env=False)


@contextmanager
def serving(
    enclave_url: str,
    policy: TrustPolicy,
    *,
    enclave_token: str = ENCLAVE_TOKEN,
    token: str | None = LOCAL_TOKEN,
    corpora: Mapping[str, Corpus] | None = None,
    ledger: Ledger | None = None,
) -> Iterator[Served]:
    """Run an endpoint until the block ends."""
    upstream = Upstream(enclave_url, policy=policy, token=enclave_token)
    listener = listen_loopback("127.0.0.1", 0)
    lines = io.StringIO()
    endpoint = Endpoint(upstream, token, hosts=listener.hosts, corpora=corpora or {}, ledger=ledger, passages=3)
    server = _Server(_configuration(build_app(endpoint, ServeLog(lines, LogFormat.JSON))))

    async def run() -> None:
        async with closing(upstream):
            await server.serve([listener.socket])

    thread = threading.Thread(target=asyncio.run, args=(run(),), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield Served(listener.url, lines)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
        listener.close()


@dataclass(frozen=True)
class _BuiltAttester:
    """Signs quotes as the launcher does, without its process."""

    machine: BuiltEnclave
    kind: TeeKind = TeeKind.SIMULATED

    def quote(self, report_data: bytes) -> Quote:
        signed = self.machine.sign(replace(self.machine.quote, report_data=report_data))
        return Quote(signed.encode(), self.machine.collateral().encode())


@dataclass(frozen=True)
class SidecarInThread:
    """A real sidecar, its simulated engine, and the policy that it passes."""

    url: str
    engine: UpstreamSimulator
    policy: TrustPolicy


@contextmanager
def sidecar_in_thread(folder: Path) -> Iterator[SidecarInThread]:
    """Run a real sidecar in a thread of its own, so that synchronous clients can be tested against it."""
    started: list[SidecarInThread] = []
    ready, done = threading.Event(), threading.Event()

    async def run() -> None:
        machine = build_enclave(now=int(time.time()))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(support.sidecar, "RecordedAttester", lambda: _BuiltAttester(machine))
            async with UpstreamSimulator(folder / "engine.sock") as engine, running_sidecar(engine) as sidecar:
                policy = machine.policy(
                    model_name=sidecar.identity.model_name,
                    model_digest=sidecar.identity.model_digest,
                    configuration=(sidecar.identity.configuration,),
                    engine=(sidecar.identity.engine,),
                )
                started.append(SidecarInThread(sidecar.url, engine, policy))
                ready.set()
                await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(run(),), daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield started[0]
    finally:
        done.set()
        thread.join(20)
        assert not thread.is_alive()
