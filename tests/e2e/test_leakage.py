"""Do sizes tell what was talked about? Recorded answers of a real model, through the real client and sidecar.

Topic (row 17) and number of passages (row 18) are guessed from sizes and counts in both directions by two classifiers,
each trained and tested on five folds. A guess is no better than a coin where the area under the curve is 0.5.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mitai.padding import PADDED, UNPADDED
from mitai_crypto.labels import FINAL_CHUNK_BYTES, FRAME_BYTES
from support.leakage import area_and_interval, size_features
from support.replay import Observed, load_traces, replay

if TYPE_CHECKING:
    from support.replay import Trace

pytestmark = pytest.mark.xdist_group("leakage")
CLASSIFIERS = {
    "logistic": make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)),
    "boosting": HistGradientBoostingClassifier(max_iter=100, random_state=7),
}


@pytest.fixture(scope="module")
def traces() -> list[Trace]:
    found = load_traces()
    assert len(found) >= 400
    lengths = {len(trace.pieces) for trace in found}
    assert len(lengths) == 1, "answers are matched in length"
    return found


@pytest.fixture(scope="module")
def padded(traces: list[Trace]) -> list[Observed]:
    return asyncio.run(replay(traces, PADDED))


@pytest.fixture(scope="module")
def unpadded(traces: list[Trace]) -> list[Observed]:
    return asyncio.run(replay(traces, UNPADDED))


def topics(traces: list[Trace]) -> np.ndarray:
    return np.array([trace.topic == traces[0].topic for trace in traces])


def many_passages(traces: list[Trace]) -> np.ndarray:
    return np.array([trace.passages > 10 for trace in traces])


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_sizes_tell_the_topic_where_nothing_is_padded(traces: list[Trace], unpadded: list[Observed], name: str) -> None:
    area, low, _ = area_and_interval(CLASSIFIERS[name], size_features(unpadded), topics(traces))
    assert low >= 0.8, f"the attack must work for the defence to mean something: {area:.3f}"


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_threat_17_sizes_do_not_tell_the_topic(traces: list[Trace], padded: list[Observed], name: str) -> None:
    area, _, high = area_and_interval(CLASSIFIERS[name], size_features(padded), topics(traces))
    assert high <= 0.6, f"sizes tell the topic: {area:.3f}"


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_sizes_count_the_passages_where_nothing_is_padded(
    traces: list[Trace], unpadded: list[Observed], name: str
) -> None:
    _, low, _ = area_and_interval(CLASSIFIERS[name], size_features(unpadded), many_passages(traces))
    assert low >= 0.8


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_threat_18_sizes_do_not_count_the_passages(traces: list[Trace], padded: list[Observed], name: str) -> None:
    _, _, high = area_and_interval(CLASSIFIERS[name], size_features(padded), many_passages(traces))
    assert high <= 0.6


def test_threat_17_every_chunk_between_head_and_end_has_one_size(padded: list[Observed]) -> None:
    assert {size for one in padded for size in one.chunks[1:-2]} == {FRAME_BYTES}
    assert len({one.chunks[0] for one in padded}) == 1
    assert {sum(one.chunks[-2:]) for one in padded} == {1 + FINAL_CHUNK_BYTES}
    assert len({one.chunks[-1] for one in padded}) == 1  # the empty final chunk


def test_threat_18_one_setting_is_one_size(padded: list[Observed]) -> None:
    assert len({one.sent for one in padded}) == 1
