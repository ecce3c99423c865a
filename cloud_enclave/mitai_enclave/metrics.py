"""What may the operator count? Outcomes and the sidecar's own work, once a minute, and no request's size.

See `docs/spec/http.md` §9 for why each figure that is missing here would be an oracle.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from itertools import accumulate, product
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from mitai_enclave.routes import RouteClass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

REFRESH_SECONDS: Final = 60.0
# Upper bounds in seconds. On an idle core the lowest holds every request that passes the limits, so no size shows; on
# a busy one a request near `MAX_JSON_VALUES` may fall in the next.
BUCKETS: Final = (0.5, 1.0, 5.0, 10.0, 30.0)


class Outcome(StrEnum):
    """How a request ended.

    `ok` the engine's answer was sealed to its end; `refused` a sealed refusal; `replayed` a replay or known
    id; `unavailable` a sealed 503; `engine_error` the engine failed or answered with an error; `unopened` the
    constant 400; `rejected` another public refusal; `aborted` the client went away; `internal` our own fault.
    """

    OK = "ok"
    REFUSED = "refused"
    REPLAYED = "replayed"
    UNAVAILABLE = "unavailable"
    ENGINE_ERROR = "engine_error"
    UNOPENED = "unopened"
    REJECTED = "rejected"
    ABORTED = "aborted"
    INTERNAL = "internal"


class Metrics(Collector):
    """Counts requests, and shows the figures of the last `refresh`.

    A timer refreshes, never a scrape: whoever scrapes must not choose the moment of the snapshot. The library's own
    metric objects are not used: they add a sum and times of creation.
    """

    def __init__(self) -> None:
        self._requests: Counter[tuple[Outcome, RouteClass]] = Counter()
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self.text = generate_latest(self._registry)

    def count(self, outcome: Outcome, route: RouteClass = RouteClass.OTHER) -> None:
        """Count a finished request."""
        self._requests[outcome, route] += 1

    def observe_handover(self, seconds: float) -> None:
        """Count how long the sidecar worked on a request before the engine got it."""
        index = next((index for index, bound in enumerate(BUCKETS) if seconds <= bound), len(BUCKETS))
        self._buckets[index] += 1

    def refresh(self) -> None:
        """Take a new snapshot; `text` is the last one, in Prometheus' text format."""
        self.text = generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Give the registry today's figures."""
        requests = CounterMetricFamily("mitai_requests", "Finished requests.", labels=("outcome", "route"))
        for key in product(Outcome, RouteClass):
            requests.add_metric(key, self._requests[key])
        yield requests
        counts = list(accumulate(self._buckets))
        handover = HistogramMetricFamily(
            "mitai_handover_seconds",
            "The sidecar's own work before the engine gets a request.",
            buckets=[(str(bound), count) for bound, count in zip((*BUCKETS, "+Inf"), counts, strict=True)],
        )
        handover.add_sample("mitai_handover_seconds_count", {}, counts[-1])
        yield handover
