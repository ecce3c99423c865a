"""Quotes of a simulated TEE: ask the launcher (`mitai-sim run`) over its Unix socket.

This protects nothing. It exercises the path of evidence on a machine without hardware.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import socket
from typing import TYPE_CHECKING, Final

from mitai_crypto.errors import TeeUnavailable
from mitai_crypto.evidence import TeeKind
from mitai_crypto.labels import MAX_TEE_ANSWER_BYTES, TEE_SOCKET_VARIABLE
from mitai_crypto.strict_json import parse_object
from mitai_enclave.tee.quote import Quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mitai_crypto.strict_json import JsonObject

_TIMEOUT_SECONDS: Final = 10.0


class SimulatedAttester:
    """Asks the launcher that started this process.

    Args:
        path: The launcher's socket.
    """

    kind: Final = TeeKind.SIMULATED

    def __init__(self, path: str) -> None:
        self._path = path

    def quote(self, report_data: bytes) -> Quote:
        """Return a quote by the launcher's root.

        Raises:
            TeeUnavailable: The launcher is gone, refuses, or answers something else.
        """
        answer = self._ask({"op": "quote", "report_data": report_data.hex()})
        return Quote(_decoded(answer, "evidence"), _decoded(answer, "collateral"))

    def _ask(self, request: JsonObject) -> JsonObject:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_TIMEOUT_SECONDS)
                connection.connect(self._path)
                connection.sendall(json.dumps(request).encode() + b"\n")
                line = _read_line(connection)
        except OSError as error:
            raise TeeUnavailable("The simulated TEE's launcher does not answer.") from error
        answer = parse_object(line, max_bytes=MAX_TEE_ANSWER_BYTES, error=TeeUnavailable)
        if "error" in answer:
            raise TeeUnavailable("The simulated TEE's launcher refuses the request.")
        return answer


def find_launcher(environment: Mapping[str, str] | None = None) -> SimulatedAttester:
    """Return the attester of the launcher that started this process.

    Raises:
        TeeUnavailable: No launcher started it.
    """
    path = (os.environ if environment is None else environment).get(TEE_SOCKET_VARIABLE)
    if not path:
        raise TeeUnavailable("No simulated TEE: this process was not started by mitai-sim.")
    return SimulatedAttester(path)


def _read_line(connection: socket.socket) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        piece = connection.recv(65_536)
        if not piece or len(received) > MAX_TEE_ANSWER_BYTES:
            raise TeeUnavailable("The simulated TEE's launcher broke off its answer.")
        received += piece
    return bytes(received)


def _decoded(answer: JsonObject, name: str) -> bytes:
    value = answer.get(name)
    if not isinstance(value, str):
        raise TeeUnavailable(f"The simulated TEE's launcher gave no {name}.")
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        raise TeeUnavailable(f"The simulated TEE's launcher gave a malformed {name}.") from None
