"""Where may the endpoint listen? On loopback or a private Unix socket, nowhere else (`docs/spec/serve.md` §1)."""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mitai.errors import ServeFailed

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_HOST: Final = "127.0.0.1"
LOOPBACK: Final = frozenset({"127.0.0.1", "::1"})
_HTTP_PORT: Final = 80
_PRIVATE_UMASK: Final = 0o177  # a socket made under it is 0600


@dataclass(frozen=True)
class Listener:
    """A bound socket and what local clients call it.

    Attributes:
        socket: Bound, not yet accepting.
        url: What a client puts before ``/v1``.
        path: Of a Unix socket.
        hosts: What a `host` field may say; empty for a Unix socket, which no browser reaches.
    """

    socket: socket.socket
    url: str
    path: Path | None = None
    hosts: frozenset[bytes] = frozenset()

    def close(self) -> None:
        """Stop listening; the file of a Unix socket goes, too."""
        self.socket.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def listen_loopback(host: str, port: int) -> Listener:
    """Listen on a loopback address.

    Args:
        host: ``127.0.0.1`` or ``::1``.
        port: 0 for any that is free.

    Raises:
        ServeFailed: It is another address, or the port is taken.
    """
    if host not in LOOPBACK:
        raise ServeFailed(
            f"{host!r} is not a loopback address",
            hint="The endpoint speaks plain HTTP, so it listens on 127.0.0.1, ::1 or a Unix socket only.",
        )
    family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET  # noqa: PLR2004 - IPv6
    try:
        bound = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ServeFailed(f"cannot listen on {host} port {port} ({error})", hint="Choose another --port.") from None
    # Connections inherit it. asyncio sets it itself only where a socket names its protocol, which these do not: Nagle's
    # algorithm then holds each token until the last one is acknowledged, up to 40 ms.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    number = bound.getsockname()[1]
    literal = f"[{host}]" if family == socket.AF_INET6 else host
    return Listener(bound, f"http://{literal}:{number}", hosts=_host_names(number))


def listen_unix(path: Path) -> Listener:
    """Listen on a Unix socket that only its owner may use (0600).

    Raises:
        ServeFailed: Something else has that name, somebody listens there, or the folder cannot be written.
    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(_PRIVATE_UMASK)
    try:
        _remove_dead_socket(path)
        bound.bind(str(path))
        bound.listen()
    except OSError as error:
        bound.close()
        raise ServeFailed(f"cannot listen on {path} ({error.strerror or error})") from None
    except ServeFailed:
        bound.close()
        raise
    finally:
        os.umask(previous)
    return Listener(bound, "http://localhost", path=path)


def _host_names(port: int) -> frozenset[bytes]:
    names = (b"127.0.0.1", b"localhost", b"[::1]")
    with_port = {name + b":%d" % port for name in names}
    return frozenset(with_port | set(names) if port == _HTTP_PORT else with_port)


def _remove_dead_socket(path: Path) -> None:
    """Remove the socket of a process that ended; leave everything else as it is."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ServeFailed(f"{path} exists and is no socket", hint="Choose another --socket.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise ServeFailed(f"another process listens on {path}", hint="Stop it, or choose another --socket.")
