"""Measure what a second worker brings: requests sealed beforehand, one and two workers before the same echo.

The generator sends bytes that lie ready and looks at nothing but the status and the length of each answer, so that
it costs next to nothing. Rounds alternate; every request is sent once, for a second time it would be refused.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx2
import uvloop
from rich.console import Console
from rich.table import Table

from channel import BODY, JSON, PATH, echo, stage
from machine import machine
from mitai.padding import PADDED
from mitai.transport._httpx2 import SyncWire
from mitai.transport.exchange import Exchange, PlainRequest, imf_fixdate, inner_request, new_request_id
from mitai.transport.session import Session
from mitai.transport.wire import ThreadGate, run_now

if TYPE_CHECKING:
    import psutil

PLAIN = PlainRequest(b"POST", PATH.encode(), JSON, BODY)


@dataclass
class Replica:
    """A sidecar and the requests that are sealed for it.

    Attributes:
        name: Shown in the table.
        url: Where it listens.
        processes: Launcher, keeper and workers.
        requests: Whole HTTP requests, each good for one use.
    """

    name: str
    url: str
    processes: list[psutil.Process]
    requests: list[bytes] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)

    def seal(self, session: Session, token: str, number: int) -> None:
        """Make requests for the enclave's current key."""
        with httpx2.HTTPTransport() as transport:
            verified = run_now(session.verified(SyncWire(self.url, transport), timeouts={}))
        host = self.url.removeprefix("http://")
        for _ in range(number):
            inner = inner_request(
                PLAIN,
                token=token,
                request_id=new_request_id(),
                date=imf_fixdate(time.time()),
                padding=PADDED,
            )
            sealed = Exchange(inner, verified.attestation, verified.config, PADDED)
            head = (
                f"POST {sealed.target} HTTP/1.1\r\nhost: {host}\r\ncontent-type: message/ohttp-chunked-req\r\n"
                f"content-length: {len(sealed.message)}\r\n\r\n"
            )
            self.requests.append(head.encode() + sealed.message)

    def used(self) -> float:
        """Return the CPU seconds so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self.processes)


class Connection(asyncio.Protocol):
    """Sends one request after the other and counts the answers."""

    def __init__(self, requests: list[bytes], done: asyncio.Future[None]) -> None:
        self.requests, self.done, self.answered = requests, done, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        if not self.requests:
            self.transport.close()
            self.done.set_result(None)
            return
        self.transport.write(self.requests.pop())
        self.start = True

    def data_received(self, data: bytes) -> None:
        if self.start and not data.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"an answer is wrong: {data[:100]!r}")
        self.start = False
        if data.endswith(b"\r\n0\r\n\r\n"):
            self.answered += 1
            self.send()


async def drive(replica: Replica, requests: list[bytes], connections: int) -> None:
    """Send all `requests` over so many connections."""
    loop = asyncio.get_running_loop()
    host, port = replica.url.removeprefix("http://").split(":")
    finished = []
    for _ in range(connections):
        done = loop.create_future()
        await loop.create_connection(lambda done=done: Connection(requests, done), host, int(port))
        finished.append(done)
    await asyncio.gather(*finished)


def measure(replica: Replica, number: int, connections: int) -> None:
    """Note requests a second and CPU a request of one round."""
    requests = [replica.requests.pop() for _ in range(number)]
    own, theirs, began = time.process_time(), replica.used(), time.perf_counter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(drive(replica, requests, connections))
    seconds = time.perf_counter() - began
    replica.rates.append(number / seconds)
    replica.own.append((time.process_time() - own) / seconds)
    replica.cpu.append((replica.used() - theirs) / number)


def main() -> None:
    """Start one replica with one worker and one with two, measure in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--requests", type=int, default=400, help="a round and replica")
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    with ExitStack() as stack:
        path, _ = stack.enter_context(echo())
        replicas = []
        for workers in (1, 2):
            running, policy, processes = stack.enter_context(stage(path, workers=workers))
            replica = Replica(f"{workers} worker{'s' * (workers > 1)}", running.url, processes)
            session = Session(running.url, policy, gate=ThreadGate())
            replica.seal(session, running.token, (options.rounds + 1) * options.requests)
            replicas.append(replica)
        for replica in replicas:
            measure(replica, options.requests, options.connections)
            replica.rates.clear()
            replica.cpu.clear()
            replica.own.clear()
        for round_number in range(options.rounds):
            for replica in replicas if round_number % 2 else replicas[::-1]:
                measure(replica, options.requests, options.connections)
    table = Table(title=f"Workers of one replica, sealed beforehand, echo · {machine()}", title_justify="left")
    for column in ("replica", "requests/s", "× one", "CPU µs a request", "generator, cores"):
        table.add_column(column, justify="left" if column == "replica" else "right")
    median = statistics.median
    for replica in replicas:
        ratio = median(a / b for a, b in zip(replica.rates, replicas[0].rates, strict=True))
        cells = (f"{median(replica.rates):.0f}", f"{ratio:.2f}", f"{median(replica.cpu) * 1e6:.0f}")
        table.add_row(replica.name, *cells, f"{median(replica.own):.2f}")
    console = Console(width=110)
    console.print(table)
    console.print("bar: two workers ≥ 1.6 × one; generator < 0.1 core")


if __name__ == "__main__":
    main()
