"""One worker: opens, checks, forwards and seals; the keeper decides (`docs/spec/replicas.md`).

Run as `python -I -m mitai_enclave.worker LISTENER` by the keeper alone: standard input is the channel to it, and
everything that a worker knows came through it. When it ends, the worker ends, whatever it is doing.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final

from mitai_enclave import log
from mitai_enclave.channel import open_channel
from mitai_enclave.child import die_with_parent
from mitai_enclave.guard import harden
from mitai_enclave.keeper_client import KeeperClient
from mitai_enclave.listen import make_server
from mitai_enclave.tracing import open_tracing
from mitai_enclave.welcome import gateway_of

if TYPE_CHECKING:
    from typing import NoReturn

_KEEPER_GONE: Final = 1
_USAGE: Final = 2


def _leave() -> NoReturn:
    """End at once: without its keeper a worker may not finish anything, nor flush or clean up first."""
    os._exit(_KEEPER_GONE)


async def serve(channel: socket.socket, listener: socket.socket) -> None:
    """Serve until SIGTERM, then finish what was begun.

    Args:
        channel: The way to the keeper.
        listener: Where connections come in.
    """
    keeper = KeeperClient(_leave)
    await open_channel(channel, keeper.channel)
    welcome = await keeper.welcome
    await keeper.prepare()
    tracing = open_tracing(welcome.otlp)
    gateway = gateway_of(welcome, keeper, tracing)
    server = make_server(gateway, send_seconds=welcome.limits.send_seconds, on_start=keeper.ready)
    house = asyncio.create_task(keeper.keep_keys())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.drain)
    await server.serve([listener])
    house.cancel()
    await asyncio.to_thread(tracing.close)


def main() -> int:
    """Run a worker over the descriptors that were inherited."""
    harden()
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the keeper says when to end
    log.configure(sys.stderr)
    try:
        listener = socket.socket(fileno=int(sys.argv[1]))
        channel = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    except (IndexError, ValueError, OSError):
        log.emit("worker_without_keeper")
        return _USAGE
    import uvloop  # noqa: PLC0415 - not before it is clear that there is something to do

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(channel, listener))
    return 0


if __name__ == "__main__":
    sys.exit(main())
