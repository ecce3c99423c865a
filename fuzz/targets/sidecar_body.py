"""JSON bodies of opened requests, as the sidecar checks them and writes them for the engine."""

from __future__ import annotations

import json

from target import Target

from mitai_enclave.body import parse_body, write_body
from mitai_enclave.errors import RequestRefused
from mitai_enclave.routes import find_route

ROUTES = tuple(find_route(b"POST", path) for path in (b"/v1/chat/completions", b"/v1/completions", b"/v1/embeddings"))


def read(data: bytes) -> None:
    """Check a body for the route that the first byte names; what goes on holds our salt and listed fields only."""
    route = ROUTES[data[0] % len(ROUTES)] if data else ROUTES[0]
    body = parse_body(route, data[1:], max_bytes=1 << 20, model="m")
    forwarded = json.loads(write_body(body, "salt"))
    assert forwarded["cache_salt"] == "salt"
    assert forwarded.keys() <= route.fields | {"cache_salt", "stream_options"}


def seeds() -> list[bytes]:
    """Return bodies of each route."""
    chat = (
        '{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"密態"}]}],"stream":true,'
        '"stream_options":{"include_usage":true},"n":2,"response_format":{"type":"json_object"}}'
    )
    return [
        b"\0" + chat.encode(),
        b"\0" + b'{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}',
        b"\1" + b'{"model":"m","prompt":["a",[1,2]],"temperature":0.5}',
        b"\2" + b'{"model":"m","input":[[1,2],[3]],"encoding_format":"base64"}',
    ]


TARGET = Target(read, RequestRefused, seeds, factor=200)
