"""Both libraries, synchronous and not: what a caller of an ordinary client sees."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import httpx2
import pytest

import mitai.transport
from mitai.errors import (
    EnclaveUnreachable,
    IncompleteAnswer,
    MitaiError,
    PlaintextRefused,
    VerificationFailed,
)
from mitai.transport import (
    AsyncHttpxSealedTransport,
    AsyncSealedTransport,
    HttpxSealedTransport,
    SealedTransport,
)
from mitai_crypto.evidence import TeeKind
from support.enclave_simulator import Raw, streamed, whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from mitai.disclosure import Outgoing
    from support.enclave_simulator import EnclaveSimulator


@dataclass(frozen=True)
class Library:
    """An HTTP library and its transports."""

    module: ModuleType
    sealed: type
    sealed_async: type


LIBRARIES = [
    pytest.param(Library(httpx2, SealedTransport, AsyncSealedTransport), id="httpx2"),
    pytest.param(Library(httpx, HttpxSealedTransport, AsyncHttpxSealedTransport), id="httpx"),
]
URL = "https://api.example/v1/chat/completions"  # routes nothing
BODY = {"stream": True}


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Library:
    return request.param


@pytest.fixture
def client(library: Library, simulator: EnclaveSimulator) -> Iterator[httpx2.Client]:
    transport = library.sealed(simulator.url, policy=simulator.policy(), token="t0ken")
    with library.module.Client(transport=transport) as opened:
        yield opened


def async_client(library: Library, simulator: EnclaveSimulator) -> httpx2.AsyncClient:
    transport = library.sealed_async(simulator.url, policy=simulator.policy(), token="t0ken")
    return library.module.AsyncClient(transport=transport)


def test_a_plain_request_goes_sealed(client: httpx2.Client, simulator: EnclaveSimulator) -> None:
    response = client.post(URL, json={"stream": False})
    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"] == "Hello sealed world，密态。"
    assert simulator.executed[0].authority == b"mitai.invalid"
    assert simulator.executed[0].path == b"/v1/chat/completions"
    answer = response.extensions["mitai"]
    assert answer.receipt.finish == "stop"
    assert answer.attestation.simulated


async def test_a_plain_request_goes_sealed_async(library: Library, simulator: EnclaveSimulator) -> None:
    async with async_client(library, simulator) as client:
        response = await client.post(URL, json={"stream": False})
        assert response.json()["choices"][0]["message"]["content"] == "Hello sealed world，密态。"
        assert response.extensions["mitai"].receipt.finish == "stop"


def test_streaming_stays_streaming(client: httpx2.Client, simulator: EnclaveSimulator) -> None:
    simulator.answer = lambda _: streamed("a", "b", "c", "d")
    simulator.misbehaviour.pause = 0.05
    with client.stream("POST", URL, json=BODY) as response:
        assert response.extensions["mitai"].receipt is None
        arrived = [(time.monotonic(), piece) for piece in response.iter_raw()]
    assert len(arrived) >= 4
    assert arrived[3][0] - arrived[0][0] > 0.1
    assert b"".join(piece for _, piece in arrived) == b"".join(streamed("a", "b", "c", "d").pieces)


async def test_streaming_stays_streaming_async(library: Library, simulator: EnclaveSimulator) -> None:
    simulator.answer = lambda _: streamed("a", "b", "c", "d")
    simulator.misbehaviour.pause = 0.05
    async with (
        async_client(library, simulator) as client,
        client.stream("POST", URL, json=BODY) as response,
    ):
        arrived = [(time.monotonic(), piece) async for piece in response.aiter_raw()]
    assert len(arrived) >= 4
    assert arrived[3][0] - arrived[0][0] > 0.1


@pytest.mark.parametrize("split", [1, 2, 7, 1000])
def test_threat_34_middleboxes_that_cut_anew_change_nothing(
    client: httpx2.Client, simulator: EnclaveSimulator, split: int
) -> None:
    simulator.misbehaviour.split = split
    assert b"sealed" in client.post(URL, json=BODY).content


def test_threat_09_truncation_is_an_error_and_never_a_short_body(
    client: httpx2.Client, simulator: EnclaveSimulator
) -> None:
    frames = 2 + len(streamed("a", "b").pieces) + 1
    for reply in (streamed("a", "b"), whole("a")):
        simulator.answer = lambda _, reply=reply: reply
        for kept in range(frames if reply.finish and len(reply.pieces) > 1 else 4):
            simulator.misbehaviour.frames = lambda sent, kept=kept: sent[:kept]
            with pytest.raises(IncompleteAnswer):
                client.post(URL, json=BODY)


async def test_threat_09_truncation_is_an_error_async(library: Library, simulator: EnclaveSimulator) -> None:
    async with async_client(library, simulator) as client:
        for kept in range(5):
            simulator.misbehaviour.frames = lambda sent, kept=kept: sent[:kept]
            with pytest.raises(IncompleteAnswer):
                await client.post(URL, json=BODY)


def test_threat_09_what_was_shown_before_a_cut_is_followed_by_the_error(
    client: httpx2.Client, simulator: EnclaveSimulator
) -> None:
    simulator.misbehaviour.frames = lambda sent: sent[:4]
    shown: list[bytes] = []
    with client.stream("POST", URL, json=BODY) as response:  # noqa: SIM117 - the error comes while reading
        with pytest.raises(IncompleteAnswer):
            shown.extend(response.iter_raw())
    assert b"Hello" in b"".join(shown)


def test_threat_09_a_connection_that_breaks(client: httpx2.Client, simulator: EnclaveSimulator) -> None:
    simulator.misbehaviour.frames = lambda sent: sent[:4]
    simulator.misbehaviour.abrupt = True
    with pytest.raises(IncompleteAnswer):
        client.post(URL, json=BODY)


def test_threat_33_stale_framing_is_not_handed_on(client: httpx2.Client, simulator: EnclaveSimulator) -> None:
    reply = whole("密态")
    length = str(sum(map(len, reply.pieces))).encode()
    extra = ((b"content-length", length), (b"content-encoding", b"identity"), (b"x-kept", b"yes"))
    simulator.answer = lambda _: replace(reply, headers=extra)
    response = client.post(URL, json={"stream": False})
    assert "content-length" not in response.headers
    assert "content-encoding" not in response.headers
    assert response.headers["x-kept"] == "yes"


def test_threat_26_simulation_is_refused_where_hardware_is_wanted(
    library: Library, simulator: EnclaveSimulator
) -> None:
    policy = simulator.policy(tee=(TeeKind.TDX,), root=None)
    transport = library.sealed(simulator.url, policy=policy, token="t0ken")
    with library.module.Client(transport=transport) as client, pytest.raises(VerificationFailed) as caught:
        client.post(URL, json=BODY)
    assert caught.value.report.simulated
    assert simulator.executed == []


def test_threat_01_a_plaintext_success_is_refused(client: httpx2.Client, simulator: EnclaveSimulator) -> None:
    simulator.misbehaviour.outer = lambda outer: Raw(200, b"{}") if outer.method == "POST" else None
    with pytest.raises(PlaintextRefused):
        client.post(URL, json=BODY)


def test_no_redirect_of_the_operator_is_followed(library: Library, simulator: EnclaveSimulator) -> None:
    elsewhere = Raw(307, headers=(("location", f"{simulator.url}/elsewhere"),))
    simulator.misbehaviour.outer = lambda outer: elsewhere if outer.method == "POST" else None
    transport = library.sealed(simulator.url, policy=simulator.policy(), token="t0ken")
    with library.module.Client(transport=transport, follow_redirects=True) as client:  # noqa: SIM117 - one line is too long
        with pytest.raises(PlaintextRefused):
            client.post(URL, json=BODY)
    assert simulator.count("/elsewhere") == 0


def test_errors_are_not_those_that_clients_resend_on(
    library: Library, client: httpx2.Client, simulator: EnclaveSimulator
) -> None:
    simulator.misbehaviour.frames = lambda sent: sent[:3]
    with pytest.raises(MitaiError) as caught:
        client.post(URL, json=BODY)
    assert not isinstance(caught.value, library.module.HTTPError)


def test_nobody_there(library: Library, simulator: EnclaveSimulator) -> None:
    transport = library.sealed("http://127.0.0.1:1", policy=simulator.policy(), token="t0ken")
    with library.module.Client(transport=transport) as client, pytest.raises(EnclaveUnreachable) as caught:
        client.post(URL, json=BODY)
    assert isinstance(caught.value.__cause__, library.module.ConnectError)
    assert "nothing was sent" in caught.value.hint


async def test_nobody_there_async(library: Library, simulator: EnclaveSimulator) -> None:
    transport = library.sealed_async("http://127.0.0.1:1", policy=simulator.policy(), token="t0ken")
    async with library.module.AsyncClient(transport=transport) as client:
        with pytest.raises(EnclaveUnreachable):
            await client.post(URL, json=BODY)


def test_the_callers_timeout_holds(client: httpx2.Client, simulator: EnclaveSimulator) -> None:
    client.post(URL, json=BODY)
    simulator.misbehaviour.pause = 0.5
    with pytest.raises(IncompleteAnswer):
        client.post(URL, json=BODY, timeout=0.1)


def test_the_hook_of_a_transport_keeps_everything_here(library: Library, simulator: EnclaveSimulator) -> None:
    def refuse(outgoing: Outgoing) -> None:
        raise PermissionError(outgoing.url)

    transport = library.sealed(simulator.url, policy=simulator.policy(), token="t", before_send=refuse)
    with library.module.Client(transport=transport) as client, pytest.raises(PermissionError):
        client.post(URL, json=BODY)
    assert simulator.executed == []


def test_threads_share_one_transport(client: httpx2.Client, simulator: EnclaveSimulator) -> None:
    failures: list[Exception] = []

    def post() -> None:
        try:
            assert b"sealed" in client.post(URL, json=BODY).content
        except Exception as error:  # noqa: BLE001 - the main thread reports it
            failures.append(error)

    threads = [threading.Thread(target=post) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(simulator.executed) == 6


def test_an_early_close_gives_the_connection_up(client: httpx2.Client, simulator: EnclaveSimulator) -> None:
    simulator.answer = lambda _: streamed(*"abcdefghij")
    simulator.misbehaviour.pause = 0.02
    with client.stream("POST", URL, json=BODY) as response:
        next(response.iter_raw())
    assert response.extensions["mitai"].receipt is None
    simulator.misbehaviour.pause = 0.0
    assert client.post(URL, json=BODY).status_code == 200


def test_the_adapters_of_both_libraries_have_the_same_text() -> None:
    folder = Path(mitai.transport.__file__).parent
    texts = [(folder / name).read_text(encoding="utf-8") for name in ("_httpx.py", "_httpx2.py")]
    one, other = (re.sub(r"[\s()]|,(?=\s*\))", "", text.replace("httpx2", "httpx")) for text in texts)
    assert one == other
