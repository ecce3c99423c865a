"""Where may plaintext go? To one engine in the same TEE: a Unix socket or a loopback literal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from mitai_enclave.errors import ConfigurationError

if TYPE_CHECKING:
    UpstreamKind: TypeAlias = Literal["unix", "loopback"]

_LOOPBACK: Final = re.compile(r"http://(?:(127\.0\.0\.1)|\[(::1)\]):([1-9][0-9]{0,4})/?")
_MAX_PORT: Final = 65_535
# struct sockaddr_un has room for 108 bytes, the last of which is NUL.
_MAX_SOCKET_PATH: Final = 107
_HINT: Final = "Use unix:/absolute/path, http://127.0.0.1:PORT or http://[::1]:PORT: plaintext may not leave the TEE."


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix socket.

    Attributes:
        path: Its absolute path, short enough for the kernel.
    """

    path: Path
    kind: UpstreamKind = "unix"

    def __post_init__(self) -> None:
        if not self.path.is_absolute() or len(str(self.path).encode()) > _MAX_SOCKET_PATH:
            raise ConfigurationError(
                f"A socket path must be absolute and at most {_MAX_SOCKET_PATH} bytes long.",
                hint="Choose a shorter --runtime-dir, for instance under /dev/shm or /run.",
            )


@dataclass(frozen=True, slots=True)
class LoopbackAddress:
    """A TCP port of this machine.

    Attributes:
        host: `127.0.0.1` or `::1`.
        port: The port.
    """

    host: str
    port: int
    kind: UpstreamKind = "loopback"


EngineAddress: TypeAlias = UnixAddress | LoopbackAddress


def parse_upstream(text: str) -> EngineAddress:
    """Parse the value of `--upstream`.

    Raises:
        ConfigurationError: It names anything but a Unix socket or a loopback literal.
    """
    if text.startswith("unix:"):
        path = Path(text.removeprefix("unix:"))
        if ".." in path.parts or "\0" in text:
            raise ConfigurationError("The socket path of --upstream is not a plain path.", hint=_HINT)
        return UnixAddress(path)
    match = _LOOPBACK.fullmatch(text)
    if match is None or int(match[3]) > _MAX_PORT:
        raise ConfigurationError("--upstream is neither a Unix socket nor a loopback literal.", hint=_HINT)
    return LoopbackAddress(match[1] or match[2], int(match[3]))
