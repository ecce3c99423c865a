"""Run the endpoint: verify, listen, serve until told to stop, drain (`docs/spec/serve.md` §3, §8)."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import uvicorn

from mitai.hardening import harden_process
from mitai.serve.log import silence_libraries
from mitai.serve.upstream import closing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mitai.serve.guard import Guard
    from mitai.serve.listening import Listener
    from mitai.serve.upstream import Upstream
    from mitai_crypto.verify import AttestationResult

DRAIN_SECONDS: Final = 30
_KEEP_ALIVE_SECONDS: Final = 60
_STOPPING: Final = (signal.SIGINT, signal.SIGTERM)


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own, which would raise the signal again at the end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


async def serve(
    app: Guard, upstream: Upstream, listener: Listener, on_ready: Callable[[AttestationResult], None]
) -> None:
    """Verify the enclave, then serve until SIGINT or SIGTERM; running answers may end.

    Args:
        app: What is served.
        upstream: The enclave; closed at the end.
        listener: Where; closed at the end.
        on_ready: Called with what was verified, once clients can connect.

    Raises:
        EnclaveUnreachable: The enclave does not answer; nothing was served.
        VerificationFailed: It is not what the policy wants; nothing was served.
    """
    harden_process()
    silence_libraries()
    try:
        async with closing(upstream):
            attestation = await upstream.verify()
            server = _Server(_configuration(app))
            serving = asyncio.create_task(server.serve([listener.socket]))
            with _stopping(server):
                while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
                    await asyncio.sleep(0.01)
                on_ready(attestation)
                await serving
    finally:
        listener.close()


def _configuration(app: Guard) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


@contextmanager
def _stopping(server: uvicorn.Server) -> Iterator[None]:
    """Let a first signal drain the server and a second one end it at once."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True

    for number in _STOPPING:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in _STOPPING:
            loop.remove_signal_handler(number)
