"""What is written down of one request: how it ended for the metrics, and its moments for a trace."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mitai_enclave.routes import RouteClass
from mitai_enclave.tracing import HANDED_OVER, OPENED

if TYPE_CHECKING:
    from mitai_enclave.metrics import Outcome
    from mitai_enclave.replica import Recorder
    from mitai_enclave.tracing import RequestTrace


class Account:
    """The account of one request: `opened`, `handed_over`, then `end`, the first two where it came so far.

    Args:
        metrics: Where counts go.
        trace: Where moments go.
    """

    def __init__(self, metrics: Recorder, trace: RequestTrace) -> None:
        self._metrics = metrics
        self._trace = trace
        self._opened = 0.0

    def opened(self) -> None:
        """Note that it opened: the sidecar's own work begins."""
        self._opened = time.perf_counter()
        self._trace.mark(OPENED)

    def handed_over(self) -> None:
        """Note that the engine gets it."""
        self._metrics.observe_handover(time.perf_counter() - self._opened)
        self._trace.mark(HANDED_OVER)

    def end(self, outcome: Outcome, route: RouteClass = RouteClass.OTHER) -> None:
        """Note how it ended."""
        self._metrics.count(outcome, route)
        self._trace.end(outcome, route)
