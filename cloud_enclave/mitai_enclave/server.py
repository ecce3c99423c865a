"""Put the parts together, listen, run until told to stop, and leave nothing behind."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mitai_enclave import log
from mitai_enclave.assembly import build_parts
from mitai_enclave.engine import Engine, ExternalEngine, Launch, Supervisor
from mitai_enclave.engine_command import engine_command, engine_environment, runs_on_cpu
from mitai_enclave.errors import ConfigurationError
from mitai_enclave.gateway import MetricsPage
from mitai_enclave.listen import LOOPBACK, bound_sending, listen, listen_apart, make_server, url_of
from mitai_enclave.metrics import REFRESH_SECONDS, Metrics
from mitai_enclave.model import copy_model, locate_model
from mitai_enclave.runtime import holder, open_runtime
from mitai_enclave.tee.select import select_attester
from mitai_enclave.tracing import open_tracing

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from mitai_enclave.config import Settings
    from mitai_enclave.epochs import KeyEpochs
    from mitai_enclave.listen import Server
    from mitai_enclave.runtime import RuntimeFolder
    from mitai_enclave.workers import WorkerPool


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
    with ExitStack() as open_things:
        listeners = _open_listeners(settings)
        metrics_socket = listen(LOOPBACK, settings.metrics_port)
        for listener in (*listeners, metrics_socket):
            open_things.enter_context(listener)
        runtime = open_things.enter_context(open_runtime(settings.runtime_dir))
        log.emit("runtime_folder", path_kind=holder(runtime.root))
        ready = Ready(url_of(listeners[0]), url_of(metrics_socket), attester.kind.value)
        engine, model_digest = await _prepare_engine(settings, runtime)
        metrics = Metrics()
        tracing = open_tracing(settings.otlp)
        open_things.callback(tracing.close)
        parts = build_parts(settings, attester, engine, model_digest)
        servers = [(make_server(MetricsPage(metrics), send_seconds=settings.limits.send_seconds), metrics_socket)]
        pool: WorkerPool | None = None
        if settings.workers == 1:
            gateway = parts.gateway(settings, engine, metrics, tracing)
            servers.append((make_server(gateway, send_seconds=settings.limits.send_seconds), listeners[0]))
        else:
            pool = parts.pool(settings, engine, metrics, listeners, runtime.root)

        async def live() -> None:
            if pool is not None:
                await pool.start()
            await engine.start()
            log.emit("ready", gateway=ready.url, metrics=ready.metrics, tee=ready.tee)
            on_ready(ready)
            kept = [] if pool is None else [pool.keep_running()]
            await asyncio.gather(engine.keep_running(), *kept)

        try:
            await _run(servers, pool, live(), _keep_house(parts.replica.epochs, metrics))
        finally:
            await engine.stop()
            log.emit("stopped")


def _open_listeners(settings: Settings) -> list[socket.socket]:
    if settings.workers == 1:
        listeners = [listen(settings.host, settings.port)]
    else:
        listeners = listen_apart(settings.host, settings.port, settings.workers)
    for listener in listeners:
        bound_sending(listener, settings.limits.send_seconds)
    return listeners


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


async def _run(
    servers: list[tuple[Server, socket.socket]],
    pool: WorkerPool | None,
    live: Awaitable[None],
    house: Awaitable[None],
) -> None:
    """Run everything until a signal comes or a part ends, then drain servers and workers."""
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
            server.drain()
        draining = [] if pool is None else [pool.stop()]
        await asyncio.gather(*listening, *draining, return_exceptions=True)
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
