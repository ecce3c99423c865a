"""Who may ask for quotes and sealing keys, and how? (`docs/spec/simulated_tee.md` §6)."""

from __future__ import annotations

import base64
import os
import re
import socketserver
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mitai_crypto.errors import MitaiError
from mitai_crypto.fields import Fields
from mitai_crypto.labels import MAX_TEE_REQUEST_BYTES, REPORT_DATA_BYTES
from mitai_crypto.strict_json import JsonObject, encode_canonical, parse_object
from mitai_sim.errors import RequestRefused, Unsupported

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from mitai_sim.attest import Attester

SOCKET_MODE: Final = 0o600
MAX_SOCKET_PATH: Final = 107  # sun_path of Linux, without its final zero
_TIMEOUT_SECONDS: Final = 5.0
_MAX_CONNECTIONS: Final = 32
_MAX_ANCESTORS: Final = 64
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid
_LABEL: Final = re.compile(r"[a-z0-9/._-]{1,64}")


class TeeServer:
    """Answers the process tree of one child on a Unix socket.

    Args:
        path: Where to bind; its folder must be private.
        attester: Answers for this launch.
        clock: Returns Unix seconds.

    Raises:
        Unsupported: The path is too long for a Unix socket.
    """

    def __init__(self, path: Path, attester: Attester, clock: Callable[[], int]) -> None:
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            raise Unsupported(
                f"{path} is too long for a Unix socket", hint="Set TMPDIR to a folder with a shorter name."
            )
        self._server = _Server(str(path), attester, clock)
        self._thread: threading.Thread | None = None

    def serve(self, child: int) -> None:
        """Start to answer; requests that came before are answered now.

        Args:
            child: Process id of the root of the tree that may ask.
        """
        self._server.child = child
        self._thread = threading.Thread(target=self._server.serve_forever, name="tee-socket", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop to answer."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False  # a peer that says nothing must not hold up the end
    request_queue_size = _MAX_CONNECTIONS

    def __init__(self, path: str, attester: Attester, clock: Callable[[], int]) -> None:
        self.attester = attester
        self.clock = clock
        self.child = 0
        self.slots = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        super().__init__(path, _Connection)

    def server_bind(self) -> None:
        super().server_bind()
        # Before listen(), so nobody can have connected to a socket with a wider mode.
        Path(str(self.server_address)).chmod(SOCKET_MODE)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        self.slots.acquire()
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        super().shutdown_request(request)
        self.slots.release()


class _Connection(socketserver.StreamRequestHandler):
    timeout = _TIMEOUT_SECONDS
    server: _Server

    def handle(self) -> None:
        try:
            answer = self._answer()
        except MitaiError as error:
            answer = {"error": str(error)}
        except (TimeoutError, ConnectionError):
            return  # the peer has gone or says nothing; there is nobody to answer
        try:
            self.wfile.write(encode_canonical(answer) + b"\n")
        except (TimeoutError, ConnectionError):
            return

    def _answer(self) -> JsonObject:
        pid, uid, _ = peer_credentials(self.connection)
        if uid != os.getuid() or not is_descendant(pid, self.server.child):
            raise RequestRefused("only the launched process and its children may ask")
        line = self.rfile.readline(MAX_TEE_REQUEST_BYTES + 1)
        if not line.endswith(b"\n"):
            raise RequestRefused(f"a request is one line of at most {MAX_TEE_REQUEST_BYTES} bytes")
        return answer_request(line, self.server.attester, now=self.server.clock())


def answer_request(line: bytes, attester: Attester, *, now: int) -> JsonObject:
    """Answer one request.

    Args:
        line: One line of JSON. Untrusted.
        attester: Answers for this launch.
        now: Unix seconds.

    Raises:
        RequestRefused: The request is malformed.
    """
    fields = Fields(
        parse_object(line, max_bytes=MAX_TEE_REQUEST_BYTES, error=RequestRefused),
        where="request",
        error=RequestRefused,
    )
    if fields.choice("op", ("quote", "sealing_key")) == "quote":
        report_data = bytes.fromhex(fields.digest("report_data", REPORT_DATA_BYTES))
        fields.finish()
        evidence, collateral = attester.quote(report_data, now=now)
        return {
            "evidence": base64.b64encode(evidence).decode(),
            "collateral": base64.b64encode(collateral).decode(),
        }
    label = fields.text("label")
    fields.finish()
    if not _LABEL.fullmatch(label):
        raise RequestRefused("request.label must be 1 to 64 of a-z 0-9 / . _ -")
    return {"key": attester.sealing_key(label).hex()}


def peer_credentials(connection: socket.socket) -> tuple[int, int, int]:
    """Return pid, uid and gid of the peer, as the kernel noted them when it connected."""
    import socket  # noqa: PLC0415 - SO_PEERCRED exists on Linux only; `run` has refused other systems by now

    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    return pid, uid, gid


def is_descendant(pid: int, ancestor: int) -> bool:
    """Tell whether a process is `ancestor` or was started by it, directly or not."""
    for _ in range(_MAX_ANCESTORS):
        if pid <= 1:
            return False
        if pid == ancestor:
            return True
        pid = _parent(pid)
    return False


def _parent(pid: int) -> int:
    try:
        # The name in parentheses may hold anything; the parent's id is the second field after the last ")".
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0  # gone
    return int(text.rpartition(")")[2].split()[1])
