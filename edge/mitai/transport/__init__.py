"""The device's side of the sealed channel, as transports for the usual HTTP libraries.

| library | synchronous | asynchronous |
|---|---|---|
| `httpx2` (the `openai` client) | `SealedTransport` | `AsyncSealedTransport` |
| `httpx` | `HttpxSealedTransport` | `AsyncHttpxSealedTransport` |

Inside, from the bytes up: `exchange` (one exchange, no IO), `session` (verified evidence), `sending` (what is
believed and resent), `wire` (what an HTTP library must do). A library is imported when its transport is asked
for. Spec: `docs/spec/client.md`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mitai.transport._httpx import AsyncSealedTransport as AsyncHttpxSealedTransport
    from mitai.transport._httpx import SealedTransport as HttpxSealedTransport
    from mitai.transport._httpx2 import AsyncSealedTransport, SealedTransport

__all__ = ["AsyncHttpxSealedTransport", "AsyncSealedTransport", "HttpxSealedTransport", "SealedTransport"]

_HOMES = {
    "AsyncHttpxSealedTransport": ("mitai.transport._httpx", "AsyncSealedTransport"),
    "AsyncSealedTransport": ("mitai.transport._httpx2", "AsyncSealedTransport"),
    "HttpxSealedTransport": ("mitai.transport._httpx", "SealedTransport"),
    "SealedTransport": ("mitai.transport._httpx2", "SealedTransport"),
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
