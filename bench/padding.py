"""Measure what padding costs: bytes of a request, bytes and time of a token, on recorded answers of a real model.

The engine is a simulator that says what the model said, one token each 30 ms; client and sidecar are the real ones.
Run it with `make bench`, or `python bench/padding.py --answers 12`.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from machine import machine
from mitai.padding import PADDED, UNPADDED, Padding

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.replay import Observed, load_traces, replay

TOKEN_SECONDS = 0.03
SETTINGS = {"off": UNPADDED, "on (default)": PADDED, "on, cadence 50 ms": Padding(cadence=50)}


def main() -> None:
    """Replay the same answers under each setting, in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=12)
    options = parser.parse_args()
    traces = load_traces(options.answers)
    seen: dict[str, list[Observed]] = {
        name: asyncio.run(replay(traces, padding, in_flight=1, pause=TOKEN_SECONDS))
        for name, padding in SETTINGS.items()
    }
    tokens = len(traces[0].pieces)
    table = Table(title=f"What padding costs · {machine()}", title_justify="left")
    for column in (
        "padding",
        "request, bytes",
        "answer, bytes a token",
        "× off",
        "first token, ms",
        "added ms a token",
    ):
        table.add_column(column, justify="left" if column == "padding" else "right")
    median = statistics.median
    base_bytes = median(sum(one.chunks) for one in seen["off"])
    base_end = [one.times[-1] for one in seen["off"]]
    for name, found in seen.items():
        carried = median(sum(one.chunks) for one in found)
        added = median(one.times[-1] - end for one, end in zip(found, base_end, strict=True)) / tokens
        requests = {one.sent for one in found}
        sizes = f"{min(requests):,}" if len(requests) == 1 else f"{min(requests):,}–{max(requests):,}"
        table.add_row(
            name,
            sizes,
            f"{carried / tokens:.0f}",
            f"{carried / base_bytes:.2f}",
            f"{median(one.times[1] for one in found) * 1e3:.1f}",
            f"{added * 1e3:+.2f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
