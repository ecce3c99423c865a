from __future__ import annotations

from mitai_enclave.metrics import BUCKETS, Metrics, Outcome
from mitai_enclave.routes import RouteClass


def test_figures_show_after_the_next_refresh_only() -> None:
    metrics = Metrics()
    before = metrics.text
    metrics.count(Outcome.OK, RouteClass.CHAT)
    metrics.observe_handover(0.001)
    assert metrics.text == before
    metrics.refresh()
    text = metrics.text.decode()
    assert 'mitai_requests_total{outcome="ok",route="chat"} 1' in text
    assert 'mitai_handover_seconds_bucket{le="0.5"} 1' in text
    assert "mitai_handover_seconds_count 1" in text


def test_buckets_are_cumulative_and_few() -> None:
    metrics = Metrics()
    for seconds in (0.05, 0.7, 100.0):
        metrics.observe_handover(seconds)
    metrics.refresh()
    text = metrics.text.decode()
    assert 'le="1.0"} 2' in text
    assert 'le="+Inf"} 3' in text
    assert len(BUCKETS) + 1 <= 8


def test_threat_48_nothing_but_outcomes_and_route_classes_is_named() -> None:
    names = {line.split("{")[0].split(" ")[0] for line in Metrics().text.decode().splitlines() if line[0] != "#"}
    assert names == {"mitai_requests_total", "mitai_handover_seconds_bucket", "mitai_handover_seconds_count"}


def test_threat_48_no_bucket_is_as_short_as_the_work_on_a_request() -> None:
    assert min(BUCKETS) >= 0.5, "a finer one would tell long requests from short ones"
