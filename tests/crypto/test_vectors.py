"""One test per failure vector: the error is exactly the named one, and nothing more than allowed came out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mitai_crypto.bhttp import Content, ResponseDecoder, decode_request, decode_response
from mitai_crypto.errors import ChannelError
from mitai_crypto.ohttp import PlainRequestOpener, RequestOpener, parse_key_config
from support.failure_vectors import build
from support.sealed_exchange import FixedExchange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.ohttp_failures import FailureVector

VECTORS = Path(__file__).parent / "vectors"
STEPS = (1, 3, 1 << 20)


def vectors(group: str) -> list[object]:
    return [
        pytest.param(json.loads(path.read_text()), id=path.stem)
        for path in sorted((VECTORS / "failures" / group).glob("*.json"))
    ]


def pieces(data: bytes, step: int) -> Iterator[bytes]:
    return (data[start : start + step] for start in range(0, len(data), step))


def check(vector: FailureVector, run: Callable[[bytes, list[bytes]], object]) -> None:
    released: list[bytes] = []
    with pytest.raises(ChannelError) as failure:
        run(bytes.fromhex(vector["input"]), released)
    assert type(failure.value).__name__ == vector["error"]
    assert failure.value.hint
    assert hashlib.sha256(b"".join(released)).hexdigest() == vector["released_sha256"]


def test_the_files_are_what_the_generator_writes() -> None:
    on_disk = {
        path.relative_to(VECTORS).as_posix(): path.read_text(encoding="utf-8")
        for path in VECTORS.glob("failures/*/*.json")
    }
    assert on_disk == build()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("vector", vectors("request"))
def test_request(vector: FailureVector, step: int) -> None:
    here = FixedExchange("a")
    opener = RequestOpener({7: (here.config, here.gateway_key)}.get)

    def run(data: bytes, released: list[bytes]) -> None:
        for piece in pieces(data, step):
            opener.feed(piece)
        released.append(opener.close().plaintext)

    check(vector, run)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("vector", vectors("response"))
def test_response(vector: FailureVector, step: int) -> None:
    opener = FixedExchange("a").seal().opener

    def run(data: bytes, released: list[bytes]) -> None:
        released.extend(map(opener.feed, pieces(data, step)))  # keeps what came before an error
        released.append(opener.close())

    check(vector, run)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("vector", vectors("plain_request"))
def test_plain_request(vector: FailureVector, step: int) -> None:
    here = FixedExchange("a")
    opener = PlainRequestOpener({7: (here.config, here.gateway_key)}.get)

    def run(data: bytes, released: list[bytes]) -> None:
        for piece in pieces(data, step):
            opener.feed(piece)
        released.append(opener.close().plaintext)

    check(vector, run)


@pytest.mark.parametrize("vector", vectors("plain_response"))
def test_plain_response(vector: FailureVector) -> None:
    opener = FixedExchange("a").seal_plain().opener
    check(vector, lambda data, released: released.append(opener.open(data)))


@pytest.mark.parametrize("vector", vectors("bhttp_request"))
def test_bhttp_request(vector: FailureVector) -> None:
    check(vector, lambda data, _: decode_request(data))


@pytest.mark.parametrize("vector", vectors("bhttp_response"))
def test_bhttp_response_at_once(vector: FailureVector) -> None:
    with pytest.raises(ChannelError) as failure:
        decode_response(bytes.fromhex(vector["input"]))
    assert type(failure.value).__name__ == vector["error"]


@pytest.mark.parametrize("step", [5, 64, 1 << 20])
@pytest.mark.parametrize("vector", vectors("bhttp_response"))
def test_bhttp_response_streaming(vector: FailureVector, step: int) -> None:
    decoder = ResponseDecoder()

    def run(data: bytes, released: list[bytes]) -> None:
        for piece in pieces(data, step):
            released.extend(event.data for event in decoder.feed(piece) if isinstance(event, Content))
        decoder.close()

    check(vector, run)


@pytest.mark.parametrize("vector", vectors("key_config"))
def test_key_config(vector: FailureVector) -> None:
    check(vector, lambda data, _: parse_key_config(data))
