from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from mitai_crypto.labels import MEDIA_TYPE_PLAIN_REQUEST, MEDIA_TYPE_REQUEST
from mitai_crypto.ohttp import PlainRequestOpener, RequestOpener
from mitai_enclave import problems
from mitai_enclave.config import Limits
from mitai_enclave.errors import ClientGone
from mitai_enclave.intake import read_request, verify_envelope
from mitai_enclave.problems import Problem, PublicRefusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from mitai_enclave.asgi import Scope

TYPE = (b"content-type", MEDIA_TYPE_REQUEST.encode())
PLAIN = (b"content-type", MEDIA_TYPE_PLAIN_REQUEST.encode())


def scope(*headers: tuple[bytes, bytes], method: str = "POST") -> Scope:
    return {"type": "http", "method": method, "path": "/mitai/ohttp", "query_string": b"", "headers": headers}


def feeding(*messages: dict[str, object]) -> Callable[[], Awaitable[MutableMapping[str, object]]]:
    left = list(messages)

    async def receive() -> MutableMapping[str, object]:
        if not left:
            await asyncio.sleep(3600)
        return left.pop(0)

    return receive


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (scope(TYPE, method="GET"), problems.POST_ONLY),
        (scope(), problems.NOT_SEALED),
        (scope(TYPE, TYPE), problems.NOT_SEALED),
        (scope((b"content-type", b"message/ohttp-res")), problems.NOT_SEALED),
        (scope((b"content-type", b"message/bhttp")), problems.NOT_SEALED),
        (scope(TYPE, PLAIN), problems.NOT_SEALED),
        (scope((TYPE[0], TYPE[1] + b"; charset=utf-8")), problems.NOT_SEALED),
        (scope(TYPE, (b"content-encoding", b"br")), problems.NOT_SEALED),
        (scope(TYPE, (b"content-length", b"1001")), problems.TOO_LARGE),
    ],
)
def test_an_envelope_that_is_not_ours(given: Scope, problem: Problem) -> None:
    with pytest.raises(PublicRefusal) as caught:
        verify_envelope(given, 1000)
    assert caught.value.problem is problem


def test_an_envelope_that_is_ours() -> None:
    fields = ((b"content-length", b"1000"), (b"content-encoding", b"identity"))
    assert verify_envelope(scope(TYPE, *fields), 1000) is RequestOpener
    assert verify_envelope(scope(PLAIN, *fields), 1000) is PlainRequestOpener


async def test_a_client_that_breaks_off_leaves_nothing() -> None:
    receive = feeding({"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"})
    with pytest.raises(ClientGone):
        await read_request(receive, RequestOpener(lambda _: None), Limits())


async def test_a_body_that_cannot_open_is_still_read_to_its_end() -> None:
    pieces = [{"type": "http.request", "body": bytes(100), "more_body": n < 9} for n in range(10)]
    receive = feeding(*pieces)
    with pytest.raises(PublicRefusal) as caught:
        await read_request(receive, RequestOpener(lambda _: None), Limits())
    assert caught.value.problem is problems.UNOPENED
    with pytest.raises(TimeoutError):  # nothing is left to be read
        await asyncio.wait_for(receive(), 0.05)


async def test_a_body_that_stops_coming_has_a_deadline() -> None:
    receive = feeding({"type": "http.request", "body": b"x", "more_body": True})
    with pytest.raises(PublicRefusal) as caught:
        await read_request(receive, RequestOpener(lambda _: None), Limits(request_seconds=1))
    assert caught.value.problem is problems.TOO_SLOW
