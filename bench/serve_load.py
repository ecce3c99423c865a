"""Measure serving under load: vLLM's own benchmark client against `mitai serve` and against vLLM directly, in turn.

It is what `vllm bench serve` does, run as a module. Each run draws new prompts, so that the prefix cache helps
neither side. vLLM listens on a Unix socket only; bytes pass to it through a relay on loopback, which is part of the
direct side. `--socket PATH --served-name NAME` measures an engine that runs already. Run it with
`python bench/serve_load.py --rounds 4`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from machine import machine
from mitai.cli.demo.stage import SERVED_NAME, Stage, write_private
from mitai.models import locate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

os.environ["HF_HUB_OFFLINE"] = "1"  # the tokenizer lies beside the model
FIGURES = (
    ("time to first token, ms (median)", "median_ttft_ms", None),
    ("time per output token, ms (median)", "median_tpot_ms", None),
    ("requests/s", "request_throughput", None),
    ("output tokens/s", "output_throughput", 0.98),
)


@dataclass
class EngineStage(Stage):
    """A simulated TEE whose sidecar stands before an engine that runs already.

    Attributes:
        upstream: The engine's socket.
        served: The name of its model.
    """

    upstream: Path = Path()
    served: str = ""

    def _enclave(self, verb: str) -> list[str]:
        return [
            "mitai-enclave", verb,
            "--upstream", f"unix:{self.upstream}",
            "--served-name", self.served,
            "--tee", "simulated",
            "--tokens", str(self.tokens_file),
            "--port", "0",
            "--runtime-dir", str(self.runtime),
        ]  # fmt: skip


@dataclass
class Side:
    """One way to the engine.

    Attributes:
        name: Shown in the table.
        url: What the benchmark client is given.
        results: What it reported, run by run.
    """

    name: str
    url: str
    results: list[dict[str, float]] = field(default_factory=list)


@contextmanager
def relay(path: Path) -> Iterator[str]:
    """Pass bytes between a port of loopback and the engine's socket until the block ends; give the URL."""
    loop = asyncio.new_event_loop()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        engine_reader, engine_writer = await asyncio.open_unix_connection(str(path))
        await asyncio.gather(copy(reader, engine_writer), copy(engine_reader, writer))

    server = loop.run_until_complete(asyncio.start_server(accept, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@contextmanager
def endpoint(stage: Stage, policy: str) -> Iterator[str]:
    """Run `mitai serve` until the block ends; give the URL."""
    write_private(stage.folder / "policy.toml", policy)
    command = [
        str(Path(sys.executable).with_name("mitai")), "serve",
        "--enclave", stage.url,
        "--policy", str(stage.folder / "policy.toml"),
        "--token-file", str(stage.folder / "token"),
        "--no-token", "--port", "0", "--json",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        line = "" if process.stdout is None else process.stdout.readline()
        if not line or json.loads(line).get("event") != "ready":
            raise SystemExit(f"mitai serve did not start: {line}")
        yield str(json.loads(line)["url"])
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def make_client(options: argparse.Namespace, model: Path, served: str) -> Callable[[str, int], dict[str, float]]:
    """Return vLLM's benchmark client: it loads one URL with prompts of one seed and reports figures."""
    from vllm.benchmarks.serve import add_cli_args, main  # noqa: PLC0415 - seconds, and only a run needs it
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: PLC0415 - the same

    parser = FlexibleArgumentParser()
    add_cli_args(parser)

    def load(url: str, seed: int) -> dict[str, float]:
        arguments = parser.parse_args(
            [
                "--backend", "openai-chat", "--endpoint", "/v1/chat/completions", "--base-url", url,
                "--model", served, "--served-model-name", served, "--tokenizer", str(model),
                "--dataset-name", "random", "--seed", str(seed),
                "--random-input-len", str(options.input_len), "--random-output-len", str(options.output_len),
                "--num-prompts", str(options.prompts), "--max-concurrency", str(options.concurrency),
                "--temperature", "0", "--disable-tqdm", "--ready-check-timeout-sec", "0",
            ]
        )  # fmt: skip
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            result = main(arguments)
        if result["failed"] or result["completed"] != options.prompts:
            raise SystemExit(f"{result['failed']} requests to {url} failed:\n{shown.getvalue()[-2000:]}")
        return {name: float(result[name]) for _, name, _ in FIGURES}

    return load


def print_table(console: Console, direct: Side, sealed: Side, options: argparse.Namespace) -> None:
    """Print medians side by side, ratios round by round, and the bar."""
    load = f"{options.prompts} requests a run, {options.concurrency} in flight"
    table = Table(title=f"mitai serve against vLLM, {load} · {machine()}", title_justify="left")
    for column in ("figure", direct.name, sealed.name, "sealed / direct", "bar", "met"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for title, name, bar in FIGURES:
        pairs = [(a[name], b[name]) for a, b in zip(direct.results, sealed.results, strict=True)]
        ratio = statistics.median(b / a if a else float("nan") for a, b in pairs)
        table.add_row(
            title,
            f"{statistics.median(a for a, _ in pairs):.1f}",
            f"{statistics.median(b for _, b in pairs):.1f}",
            f"{ratio:.3f}×",
            "–" if bar is None else f"≥ {bar}×",
            "–" if bar is None else "yes" if ratio >= bar else "no",
        )
    console.print(table)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--prompts", type=int, default=32, help="requests a run")
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--input-len", type=int, default=128, help="tokens")
    parser.add_argument("--output-len", type=int, default=48, help="tokens")
    parser.add_argument("--socket", type=Path, help="an engine that runs already; default: start vLLM")
    parser.add_argument("--served-name", default=SERVED_NAME)
    return parser.parse_args()


def main() -> None:
    """Start what is needed, load both sides in turn, print the table."""
    options = parse_options()
    model = locate("SmolLM2-135M-Instruct")
    client = make_client(options, model, options.served_name)
    with ExitStack() as running:
        stage = (
            Stage(model)
            if options.socket is None
            else EngineStage(model, upstream=options.socket, served=options.served_name)
        )
        running.enter_context(stage)
        policy = stage.reference_policy().encode()
        stage.start()
        stage.wait_ready()
        engine = options.socket or next(stage.runtime.rglob("*.sock"))
        direct = Side("vLLM directly", running.enter_context(relay(engine)))
        sealed = Side("mitai serve", running.enter_context(endpoint(stage, policy)))
        for number, side in enumerate((direct, sealed)):
            client(side.url, 900 + number)  # warm both paths
        for number in range(options.rounds):
            for side in (direct, sealed) if number % 2 else (sealed, direct):
                side.results.append(client(side.url, 1000 + 2 * number + (side is sealed)))
    print_table(Console(width=120), direct, sealed, options)


if __name__ == "__main__":
    main()
