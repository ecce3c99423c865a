from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from mitai_enclave.salt import CacheSalt
from support.sealed_client import OTHER_TOKEN, chat_body, inner_request

if TYPE_CHECKING:
    from support.sidecar import Sidecar
    from support.upstream_simulator import UpstreamSimulator


def test_threat_19_principals_never_share_a_salt() -> None:
    salt = CacheSalt(bytes(32))
    assert salt.derive("alice", b"") != salt.derive("bob", b"")
    assert salt.derive("alice", b"") == salt.derive("alice", b"")


def test_threat_19_a_client_salt_narrows_and_cannot_reach_another_principal() -> None:
    salt = CacheSalt(bytes(32))
    narrowed = salt.derive("alice", b"x")
    assert narrowed not in {salt.derive("alice", b""), salt.derive("bob", b"x")}
    # Lengths are bound: what one principal calls itself cannot be another's name and salt.
    assert salt.derive("ab", b"c") != salt.derive("a", b"bc")


def test_a_salt_is_what_the_engine_takes_and_of_this_start_only() -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", CacheSalt().derive("alice", b"salt"))
    assert CacheSalt().derive("alice", b"") != CacheSalt().derive("alice", b"")
    assert "redacted" in repr(CacheSalt(b"k" * 32))
    with pytest.raises(ValueError, match="short"):
        CacheSalt(b"short")


async def test_threat_19_the_engine_gets_the_enclaves_salt_and_never_the_clients(
    sidecar: Sidecar, engine: UpstreamSimulator
) -> None:
    own = ((b"mitai-cache-salt", b"client-salt"),)
    for extra, token in (((), None), ((), OTHER_TOKEN), (own, None), ((), None)):
        request = inner_request(chat_body(), extra=extra, **({} if token is None else {"token": token}))
        assert (await sidecar.ask(request)).status == 200
    alice, bob, narrowed, again = (call.document["cache_salt"] for call in engine.calls)
    assert len({alice, bob, narrowed}) == 3
    assert alice == again
    assert all(b"client-salt" not in call.body for call in engine.calls)
    passed = await sidecar.ask(inner_request(chat_body(cache_salt="mine")))
    assert (passed.status, passed.code, passed.param) == (400, "unsupported_parameter", "cache_salt")
    long = await sidecar.ask(inner_request(extra=((b"mitai-cache-salt", b"x" * 257),)))
    assert (long.status, long.code) == (400, "invalid_header")


async def test_threat_19_two_principals_never_share_the_salt_of_embeddings(
    sidecar: Sidecar, engine: UpstreamSimulator
) -> None:
    body = json.dumps({"model": "simulated", "input": "密态"}).encode()
    for token in ({}, {"token": OTHER_TOKEN}, {}):
        assert (await sidecar.ask(inner_request(body, path="/v1/embeddings", **token))).status == 200
    alice, bob, again = (call.document["cache_salt"] for call in engine.calls)
    assert alice == again != bob
