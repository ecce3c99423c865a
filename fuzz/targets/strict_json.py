"""JSON by the strict rules."""

from __future__ import annotations

from target import Target

from mitai_crypto.errors import EvidenceError
from mitai_crypto.strict_json import encode_canonical, parse_canonical, parse_object


def read(data: bytes) -> None:
    """Read an object; its canonical form is one text with the same meaning."""
    value = parse_object(data, max_bytes=1 << 20, floats=data.endswith(b" "))
    text = encode_canonical(value)
    if not data.endswith(b" "):
        assert parse_canonical(text, max_bytes=1 << 21) == value


def seeds() -> list[bytes]:
    """Return objects of all kinds, and near misses."""
    return [
        b"{}",
        '{"a":[1,-2,true,false,null,"\\u5bc6態\\n",{"b":{}}]}'.encode(),
        b'{"a":1.5e3} ',
        b'{"a":1,"a":2}',
        b'{"a":"\\ud800"}',
        b'{"a":9007199254740992}',
        b'{"a":' + b"[" * 40 + b"]" * 40 + b"}",
    ]


TARGET = Target(read, EvidenceError, seeds, factor=200)
