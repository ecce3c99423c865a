"""The relay of the demo: it passes every byte on, keeps it, and ends without a word."""

from __future__ import annotations

import socket
import threading

import pytest

from mitai.cli.demo.operator_view import OperatorView


@pytest.fixture
def echo() -> str:
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with server:
            connection, _ = server.accept()
            with connection:
                while data := connection.recv(65_536):
                    connection.sendall(data.upper())

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{server.getsockname()[1]}"


def test_both_directions_pass_and_are_kept_and_an_open_connection_does_not_hold_the_end(
    echo: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with OperatorView(echo) as view:
        host, port = view.url.removeprefix("http://").split(":")
        client = socket.create_connection((host, int(port)))
        client.sendall("sealed 密態".encode())
        received = b""
        while len(received) < len("sealed 密態".encode()):
            received += client.recv(100)
    client.close()
    assert bytes(view.inbound) == "sealed 密態".encode()
    assert bytes(view.outbound) == received == "SEALED 密態".encode()
    assert capfd.readouterr().err == ""
