"""What may a tracer of the operator see of a request? When it came, was opened, handed over and ended, and how.

Off unless `--otlp` names a collector in the same TEE. A span has no size, token, principal, key or text, and the
process has no other exporter: variables and proxies of the environment decide nothing (`docs/spec/http.md` §9).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Protocol

from mitai_enclave.address import LoopbackAddress, parse_upstream
from mitai_enclave.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

    from mitai_enclave.metrics import Outcome
    from mitai_enclave.routes import RouteClass

SPAN_NAME: Final = "mitai.request"
OPENED: Final = "opened"
HANDED_OVER: Final = "handed_over"
OUTCOME: Final = "mitai.outcome"
ROUTE: Final = "mitai.route"
_SERVICE: Final = "mitai-enclave"
_EXPORT_SECONDS: Final = 5
_EXTRA: Final = 'Install it: pip install "mitai[otel]", or leave --otlp away.'


class RequestTrace(Protocol):
    """The trace of one request."""

    def mark(self, event: str) -> None:
        """Note that the request reached `OPENED` or `HANDED_OVER`."""

    def end(self, outcome: Outcome, route: RouteClass) -> None:
        """Note how it ended."""


class Tracing(Protocol):
    """Where traces go."""

    def begin(self) -> RequestTrace:
        """Start the trace of a request that just came."""

    def close(self) -> None:
        """Send what is left; wait for at most a few seconds."""


class NoTracing:
    """No traces: the default."""

    def begin(self) -> NoTracing:
        """Return itself."""
        return self

    def mark(self, event: str) -> None:
        """Forget it."""

    def end(self, outcome: Outcome, route: RouteClass) -> None:
        """Forget it."""

    def close(self) -> None:
        """Do nothing."""


class SpanTracing:
    """One OpenTelemetry span a request.

    Args:
        exporter: Gets the spans, in batches, in a thread.

    Raises:
        ConfigurationError: OpenTelemetry is not installed.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        try:
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - the same
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - the same
            from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415 - the same
        except ImportError as error:
            raise ConfigurationError("OpenTelemetry is not installed.", hint=_EXTRA) from error
        resource = Resource({"service.name": _SERVICE})
        self._provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(_SERVICE)

    def begin(self) -> _Span:
        """Start a span."""
        return _Span(self._tracer.start_span(SPAN_NAME))

    def close(self) -> None:
        """Flush and stop the exporter's thread."""
        self._provider.force_flush(_EXPORT_SECONDS * 1000)
        self._provider.shutdown()


class _Span:
    def __init__(self, span: Span) -> None:
        self._span = span

    def mark(self, event: str) -> None:
        if event not in {OPENED, HANDED_OVER}:
            raise ValueError(f"not an event of a trace: {event}")
        self._span.add_event(event)

    def end(self, outcome: Outcome, route: RouteClass) -> None:
        self._span.set_attributes({OUTCOME: outcome.value, ROUTE: route.value})
        self._span.end()


def open_tracing(otlp: str | None) -> Tracing:
    """Return where traces go.

    Args:
        otlp: Value of `--otlp`: an OTLP/HTTP collector on a loopback literal, or None for no traces.

    Raises:
        ConfigurationError: It is elsewhere, OpenTelemetry is not installed, or its variables are set.
    """
    if otlp is None:
        return NoTracing()
    address = parse_collector(otlp)
    if names := sorted(name for name in os.environ if name.startswith("OTEL_")):
        # The SDK would take another destination, headers or a credential provider from them.
        raise ConfigurationError(f"--otlp does not go with {', '.join(names)}.", hint="Unset these variables.")
    try:
        import requests  # noqa: PLC0415 - comes with the extra
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigurationError("OpenTelemetry is not installed.", hint=_EXTRA) from error
    session = requests.Session()
    session.max_redirects = 0  # a collector may not send spans on to elsewhere
    session.trust_env = False  # a proxy of the environment would be a door out of the TEE
    host = f"[{address.host}]" if ":" in address.host else address.host
    endpoint = f"http://{host}:{address.port}/v1/traces"
    return SpanTracing(OTLPSpanExporter(endpoint=endpoint, headers={}, timeout=_EXPORT_SECONDS, session=session))


def parse_collector(text: str) -> LoopbackAddress:
    """Parse the value of `--otlp`.

    Raises:
        ConfigurationError: It is no loopback literal.
    """
    try:
        address = parse_upstream(text)
    except ConfigurationError:
        address = None
    if not isinstance(address, LoopbackAddress):
        raise ConfigurationError(
            "--otlp is no loopback literal.",
            hint="Use http://127.0.0.1:PORT or http://[::1]:PORT: traces may not leave the TEE by themselves.",
        )
    return address
