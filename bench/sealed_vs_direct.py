"""Measure the sealed channel against vLLM directly: streaming chat, same engine, same prompts, in turn.

Two figures: time to the first token, and tokens a second. Each prompt starts differently,
so that the prefix cache helps neither side.
Run it with `make bench`, or `python bench/sealed_vs_direct.py --pairs 20 --concurrency 4`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx2
from rich.console import Console
from rich.table import Table

from machine import machine
from mitai import SealedTransport
from mitai.cli.demo.stage import SERVED_NAME, Stage
from mitai.models import locate

if TYPE_CHECKING:
    from collections.abc import Callable

FILLER = (
    "The quarterly report of the instruments division lists orders, repairs, returns and the stock of spare parts. " * 6
)


@dataclass(frozen=True)
class Sample:
    """One streamed answer: seconds to the first token, seconds in all, tokens."""

    first: float
    total: float
    tokens: int


def ask(client: httpx2.Client, number: int, max_tokens: int) -> Sample:
    """Stream one answer and time it."""
    body = {
        "model": SERVED_NAME,
        "messages": [
            {"role": "user", "content": f"Report {number * 7919}. {FILLER} Continue this report in plain sentences."}
        ],
        "max_tokens": max_tokens,
        "min_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    start = time.perf_counter()
    first, tokens = 0.0, 0
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[6:])
            if event["choices"] and event["choices"][0]["delta"].get("content") and not first:
                first = time.perf_counter() - start
            if event.get("usage"):
                tokens = event["usage"]["completion_tokens"]
    return Sample(first, time.perf_counter() - start, tokens)


def in_turn(
    direct: httpx2.Client, sealed: httpx2.Client, pairs: int, max_tokens: int
) -> tuple[list[Sample], list[Sample]]:
    """Ask both sides in turn, first one first, then the other first."""
    results: tuple[list[Sample], list[Sample]] = ([], [])
    for pair in range(pairs):
        order = (0, 1) if pair % 2 else (1, 0)
        for side in order:
            results[side].append(ask((direct, sealed)[side], 2 * pair + side, max_tokens))
    return results


def at_once(ask_one: Callable[[int], Sample], requests: int, concurrency: int) -> float:
    """Return tokens a second over `requests` answers with `concurrency` in flight."""
    start = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        samples = list(pool.map(ask_one, range(requests)))
    return sum(sample.tokens for sample in samples) / (time.perf_counter() - start)


def main() -> None:
    """Start the engine, measure, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=48)
    options = parser.parse_args()
    console = Console(width=110)
    with Stage(locate("SmolLM2-135M-Instruct")) as stage:
        policy = stage.reference_policy()
        stage.start()
        stage.wait_ready()
        socket = next(stage.runtime.rglob("*.sock"))
        timeout = httpx2.Timeout(300)
        with (
            httpx2.Client(
                base_url="http://engine", transport=httpx2.HTTPTransport(uds=str(socket)), timeout=timeout
            ) as direct,
            httpx2.Client(
                base_url="https://mitai.invalid",
                transport=SealedTransport(stage.url, policy=policy, token=stage.token),
                timeout=timeout,
            ) as sealed,
        ):
            for client in (direct, sealed):
                ask(client, 999, 8)  # warm both paths
            one = in_turn(direct, sealed, options.pairs, options.max_tokens)
            rates = []
            for round_number in range(options.rounds):
                base = 10_000 * (round_number + 1)
                order = ((direct, 0), (sealed, 5_000)) if round_number % 2 else ((sealed, 5_000), (direct, 0))
                rate = {
                    id(client): at_once(
                        lambda n, c=client, o=offset, b=base: ask(c, b + o + n, options.max_tokens),
                        2 * options.concurrency,
                        options.concurrency,
                    )
                    for client, offset in order
                }
                rates.append((rate[id(direct)], rate[id(sealed)]))
    print_tables(console, one, rates, options.concurrency)


def print_tables(
    console: Console, one: tuple[list[Sample], list[Sample]], rates: list[tuple[float, float]], concurrency: int
) -> None:
    """Print medians side by side, ratios pair by pair, and the bars of the design."""
    direct, sealed = one
    median = statistics.median
    added = median(b.first - a.first for a, b in zip(direct, sealed, strict=True)) * 1e3
    single = median((b.tokens / b.total) / (a.tokens / a.total) for a, b in zip(direct, sealed, strict=True))
    many = median(b / a for a, b in rates)
    table = Table(title=f"Sealed against direct, streaming chat · {machine()}", title_justify="left")
    for column in ("figure", "direct vLLM", "sealed", "sealed / direct", "bar", "met"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    table.add_row(
        "time to first token, ms (median)",
        f"{median(s.first for s in direct) * 1e3:.1f}",
        f"{median(s.first for s in sealed) * 1e3:.1f}",
        f"{added:+.1f} ms",
        "≤ +5 ms",
        "yes" if added <= 5 else "no",
    )
    table.add_row(
        "tokens/s, 1 in flight",
        f"{median(s.tokens / s.total for s in direct):.1f}",
        f"{median(s.tokens / s.total for s in sealed):.1f}",
        f"{single:.3f}×",
        "≥ 0.98×",
        "yes" if single >= 0.98 else "no",
    )
    table.add_row(
        f"tokens/s, {concurrency} in flight",
        f"{median(a for a, _ in rates):.1f}",
        f"{median(b for _, b in rates):.1f}",
        f"{many:.3f}×",
        "≥ 0.98×",
        "yes" if many >= 0.98 else "no",
    )
    console.print(table)
    spread = statistics.quantiles([(b.first - a.first) * 1e3 for a, b in zip(direct, sealed, strict=True)], n=4)
    console.print(
        f"added time to first token, quartiles over {len(direct)} pairs: {', '.join(f'{q:+.1f}' for q in spread)} ms"
    )


if __name__ == "__main__":
    main()
