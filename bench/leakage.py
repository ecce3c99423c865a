"""Measure what the wire tells: topic and number of passages guessed from sizes and from times, padding off and on.

440 recorded answers of a real model through the real client and sidecar; logistic regression and gradient
boosting, five folds. Sizes have bars and are asserted in `tests/e2e/test_leakage.py`; times have none, for padding
does not hide them.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from machine import machine
from mitai.padding import PADDED, UNPADDED, Padding

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.leakage import area_and_interval, size_features, time_features
from support.replay import load_traces, replay

SETTINGS = {"off": UNPADDED, "on": PADDED, "on, cadence 50 ms": Padding(cadence=50)}
CLASSIFIERS = {
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)),
    "gradient boosting": HistGradientBoostingClassifier(max_iter=100, random_state=7),
}


def main() -> None:
    """Replay, guess, print the table."""
    traces = load_traces()
    labels = {
        "topic": np.array([trace.topic == traces[0].topic for trace in traces]),
        "passages > 10": np.array([trace.passages > 10 for trace in traces]),
    }
    table = Table(title=f"Area under the curve and its 95 % interval · {machine()}", title_justify="left")
    for column in ("padding", "from", "guessed", *CLASSIFIERS):
        table.add_column(column)
    for name, padding in SETTINGS.items():
        seen = asyncio.run(replay(traces, padding))
        for kind, features in (("sizes", size_features(seen)), ("times", time_features(seen))):
            for guessed, truth in labels.items():
                cells = []
                for classifier in CLASSIFIERS.values():
                    area, low, high = area_and_interval(classifier, features, truth)
                    cells.append(f"{area:.2f} ({low:.2f}–{high:.2f})")
                table.add_row(name, kind, guessed, *cells)
    Console(width=120).print(table)
    print(f"{len(traces)} answers; bars for sizes: off, lower bound ≥ 0.80; on, upper bound ≤ 0.60")


if __name__ == "__main__":
    main()
