from __future__ import annotations

import base64
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai_crypto.simulated_collateral import parse_collateral
from mitai_crypto.simulated_quote import parse_evidence
from mitai_sim import socket_server
from mitai_sim.attest import Attester
from mitai_sim.errors import RequestRefused, Unsupported
from mitai_sim.root import make_machine
from mitai_sim.socket_server import TeeServer, answer_request, is_descendant
from support.evidence_builder import EVENTS, NOW

if TYPE_CHECKING:
    from collections.abc import Iterator

ATTESTER = Attester(make_machine(now=NOW), EVENTS)
QUOTE = {"op": "quote", "report_data": "ab" * 64}


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mitai-") as folder:  # a short name: sun_path holds 107 bytes
        yield Path(folder) / "tee.sock"


@pytest.fixture
def server(place: Path) -> Iterator[Path]:
    running = TeeServer(place, ATTESTER, lambda: NOW)
    running.serve(os.getpid())
    yield place
    running.close()


def send(path: Path, data: bytes, *, end: bool = False) -> bytes:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(10)
        peer.connect(str(path))
        try:
            peer.sendall(data)
            if end:
                peer.shutdown(socket.SHUT_WR)
        except BrokenPipeError:
            pass  # refused before everything was read
        answer = b""
        try:
            while piece := peer.recv(65_536):
                answer += piece
        except ConnectionResetError:
            pass
        return answer


def ask(path: Path, request: object) -> dict[str, str]:
    answer = send(path, json.dumps(request).encode() + b"\n")
    assert answer.endswith(b"\n")
    return json.loads(answer)


def test_a_quote(server: Path) -> None:
    answer = ask(server, QUOTE)
    assert set(answer) == {"evidence", "collateral"}
    quote = parse_evidence(base64.b64decode(answer["evidence"])).quote
    assert quote.report_data == b"\xab" * 64
    assert parse_collateral(base64.b64decode(answer["collateral"])).tcb_status.issued == NOW


def test_a_sealing_key(server: Path) -> None:
    answer = ask(server, {"op": "sealing_key", "label": "tokens/v1"})
    assert answer == {"key": ATTESTER.sealing_key("tokens/v1").hex()}


@pytest.mark.parametrize(
    "request_",
    [
        {},
        [],
        {"op": "exec"},
        {"op": "quote"},
        {"op": "quote", "report_data": "ab"},
        {"op": "quote", "report_data": "AB" * 64},
        QUOTE | {"extra": 1},
        {"op": "sealing_key", "label": ""},
        {"op": "sealing_key", "label": "A"},
        {"op": "sealing_key", "label": "a" * 65},
        {"op": "sealing_key", "label": "a\n"},
        {"op": "sealing_key", "label": "a", "extra": 1},
    ],
)
def test_anything_else_is_an_error(server: Path, request_: object) -> None:
    assert set(ask(server, request_)) == {"error"}


def test_a_line_is_bounded_and_must_end(server: Path) -> None:
    padded = json.dumps(QUOTE).encode()
    assert b"evidence" in send(server, padded.ljust(4095) + b"\n")
    assert b"error" in send(server, padded.ljust(4096) + b"\n")
    assert b"error" in send(server, padded, end=True)
    assert b"error" in send(server, b"", end=True)


def test_a_silent_peer_is_dropped_and_holds_nobody_up(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_server._Connection, "timeout", 0.2)
    running = TeeServer(place, ATTESTER, lambda: NOW)
    running.serve(os.getpid())
    try:
        with socket.socket(socket.AF_UNIX) as silent:
            silent.connect(str(place))
            assert "key" in ask(place, {"op": "sealing_key", "label": "a"})
            silent.settimeout(10)
            assert silent.recv(1) == b""
    finally:
        running.close()


def test_requests_that_come_before_the_child_is_known_wait(place: Path) -> None:
    running = TeeServer(place, ATTESTER, lambda: NOW)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(place))
        peer.sendall(json.dumps(QUOTE).encode() + b"\n")
        running.serve(os.getpid())
        peer.settimeout(10)
        assert peer.recv(10).startswith(b'{"')
    running.close()


def test_threat_32_the_socket_is_private(place: Path) -> None:
    before = os.umask(0)
    try:
        running = TeeServer(place, ATTESTER, lambda: NOW)
    finally:
        os.umask(before)
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    running.close()


def test_a_stranger_of_the_same_user_is_refused(place: Path) -> None:
    child = subprocess.Popen([sys.executable, "-I", "-c", "input()"], stdin=subprocess.PIPE)
    running = TeeServer(place, ATTESTER, lambda: NOW)
    try:
        running.serve(child.pid)  # this test process is its parent, not its descendant
        assert ask(place, QUOTE) == {"error": "only the launched process and its children may ask"}
    finally:
        running.close()
        child.communicate(b"\n")


def test_a_stranger_is_refused_before_a_byte_is_read(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_server, "peer_credentials", lambda _: (os.getpid(), os.getuid() + 1, 0))
    assert b"only the launched process" in send(server, b"")


def test_descent_is_followed_through_the_process_table() -> None:
    grandchild = "import subprocess, sys; subprocess.run([sys.executable, '-I', '-c', 'print(__import__(\"os\").getpid(), flush=True); input()'])"  # noqa: E501 - one program
    child = subprocess.Popen(
        [sys.executable, "-I", "-c", grandchild], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    pid = int(child.stdout.readline())
    try:
        assert is_descendant(pid, child.pid)
        assert is_descendant(pid, os.getpid())
        assert not is_descendant(os.getpid(), child.pid)
        assert not is_descendant(child.pid, pid)
    finally:
        child.communicate("\n")
    assert not is_descendant(pid, os.getpid())  # gone


@pytest.mark.parametrize("pid", [-1, 0, 1])
def test_what_has_no_process_id_here_is_nobodys_child(pid: int) -> None:
    assert not is_descendant(pid, pid)


def test_a_path_that_no_socket_can_have_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="too long") as caught:
        TeeServer(tmp_path / ("x" * 108), ATTESTER, lambda: NOW)
    assert "TMPDIR" in caught.value.hint


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_only_our_error(data: bytes) -> None:
    with pytest.raises(RequestRefused):
        answer_request(data, ATTESTER, now=NOW)
