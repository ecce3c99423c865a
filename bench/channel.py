"""Measure the sealed channel against another one: TNG (Rust, Oblivious HTTP), without attestation, on the same echo.

Both sides carry a 6 KB chat request to an engine that answers at once and bring the answer back; the client that
asks is the same. TNG seals in a process beside the client, Mitai inside it. Rounds alternate within one run.
Run it with `make bench`, or `python bench/channel.py --rounds 10`.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import httpx2
import psutil
from rich.console import Console
from rich.table import Table

from machine import machine
from mitai.cli.demo.stage import PRINCIPAL, Stage
from mitai.padding import PADDED, UNPADDED
from mitai.transport import HttpxSealedTransport, SealedTransport
from mitai.transport.exchange import PlainRequest
from mitai.transport.raw import RawWire
from mitai.transport.sending import Sender
from mitai.transport.session import Session
from mitai.transport.wire import OuterRequest, ThreadGate, run_now
from mitai_crypto.policy import KeySuite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mitai_crypto.policy import TrustPolicy

HERE = Path(__file__).parent
BODY = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "密态 sealed channel. " * 250}]}).encode()
PATH = "/v1/chat/completions"
JSON = ((b"content-type", b"application/json"),)
TIMEOUTS: dict[str, float | None] = {"connect": 10.0, "read": 30.0, "write": 30.0}


@dataclass
class EchoStage(Stage):
    """A simulated TEE whose sidecar stands before the echo engine.

    Attributes:
        upstream: The echo's socket.
        workers: How many processes serve.
    """

    upstream: Path = Path()
    workers: int = 1

    def _enclave(self, verb: str) -> list[str]:
        return [
            "mitai-enclave", verb,
            "--upstream", f"unix:{self.upstream}",
            "--served-name", "echo",
            "--tee", "simulated",
            "--tokens", str(self.tokens_file),
            "--port", "0",
            "--workers", str(self.workers),
            "--runtime-dir", str(self.runtime),
        ]  # fmt: skip


@dataclass
class Side:
    """One way to carry the request.

    Attributes:
        name: Shown in the table.
        ask: Carries one request and checks the answer.
        servers: Processes other than the client that work for it.
    """

    name: str
    ask: Callable[[], None]
    servers: list[psutil.Process]
    latencies: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    client_cpu: list[float] = field(default_factory=list)
    server_cpu: list[float] = field(default_factory=list)

    def used(self) -> float:
        """Return the CPU seconds of the servers so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self.servers)


def check(status: int, body: bytes) -> None:
    """Check that the echo's answer came back."""
    if status != 200 or b'"echo"' not in body:
        raise SystemExit(f"an answer is wrong: {status} {body[:200]!r}")


def mitai_raw(url: str, policy: TrustPolicy, token: str, *, padded: bool = True) -> Callable[[], None]:
    """Carry requests as `EnclaveClient` does."""
    session = Session(url, policy, gate=ThreadGate())
    sender = Sender(session, RawWire(session.url), token=token, padding=PADDED if padded else UNPADDED)
    plain = PlainRequest(b"POST", PATH.encode(), JSON, BODY)

    def ask() -> None:
        answer = run_now(sender.send(plain, timeouts=TIMEOUTS))
        body = run_now(answer.read_all())
        run_now(answer.close())
        check(answer.status, body)

    return ask


def library(client: httpx2.Client | httpx.Client) -> Callable[[], None]:
    """Carry requests through an HTTP library."""

    def ask() -> None:
        response = client.post(PATH, content=BODY, headers={"content-type": "application/json"})
        check(response.status_code, response.content)

    return ask


def plain_raw(url: str) -> Callable[[], None]:
    """Carry requests in the clear to whatever listens at `url`, over the same sockets as `mitai_raw`."""
    wire = RawWire(url)
    request = OuterRequest("POST", PATH, (("content-type", "application/json"),), BODY, TIMEOUTS)

    def ask() -> None:
        answer = run_now(wire.send(request))
        pieces = []
        while piece := run_now(answer.read()):
            pieces.append(piece)
        run_now(answer.close())
        check(answer.status, b"".join(pieces))

    return ask


def free_port() -> int:
    """Return a port of loopback that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def running(command: list[str]) -> Iterator[psutil.Process]:
    """Run a program until the block ends."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int) -> None:
    """Wait until something listens."""
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"nothing listens on port {port}")


@contextmanager
def tng(backend: int) -> Iterator[tuple[str, list[psutil.Process]]]:
    """Run both ends of TNG before `backend`; give the address of the near end."""
    near, far = free_port(), free_port()
    binary = str(Path(sys.executable).parent / "tng")

    def end(name: str, listen: int, out: int) -> list[str]:
        mapping = {"in": {"host": "127.0.0.1", "port": listen}, "out": {"host": "127.0.0.1", "port": out}}
        config = {name: [{"mapping": mapping, "ohttp": {}, "no_ra": True}]}
        return [binary, "launch", "--config-content", json.dumps(config)]

    with running(end("add_egress", far, backend)) as egress:
        wait_for(far)
        with running(end("add_ingress", near, far)) as ingress:
            wait_for(near)
            yield f"http://127.0.0.1:{near}", [egress, ingress]


def with_suite(policy: TrustPolicy, suite: KeySuite) -> TrustPolicy:
    """Return the policy for one key suite."""
    return replace(policy, suites=(suite,))


def one_at_a_time(side: Side, requests: int) -> None:
    """Note the latency of each request, one in flight."""
    for _ in range(requests):
        began = time.perf_counter()
        side.ask()
        side.latencies.append(time.perf_counter() - began)


def at_once(side: Side, requests: int, in_flight: int) -> None:
    """Note requests a second and CPU a request, many in flight."""
    left = iter(range(requests))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                if next(left, None) is None:
                    return
            side.ask()

    threads = [threading.Thread(target=work) for _ in range(in_flight)]
    own, theirs, began = time.process_time(), side.used(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    side.rates.append(requests / seconds)
    side.client_cpu.append((time.process_time() - own) / requests)
    side.server_cpu.append((side.used() - theirs) / requests)


@contextmanager
def stage(socket_path: Path, *, workers: int = 1) -> Iterator[tuple[EchoStage, TrustPolicy, list[psutil.Process]]]:
    """Run a sidecar before the echo."""
    with EchoStage(HERE / "echo.py", upstream=socket_path, workers=workers) as running_stage:
        policy = running_stage.reference_policy()
        running_stage.start()
        running_stage.wait_ready()
        launcher = psutil.Process(running_stage.process_id)
        yield running_stage, policy, [launcher, *launcher.children(recursive=True)]


@contextmanager
def echo() -> Iterator[tuple[Path, int]]:
    """Run the echo; give its socket and its port."""
    with tempfile.TemporaryDirectory() as folder:
        path, port = Path(folder, "echo.sock"), free_port()
        with running([sys.executable, str(HERE / "echo.py"), str(path), str(port)]):
            wait_for(port)
            yield path, port


def main() -> None:
    """Start everything, measure in turn, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--requests", type=int, default=160, help="a round and side")
    parser.add_argument("--in-flight", type=int, default=16)
    options = parser.parse_args()
    with ExitStack() as stack:
        path, port = stack.enter_context(echo())
        near, ends = stack.enter_context(tng(port))
        running_stage, policy, servers = stack.enter_context(stage(path))
        url, token = running_stage.url, running_stage.token
        hybrid, classical = (with_suite(policy, suite) for suite in (KeySuite.MLKEM768_X25519, KeySuite.X25519))
        base = "https://mitai.invalid"
        clients = [
            stack.enter_context(
                httpx2.Client(base_url=base, transport=SealedTransport(url, policy=hybrid, token=token))
            ),
            stack.enter_context(
                httpx.Client(base_url=base, transport=HttpxSealedTransport(url, policy=hybrid, token=token))
            ),
        ]
        sides = [
            Side("TNG 2.12 (X25519, no padding)", plain_raw(near), ends),
            Side("Mitai, MLKEM768-X25519", mitai_raw(url, hybrid, token), servers),
            Side("Mitai, X25519", mitai_raw(url, classical, token), servers),
            Side("Mitai, X25519, no padding", mitai_raw(url, classical, token, padded=False), servers),
            Side("Mitai through httpx2", library(clients[0]), servers),
            Side("Mitai through httpx", library(clients[1]), servers),
            Side("echo without any channel", plain_raw(f"http://127.0.0.1:{port}"), []),
        ]
        for side in sides:
            one_at_a_time(side, 30)
            side.latencies.clear()
        for round_number in range(options.rounds):
            for side in sides[round_number % len(sides) :] + sides[: round_number % len(sides)]:
                one_at_a_time(side, options.requests // 2)
                at_once(side, options.requests, options.in_flight)
    print_table(Console(width=150), sides, options.in_flight)


def print_table(console: Console, sides: list[Side], in_flight: int) -> None:
    """Print medians, ratios to the first side, and the bars of the design."""
    table = Table(title=f"The channel against TNG, 6 KB request, echo engine · {machine()}", title_justify="left")
    columns = (
        "side", "latency ms", "× TNG", f"requests/s, {in_flight} in flight", "× TNG", "CPU µs client", "CPU µs servers",
    )  # fmt: skip
    for column in columns:
        table.add_column(column, justify="left" if column == "side" else "right")
    median = statistics.median
    reference = sides[0]
    for side in sides:
        table.add_row(
            side.name,
            f"{median(side.latencies) * 1e3:.2f}",
            f"{median(side.latencies) / median(reference.latencies):.2f}",
            f"{median(side.rates):.0f}",
            f"{median(a / b for a, b in zip(side.rates, reference.rates, strict=True)):.2f}",
            f"{median(side.client_cpu) * 1e6:.0f}",
            f"{median(side.server_cpu) * 1e6:.0f}",
        )
    console.print(table)
    console.print("bars: latency ≤ 1.00; requests/s ≥ 0.60 with MLKEM768-X25519, ≥ 0.75 with X25519, padding on")
    console.print(f"principal {PRINCIPAL}; client and servers share {psutil.cpu_count()} cores with the echo")


if __name__ == "__main__":
    main()
