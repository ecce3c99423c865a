from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mitai_crypto.labels import MEDIA_TYPE_REQUEST
from mitai_enclave.config import Limits
from mitai_enclave.errors import ConfigurationError
from mitai_enclave.listen import bound_sending, listen, listen_apart, rejoin, url_of
from support.sealed_client import chat_body, inner_request
from support.sidecar import running_sidecar
from support.upstream_simulator import Behaviour

if TYPE_CHECKING:
    from support.upstream_simulator import UpstreamSimulator


def test_a_port_that_is_taken_is_reported_with_the_way_on() -> None:
    with listen("127.0.0.1", 0) as taken:
        with pytest.raises(ConfigurationError) as caught:
            listen("127.0.0.1", taken.getsockname()[1])
        assert "--port" in caught.value.hint
    with pytest.raises(ConfigurationError):
        listen("localhost.example", 0)


def test_urls_have_brackets_where_they_need_them() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_each_worker_has_a_socket_of_its_own_on_one_port() -> None:
    listeners = listen_apart("127.0.0.1", 0, 3)
    assert len({listener.getsockname() for listener in listeners}) == 1
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_socket_that_joins_again_is_dealt_nothing_before_it_listens(host: str) -> None:
    (first,) = listen_apart(host, 0, 1)
    with first, rejoin(first.getsockname()[:2]) as joined:
        assert joined.getsockname() == first.getsockname()
        for _ in range(16):
            with socket.create_connection(first.getsockname()[:2]):
                first.accept()[0].close()


@pytest.mark.parametrize("shared", [False, True])
def test_threat_44_a_port_is_not_shared_with_a_stranger(*, shared: bool) -> None:
    """Somebody who listens there already would be dealt a part of the connections."""
    with listen("127.0.0.1", 0, shared=shared) as stranger, pytest.raises(ConfigurationError, match="in use"):
        listen_apart("127.0.0.1", stranger.getsockname()[1], 2)


def test_threat_20_accepted_connections_inherit_the_bound_on_sending() -> None:
    with listen("127.0.0.1", 0) as listener:
        bound_sending(listener, 7)
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7000


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("other", ["support.sidecar.bound_sending", "mitai_enclave.listen._Connection.pause_writing"])
async def test_threat_20_a_client_that_stops_reading_is_given_up(
    engine: UpstreamSimulator, monkeypatch: pytest.MonkeyPatch, other: str, *, stream: bool
) -> None:
    """Its answer is far larger than every buffer; of both bounds each is enough, so the other is taken away."""
    monkeypatch.setattr(other, FlowlessConnection.pause_writing if other.endswith("writing") else lambda *_: None)
    engine.behaviour = Behaviour(words=("x" * 100_000,) * 120)
    async with running_sidecar(engine, Limits(running=1, send_seconds=1)) as sidecar:
        parts = urlsplit(sidecar.url)
        message = sidecar.seal(inner_request(chat_body(stream=stream))).message
        head = f"POST /mitai/ohttp HTTP/1.1\r\nhost: x\r\ncontent-type: {MEDIA_TYPE_REQUEST}\r\n"
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with deaf:
            await asyncio.to_thread(deaf.connect, (parts.hostname, parts.port))
            deaf.sendall(f"{head}content-length: {len(message)}\r\n\r\n".encode() + message)
            async with asyncio.timeout(20):
                while not engine.calls:  # noqa: ASYNC110 - no event for it
                    await asyncio.sleep(0.05)
                while await asyncio.to_thread(is_held, parts.port or 0, deaf.getsockname()[1]):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            engine.behaviour = Behaviour()
            assert (await sidecar.ask()).status == 200


class FlowlessConnection(HttpToolsProtocol):
    """Stops writing for as long as its peer likes."""

    def pause_writing(self) -> None:
        self.flow.pause_writing()


def is_held(port: int, peer: int) -> bool:
    """Whether the server's end of the connection from port `peer` is open."""
    found = psutil.Process().net_connections("tcp")
    return any(one.laddr.port == port and one.raddr and one.raddr.port == peer for one in found)
