from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mitai_enclave.errors import ConfigurationError
from mitai_enclave.metrics import Outcome
from mitai_enclave.routes import RouteClass
from mitai_enclave.tracing import HANDED_OVER, OPENED, NoTracing, open_tracing, parse_collector

if TYPE_CHECKING:
    from collections.abc import Iterator


class Collector(http.server.ThreadingHTTPServer):
    """An OTLP/HTTP collector that keeps what it gets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def exports(self) -> list[ExportTraceServiceRequest]:
        return [ExportTraceServiceRequest.FromString(body) for body in self.bodies]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        self.server.headers.append(dict(self.headers))
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")


def test_a_span_says_how_a_request_went_and_nothing_else(collector: Collector) -> None:
    tracing = open_tracing(collector.url)
    trace = tracing.begin()
    trace.mark(OPENED)
    trace.mark(HANDED_OVER)
    trace.end(Outcome.OK, RouteClass.CHAT)
    tracing.close()
    (export,) = collector.exports()
    (resource,) = export.resource_spans
    assert [item.key for item in resource.resource.attributes] == ["service.name"]
    (span,) = resource.scope_spans[0].spans
    assert span.name == "mitai.request"
    assert [event.name for event in span.events] == [OPENED, HANDED_OVER]
    found = {item.key: item.value.string_value for item in span.attributes}
    assert found == {"mitai.outcome": "ok", "mitai.route": "chat"}


def test_an_event_of_another_name_is_a_mistake(collector: Collector) -> None:
    tracing = open_tracing(collector.url)
    trace = tracing.begin()
    with pytest.raises(ValueError, match="secret"):
        trace.mark("secret")
    tracing.close()
    assert collector.bodies == []


@pytest.mark.parametrize(
    "elsewhere", ["http://192.0.2.1:4318", "http://localhost:4318", "unix:/run/otlp.sock", "https://127.0.0.1:1", ""]
)
def test_threat_44_traces_may_go_to_a_loopback_literal_only(elsewhere: str) -> None:
    with pytest.raises(ConfigurationError, match="loopback"):
        parse_collector(elsewhere)
    with pytest.raises(ConfigurationError, match="loopback"):
        open_tracing(elsewhere)


@pytest.mark.parametrize(
    "name", ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER"]
)
def test_threat_44_a_variable_cannot_redirect_traces(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    with pytest.raises(ConfigurationError, match=name):
        open_tracing("http://127.0.0.1:4318")


def test_nothing_is_traced_by_default() -> None:
    assert isinstance(open_tracing(None), NoTracing)
