"""Where the endpoint listens: loopback or a private socket, nowhere else."""

from __future__ import annotations

import socket
import stat
from typing import TYPE_CHECKING

import pytest

from mitai.errors import ServeFailed
from mitai.serve.listening import listen_loopback, listen_unix

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.0.2.1", "localhost", "127.0.0.2", "", "127.0.0.1\n", "::ffff:127.0.0.1"]
)
def test_other_addresses_are_refused(host: str) -> None:
    with pytest.raises(ServeFailed, match="loopback") as caught:
        listen_loopback(host, 0)
    assert "Unix socket" in caught.value.hint


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:")])
def test_loopback(host: str, shown: str) -> None:
    listener = listen_loopback(host, 0)
    port = listener.socket.getsockname()[1]
    assert listener.url == f"{shown}{port}"
    assert listener.hosts == {f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost", "[::1]")}
    with socket.create_connection((host, port)):
        listener.close()


def test_a_port_that_is_taken() -> None:
    first = listen_loopback("127.0.0.1", 0)
    with pytest.raises(ServeFailed, match="cannot listen"):
        listen_loopback("127.0.0.1", first.socket.getsockname()[1])
    first.close()


def test_a_unix_socket_is_its_owners_alone_and_goes_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "密态.sock"
    listener = listen_unix(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listener.close()
    assert not path.exists()


def test_a_dead_socket_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listener = listen_unix(path)
    with pytest.raises(ServeFailed, match="another process"):
        listen_unix(path)
    listener.close()
    path.write_text("precious")
    with pytest.raises(ServeFailed, match="no socket"):
        listen_unix(path)
    assert path.read_text() == "precious"
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ServeFailed, match="no socket"):
        listen_unix(path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ServeFailed, match="cannot listen"):
        listen_unix(tmp_path / "nowhere" / "s")


def test_tokens_are_not_held_until_the_last_one_is_acknowledged() -> None:
    listener = listen_loopback("127.0.0.1", 0)
    listener.socket.listen()
    with socket.create_connection(listener.socket.getsockname()), listener.socket.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    listener.close()
