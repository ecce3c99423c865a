"""Receipts."""

from __future__ import annotations

from target import Target

from mitai_crypto.errors import ReceiptError
from mitai_crypto.evidence import TeeKind
from mitai_crypto.receipt import parse_receipt_unchecked, verify_receipt

BODY = (
    b'{"configuration":"%b","crypto_material":"%b","exchange":"%b","finish":"stop","model":null,"request":"%b",'
    b'"response":"%b","tee":"simulated","time":1767600000,"usage":{"completion_tokens":1,"prompt_tokens":2},"v":1}'
) % ((b"0a" * 32,) * 5)


def read(data: bytes) -> None:
    """Read a receipt as a body, and as a trailer that nobody has signed."""
    try:
        verify_receipt(
            data,
            receipt_key=bytes(32),
            exchange=bytes(32),
            request_digest=bytes(32),
            response_digest=bytes(32),
            crypto_material_digest=bytes(32),
            model_digest=None,
            configuration="",
            tee=TeeKind.SIMULATED,
        )
    except ReceiptError:
        parse_receipt_unchecked(data)
        return
    raise AssertionError("a receipt that nobody has signed")


def seeds() -> list[bytes]:
    """Return a good body, and a trailer of the right form."""
    return [BODY, b"e30" + b"." + b"A" * 86, b":" + b"A" * 86 + b":"]


TARGET = Target(read, ReceiptError, seeds, factor=200, max_bytes=8192)
