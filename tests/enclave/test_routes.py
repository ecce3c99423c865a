from __future__ import annotations

import pytest

from mitai_enclave.errors import RequestRefused
from mitai_enclave.routes import RouteClass, find_route


def test_exactly_four_routes_exist() -> None:
    served = {
        (b"POST", b"/v1/chat/completions"): RouteClass.CHAT,
        (b"POST", b"/v1/completions"): RouteClass.COMPLETIONS,
        (b"POST", b"/v1/embeddings"): RouteClass.EMBEDDINGS,
        (b"GET", b"/v1/models"): RouteClass.MODELS,
    }
    for (method, path), kind in served.items():
        assert find_route(method, path).kind is kind


@pytest.mark.parametrize(
    "path",
    [
        b"/", b"/metrics", b"/tokenize", b"/detokenize", b"/v1/responses", b"/v1/responses/1", b"/collective_rpc",
        b"/v1/load_lora_adapter", b"/v1/unload_lora_adapter", b"/reset_prefix_cache", b"/sleep", b"/server_info",
        b"/pooling", b"/invocations", b"/health", b"/version", b"/v1/audio/transcriptions", b"/v1/models/x",
        b"/v1/chat/completions/", b"/v1/chat/completions?x=1", b"//v1/chat/completions", b"/v1/../metrics",
        b"/V1/chat/completions", b"/v1/chat%2fcompletions", b"",
    ],
)  # fmt: skip
def test_threat_44_every_other_route_is_refused(path: bytes) -> None:
    with pytest.raises(RequestRefused) as caught:
        find_route(b"POST", path)
    assert (caught.value.status, caught.value.code) == (404, "unknown_url")


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"DELETE", b"post", b"OPTIONS", b"CONNECT"])
def test_another_method_is_refused(method: bytes) -> None:
    with pytest.raises(RequestRefused) as caught:
        find_route(method, b"/v1/chat/completions")
    assert (caught.value.status, caught.value.code) == (405, "method_not_allowed")
