"""How well do sizes, or times, tell two kinds of exchanges apart? Features, and the area under the curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sklearn.base import ClassifierMixin

    from support.replay import Observed

_SEED = 20_261_124
_RESAMPLES = 1000
_SEQUENCE = 64
_BINS = np.arange(0, 1025, 8)


def size_features(observed: Sequence[Observed]) -> np.ndarray:
    """Return a row an exchange: sizes and counts in both directions, summed up, as a histogram and in order."""
    return np.array([_sizes(one) for one in observed], dtype=float)


def time_features(observed: Sequence[Observed]) -> np.ndarray:
    """Return a row an exchange: times between pieces, summed up and in order."""
    return np.array([_times(one) for one in observed], dtype=float)


def _sizes(one: Observed) -> list[float]:
    chunks = np.array(one.chunks, dtype=float)
    body = chunks[1:-1]  # between head and end
    summed = [
        one.sent,
        len(chunks),
        chunks.sum(),
        chunks[0],
        chunks[-1],
        body.mean(),
        body.std(),
        body.max(),
        body.min(),
    ]
    return [*summed, *np.histogram(body, _BINS)[0], *_in_order(body)]


def _times(one: Observed) -> list[float]:
    gaps = np.diff(np.array(one.times, dtype=float))
    return [len(gaps), one.times[-1], gaps.mean(), gaps.std(), gaps.max(), *_in_order(gaps)]


def _in_order(values: np.ndarray) -> list[float]:
    return [*values[:_SEQUENCE], *[0.0] * (_SEQUENCE - len(values))]


def area_and_interval(
    classifier: ClassifierMixin, features: np.ndarray, labels: np.ndarray
) -> tuple[float, float, float]:
    """Return the area under the curve over five folds and its 95 % interval (bootstrap over exchanges)."""
    folds = StratifiedKFold(5, shuffle=True, random_state=_SEED)
    guesses = cross_val_predict(classifier, features, labels, cv=folds, method="predict_proba")[:, 1]
    source = np.random.default_rng(_SEED)
    areas = []
    for _ in range(_RESAMPLES):
        drawn = source.integers(0, len(labels), len(labels))
        if len(set(labels[drawn])) == 2:
            areas.append(roc_auc_score(labels[drawn], guesses[drawn]))
    low, high = np.quantile(areas, (0.025, 0.975))
    return float(roc_auc_score(labels, guesses)), float(low), float(high)
