from __future__ import annotations

import base64
import json
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mitai_crypto.errors import TeeUnavailable
from mitai_enclave.tee.simulated import SimulatedAttester, find_launcher

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mt-") as name:
        yield Path(name)


def ask(folder: Path, answer: bytes) -> tuple[dict[str, object], object]:
    """Let a launcher answer one request with `answer`; return the request and what came of it."""
    path = folder / "tee.sock"
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    seen: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, listener:
            seen.append(connection.makefile("rb").readline())
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        result: object = SimulatedAttester(str(path)).quote(bytes(range(64)))
    except TeeUnavailable as error:
        result = error
    thread.join()
    return json.loads(seen[0]), result


def test_a_quote_comes_over_the_socket(folder: Path) -> None:
    answer = {"evidence": base64.b64encode(b"quote").decode(), "collateral": base64.b64encode(b"c").decode()}
    request, quote = ask(folder, json.dumps(answer).encode() + b"\n")
    assert request == {"op": "quote", "report_data": bytes(range(64)).hex()}
    assert (getattr(quote, "evidence", None), getattr(quote, "collateral", None)) == (b"quote", b"c")


@pytest.mark.parametrize(
    "answer",
    [b"", b"{}", b"{}\n", b'{"error":"no"}\n', b"not json\n", b'{"evidence":1,"collateral":""}\n',
     b'{"evidence":"!","collateral":""}\n', b"[]\n"],
)  # fmt: skip
def test_every_other_answer_is_unavailable(folder: Path, answer: bytes) -> None:
    _, result = ask(folder, answer)
    assert isinstance(result, TeeUnavailable)
    assert result.hint


def test_no_launcher(folder: Path) -> None:
    with pytest.raises(TeeUnavailable, match="does not answer"):
        SimulatedAttester(str(folder / "none")).quote(bytes(64))
    with pytest.raises(TeeUnavailable, match="mitai-sim"):
        find_launcher({})
    assert find_launcher({"MITAI_TEE_SOCKET": "/x"})._path == "/x"
