from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mitai_crypto.labels import MEDIA_TYPE_REQUEST
from mitai_enclave.errors import ConfigurationError
from mitai_enclave.metrics import Outcome
from mitai_enclave.routes import RouteClass
from mitai_enclave.tracing import HANDED_OVER, OPENED, NoTracing, open_tracing, parse_collector
from support import canary
from support.sealed_client import TOKEN, chat_body, inner_request
from support.sidecar import running_sidecar
from support.upstream_simulator import UpstreamSimulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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


def test_a_span_says_how_a_request_went_and_nothing_else(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # where nothing listens: it must not be used
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


async def test_threat_16_traces_of_real_requests_hold_no_content(collector: Collector, tmp_path: Path) -> None:
    planted = ["Quillfeather-7731", "翡翠鲸鱼", "龍鬚檔案"]
    async with (
        UpstreamSimulator(tmp_path / "engine.sock") as engine,
        running_sidecar(engine, otlp=collector.url) as sidecar,
    ):
        for text in planted:
            await sidecar.ask(inner_request(chat_body(text, stream=True)))
        await sidecar.ask(inner_request(chat_body(planted[0]), token="wrong-token-5512"))
        await sidecar.client.post("/mitai/ohttp", content=b"x", headers={"content-type": MEDIA_TYPE_REQUEST})
    spans = [
        span for export in collector.exports() for part in export.resource_spans[0].scope_spans for span in part.spans
    ]
    outcomes = sorted(
        item.value.string_value for span in spans for item in span.attributes if item.key == "mitai.outcome"
    )
    assert outcomes == ["ok", "ok", "ok", "refused", "unopened"]
    assert {item.key for span in spans for item in span.attributes} == {"mitai.outcome", "mitai.route"}
    everything = b"".join(collector.bodies) + repr(collector.headers).encode()
    assert canary.find([*planted, TOKEN, "wrong-token-5512", "alice"], everything) == []
