"""Plain sockets against servers that answer exactly the bytes they are told to."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mitai import EnclaveClient
from mitai.errors import EnclaveUnreachable, TruncatedMessage
from mitai.transport import raw
from mitai.transport.raw import RawWire
from mitai.transport.wire import OuterRequest, run_now
from support.enclave_simulator import EnclaveSimulator
from support.tls import self_signed

if TYPE_CHECKING:
    from collections.abc import Iterator

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
REQUEST = OuterRequest("POST", "/mitai/ohttp", (("content-type", "a/b"),), b"sealed", {"read": 5.0})


@dataclass
class Server:
    """Accepts connections and answers each request on one with the next bytes of its list.

    Attributes:
        answers: For each connection, the answers to its requests; the connection is closed after the last.
        requests: What came, whole requests.
        pause: Seconds before each byte of an answer but the first.
        ended: Whether the test is over.
    """

    answers: list[list[bytes]]
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    pause: float = 0.0
    ended: bool = False

    def run(self, listener: socket.socket) -> None:
        for answers in self.answers:
            connection, _ = listener.accept()
            if self.ended:
                connection.close()
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection, answers), daemon=True).start()

    def _serve(self, connection: socket.socket, answers: list[bytes]) -> None:
        with connection:
            for answer in answers:
                request = b""
                while not request.endswith(b"sealed"):
                    data = connection.recv(65536)
                    if not data:
                        return
                    request += data
                self.requests.append(request)
                with suppress(ConnectionError):  # the client heard enough
                    for piece in [answer[i : i + 1] for i in range(len(answer))] if self.pause else [answer]:
                        connection.sendall(piece)
                        time.sleep(self.pause)


@contextmanager
def serving(*answers: list[bytes]) -> Iterator[tuple[Server, str]]:
    server = Server(list(answers))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=(listener,), daemon=True)
        thread.start()
        yield server, f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.ended = True
        with suppress(OSError), socket.create_connection(listener.getsockname(), 1):  # wakes it, should it wait
            thread.join(5)


def exchange(wire: RawWire, request: OuterRequest = REQUEST) -> bytes:
    answer = run_now(wire.send(request))
    pieces = []
    while piece := run_now(answer.read()):
        pieces.append(piece)
    run_now(answer.close())
    return b"".join(pieces)


def test_a_connection_is_used_again() -> None:
    with serving([OK, OK]) as (server, url):
        wire = RawWire(url + "/prefix")
        assert [exchange(wire), exchange(wire)] == [b"hello", b"hello"]
        wire.close()
    assert server.connections == 1
    head = server.requests[0].partition(b"\r\n\r\n")[0].decode().split("\r\n")
    assert head == [
        "POST /prefix/mitai/ohttp HTTP/1.1",
        f"host: {url.removeprefix('http://')}",
        "content-type: a/b",
        "content-length: 6",
    ]


def test_a_connection_that_was_closed_meanwhile_is_not_used() -> None:
    with serving([OK], [OK]) as (server, url):
        wire = RawWire(url)
        exchange(wire)
        time.sleep(0.1)
        assert exchange(wire) == b"hello"
        wire.close()
    assert server.connections == 2


def test_a_connection_with_bytes_that_nobody_asked_for_is_not_used() -> None:
    with serving([OK + b"HTTP/1.1 200 OK\r\n"], [OK]) as (server, url):
        wire = RawWire(url)
        with pytest.raises((EnclaveUnreachable, TruncatedMessage)):
            exchange(wire)
        assert exchange(wire) == b"hello"
        wire.close()
    assert server.connections == 2


def test_a_connection_that_idled_for_long_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "IDLE_SECONDS", 0.0)
    with serving([OK, OK], [OK]) as (server, url):
        wire = RawWire(url)
        exchange(wire)
        exchange(wire)
        wire.close()
    assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 40_000 + b"\r\n",
    ],
)
def test_no_answer_or_none_of_http_is_never_sent_twice(answer: bytes) -> None:
    with serving([answer], [OK]) as (server, url):
        wire = RawWire(url)
        with pytest.raises(EnclaveUnreachable):
            exchange(wire)
        wire.close()
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
    ],
)
def test_threat_09_a_body_that_is_cut_is_an_error(answer: bytes) -> None:
    with serving([answer]) as (_, url):
        wire = RawWire(url)
        with pytest.raises((TruncatedMessage, EnclaveUnreachable)):
            exchange(wire)
        wire.close()


def test_threat_34_an_answer_may_come_byte_by_byte_and_after_informational_ones() -> None:
    chunked = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nX-Name: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
    )
    with serving([chunked, OK]) as (server, url):
        server.pause = 0.0005
        wire = RawWire(url)
        answer = run_now(wire.send(REQUEST))
        assert (answer.status, answer.header("x-name"), answer.header("link")) == (200, ["a"], [])
        run_now(answer.close())
        wire.close()
    with serving([chunked, OK]) as (server, url):
        wire = RawWire(url)
        assert [exchange(wire), exchange(wire)] == [b"hello", b"hello"]
        wire.close()
    assert server.connections == 1


def test_an_answer_that_is_closed_early_gives_its_connection_up() -> None:
    with serving([b"HTTP/1.1 200 OK\r\ncontent-length: 600000\r\n\r\nhello"], [OK]) as (server, url):
        wire = RawWire(url)
        answer = run_now(wire.send(REQUEST))
        run_now(answer.close())
        run_now(answer.close())
        assert run_now(answer.read()) == b""
        assert exchange(wire) == b"hello"
        wire.close()
    assert server.connections == 2


def test_silence_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = RawWire(f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(EnclaveUnreachable, match="TimeoutError"):
            exchange(wire, OuterRequest("GET", "/", (), timeouts={"read": 0.05}))


def test_several_threads_share_the_connections() -> None:
    with EnclaveSimulator() as simulator:
        found: list[str] = []
        with EnclaveClient(simulator.url, policy=simulator.policy(), token="t") as client:

            def work() -> None:
                found.extend("".join(client.chat([{"role": "user", "content": "你好"}])) for _ in range(3))

            threads = [threading.Thread(target=work) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert found == ["Hello sealed world，密态。"] * 18


def test_https_checks_the_certificate(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                try:
                    with context.wrap_socket(connection, server_side=True) as secured:
                        secured.recv(65536)
                        secured.sendall(OK)
                except OSError:
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(EnclaveUnreachable, match="SSLCertVerificationError"):
            exchange(RawWire(url))
        trusting = ssl.create_default_context(cafile=str(certificate))
        wire = RawWire(url, context=trusting)
        assert exchange(wire) == b"hello"
        wire.close()
        thread.join(5)


@pytest.mark.parametrize("trailers", [b"x: y\r\n" * 60_000, b"x: " + b"y" * 400_000])
def test_threat_20_trailers_have_an_end(trailers: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
    with serving([head + trailers + b"\r\n\r\n"]) as (_, url):
        wire = RawWire(url)
        with pytest.raises((EnclaveUnreachable, TruncatedMessage)):
            exchange(wire)
        wire.close()


def test_a_process_with_many_descriptors_can_ask_again() -> None:
    with serving([OK, OK]) as (server, url), Path(os.devnull).open() as null:
        others = [os.dup(null.fileno()) for _ in range(1100)]
        try:
            wire = RawWire(url)
            assert [exchange(wire), exchange(wire)] == [b"hello", b"hello"]
            wire.close()
        finally:
            for other in others:
                os.close(other)
    assert server.connections == 1
