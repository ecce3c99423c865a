"""Put the parts together, listen, run until told to stop, and leave nothing behind."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mitai_enclave import log
from mitai_enclave.attestation import EvidenceSource, Identity, TokenBucket
from mitai_enclave.config import configuration_digest
from mitai_enclave.engine import Engine, ExternalEngine, Launch, Supervisor
from mitai_enclave.engine_command import engine_command, engine_environment, runs_on_cpu
from mitai_enclave.epochs import KeyEpochs
from mitai_enclave.errors import ConfigurationError
from mitai_enclave.gateway import Gateway, MetricsPage
from mitai_enclave.inner import Rules
from mitai_enclave.metrics import REFRESH_SECONDS, Metrics
from mitai_enclave.model import copy_model, locate_model
from mitai_enclave.runtime import holder, open_runtime
from mitai_enclave.salt import CacheSalt
from mitai_enclave.tee.select import select_attester
from mitai_enclave.unseal import Unsealer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from mitai_enclave.config import Settings
    from mitai_enclave.runtime import RuntimeFolder
    from mitai_enclave.tee.quote import Attester

_DRAIN_SECONDS: Final = 30
_KEEP_ALIVE_SECONDS: Final = 60
_LOOPBACK: Final = "127.0.0.1"


class _RunningEngine(Engine, Protocol):
    async def start(self) -> None: ...
    async def keep_running(self) -> None: ...
    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Ready:
    """Where a sidecar that is ready can be reached.

    Attributes:
        url: The gateway.
        metrics: The metrics listener.
        tee: The evidence kind.
    """

    url: str
    metrics: str
    tee: str


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: two of them share one process, which has its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


async def serve(settings: Settings, on_ready: Callable[[Ready], None]) -> None:
    """Run the sidecar until SIGTERM or SIGINT, then drain.

    Args:
        settings: What the operator chose.
        on_ready: Called once, when the engine is healthy and the listeners are open.

    Raises:
        EnclaveError: The start failed, or the engine may not be started again.
        TeeUnavailable: This machine has not got the TEE that was asked for.
    """
    attester = select_attester(settings.tee)
    gateway_socket = _listen(settings.host, settings.port)
    metrics_socket = _listen(_LOOPBACK, settings.metrics_port)
    with gateway_socket, metrics_socket, open_runtime(settings.runtime_dir) as runtime:
        log.emit("runtime_folder", path_kind=holder(runtime.root))
        engine, model_digest = await _prepare_engine(settings, runtime)
        metrics = Metrics()
        gateway, epochs = _build_gateway(settings, attester, engine, metrics, model_digest)
        ready = Ready(_url(gateway_socket), _url(metrics_socket), attester.kind.value)

        async def live() -> None:
            await engine.start()
            log.emit("ready", gateway=ready.url, metrics=ready.metrics, tee=ready.tee)
            on_ready(ready)
            await engine.keep_running()

        servers = [_server(gateway, gateway_socket), _server(MetricsPage(metrics), metrics_socket)]
        try:
            await _run(servers, live(), _keep_house(epochs, metrics))
        finally:
            await engine.stop()
            log.emit("stopped")


async def _prepare_engine(settings: Settings, runtime: RuntimeFolder) -> tuple[_RunningEngine, str | None]:
    if settings.upstream is not None:
        return ExternalEngine(settings.upstream), None
    if settings.model is None:
        raise ConfigurationError("Give either --model or --upstream.")
    on_cpu = runs_on_cpu()
    model = await asyncio.to_thread(lambda: copy_model(locate_model(str(settings.model)), runtime.model))
    log.emit("model_copied", model_digest=model.digest)
    launch = Launch(
        command=engine_command(
            settings.engine, on_cpu=on_cpu, name=settings.served_name, model=model.path, socket=runtime.socket
        ),
        environment=engine_environment(settings.engine, on_cpu=on_cpu, runtime=runtime),
        folder=runtime.home,
        socket=runtime.socket,
    )
    return Supervisor(launch, verify_model=model.verify), model.digest


def _build_gateway(
    settings: Settings, attester: Attester, engine: Engine, metrics: Metrics, model_digest: str | None
) -> tuple[Gateway, KeyEpochs]:
    identity = Identity(
        tee=attester.kind,
        receipt_key=Ed25519PrivateKey.generate(),
        engine=settings.engine_kind,
        model_name=settings.served_name,
        model_digest=model_digest,
        configuration=configuration_digest(settings),
    )
    limits = settings.limits
    epochs = KeyEpochs(
        kems=settings.kems,
        rotation=limits.rotation_seconds,
        capacity=limits.replay_capacity,
        describe=identity.describe,
    )
    unsealer = Unsealer(
        epochs=epochs,
        engine=engine,
        identity=identity,
        rules=Rules(settings.tokens, CacheSalt(), settings.served_name, limits.request_bytes),
        limits=limits,
        metrics=metrics,
    )
    gateway = Gateway(
        unsealer=unsealer,
        evidence=EvidenceSource(attester, epochs),
        engine=engine,
        bucket=TokenBucket(limits.attestations_per_second, limits.attestations_burst),
        metrics=metrics,
    )
    return gateway, epochs


def _server(app: object, listener: socket.socket) -> tuple[_Server, socket.socket]:
    config = uvicorn.Config(
        app,  # type: ignore[arg-type] # our ASGI types are narrower than uvicorn's
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    return _Server(config), listener


async def _run(servers: list[tuple[_Server, socket.socket]], live: Awaitable[None], house: Awaitable[None]) -> None:
    """Run everything until a signal comes or a part ends, then drain the servers."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listening = [asyncio.ensure_future(server.serve([listener])) for server, listener in servers]
    working = [asyncio.ensure_future(part) for part in (live, house)]
    waiting = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([*listening, *working, waiting], return_when=asyncio.FIRST_COMPLETED)
        log.emit("stopping", reason="signal" if stop.is_set() else "failure")
    finally:
        for server, _ in servers:
            server.should_exit = True
        await asyncio.gather(*listening, return_exceptions=True)
        for task in (*working, waiting):
            task.cancel()
        results = await asyncio.gather(*working, waiting, return_exceptions=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _keep_house(epochs: KeyEpochs, metrics: Metrics) -> None:
    """Refresh the metrics' snapshot on the minute, and drop old keys without waiting for a request."""
    due = time.monotonic()
    while True:
        due += REFRESH_SECONDS
        await asyncio.sleep(due - time.monotonic())
        metrics.refresh()
        epochs.advance()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot listen on {host} port {port}: {error.strerror}.",
            hint="Choose a free --port, or 0 for any.",
        ) from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
