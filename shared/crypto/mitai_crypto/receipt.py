"""What does an enclave sign after an answer, and when is it believed? (`docs/spec/receipt.md`)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mitai_crypto.errors import ReceiptError
from mitai_crypto.evidence import TeeKind
from mitai_crypto.fields import Fields
from mitai_crypto.hashing import field_lines, labelled, length_prefixed
from mitai_crypto.labels import (
    MAX_JSON_INTEGER,
    MAX_RECEIPT_BYTES,
    RECEIPT_LABEL,
    RECEIPT_VERSION,
    REQUEST_DIGEST_LABEL,
    RESPONSE_DIGEST_LABEL,
)
from mitai_crypto.strict_json import JsonObject, encode_canonical, parse_canonical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_FINISH: Final = re.compile(r"[a-z_]{1,32}")
_MAX_STATUS: Final = 0xFFFF
_DIGEST_BYTES: Final = 32
_HEX_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class RequestDigest:
    """Hash an inner request while its content streams by.

    Args:
        method: As in the control data, for instance `b"POST"`.
        scheme: `b"https"`.
        authority: As in the control data.
        path: As in the control data.
        headers: Fields in the order in which they were sent.
    """

    def __init__(
        self,
        method: bytes,
        scheme: bytes,
        authority: bytes,
        path: bytes,
        headers: Sequence[tuple[bytes, bytes]],
    ) -> None:
        self._hash = labelled(REQUEST_DIGEST_LABEL)
        for part in (method, scheme, authority, path):
            self._hash.update(length_prefixed(part))
        self._hash.update(field_lines(headers))

    def update(self, content: bytes) -> None:
        """Add the next piece of content; where pieces begin and end does not matter."""
        self._hash.update(content)

    def digest(self) -> bytes:
        """Return the 32 bytes over everything so far."""
        return self._hash.digest()


class ResponseDigest:
    """Hash an inner response while its content streams by.

    Args:
        status: The status code.
        headers: Fields in the order in which they were sent.
    """

    def __init__(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        if not 0 <= status <= _MAX_STATUS:
            raise ReceiptError(f"{status} is not a status code")
        self._hash = labelled(RESPONSE_DIGEST_LABEL)
        self._hash.update(status.to_bytes(2, "big"))
        self._hash.update(field_lines(headers))

    def update(self, content: bytes) -> None:
        """Add the next piece of content; where pieces begin and end does not matter."""
        self._hash.update(content)

    def digest(self) -> bytes:
        """Return the 32 bytes over everything so far."""
        return self._hash.digest()


@dataclass(frozen=True)
class Usage:
    """Token counts of one exchange, as the engine reports them."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Receipt:
    """What an enclave says about one exchange. Digests are 32 bytes unless they are hex text.

    Attributes:
        exchange: `exchange_digest` of the sealed exchange.
        request: Digest of the inner request.
        response: Digest of the inner response.
        crypto_material: SHA-256 of the crypto material's exact bytes.
        model: Model digest in hex; None where the engine is external.
        configuration: Configuration digest in hex.
        finish: Why the answer ended, 1–32 of `a-z` and `_`.
        usage: Token counts, where there are any.
        time: Unix seconds by the enclave's clock, which its operator sets.
        tee: The evidence kind.
    """

    exchange: bytes
    request: bytes
    response: bytes
    crypto_material: bytes
    model: str | None
    configuration: str
    finish: str
    usage: Usage | None
    time: int
    tee: TeeKind

    def encode(self) -> bytes:
        """Encode as the canonical JSON that is signed."""
        usage: JsonObject | None = None
        if self.usage is not None:
            usage = {
                "prompt_tokens": self.usage.prompt_tokens,
                "completion_tokens": self.usage.completion_tokens,
            }
        return encode_canonical(
            {
                "v": RECEIPT_VERSION,
                "exchange": self.exchange.hex(),
                "request": self.request.hex(),
                "response": self.response.hex(),
                "crypto_material": self.crypto_material.hex(),
                "model": self.model,
                "configuration": self.configuration,
                "finish": self.finish,
                "usage": usage,
                "time": self.time,
                "tee": self.tee.value,
            }
        )


def exchange_digest(enc: bytes, response_nonce: bytes) -> bytes:
    """Name one sealed exchange: SHA-256(enc ‖ response nonce). The length of enc is fixed by the suite."""
    return hashlib.sha256(enc + response_nonce).digest()


def issue_receipt(signing_key: Ed25519PrivateKey, receipt: Receipt) -> bytes:
    """Sign a receipt and give the value of the trailer `mitai-receipt`.

    Raises:
        ReceiptError: A value is outside the rules, so that no device would accept the receipt.
    """
    _check_values(receipt)
    body = receipt.encode()
    return _to_base64url(body) + b"." + _to_base64url(signing_key.sign(RECEIPT_LABEL + b"\0" + body))


def _check_values(receipt: Receipt) -> None:
    """Refuse what `parse_receipt_unchecked` would refuse of the encoded receipt."""
    digests = (receipt.exchange, receipt.request, receipt.response, receipt.crypto_material)
    hexes = (receipt.configuration,) if receipt.model is None else (receipt.configuration, receipt.model)
    counts: tuple[int, ...] = (receipt.time,)
    if receipt.usage is not None:
        counts += (receipt.usage.prompt_tokens, receipt.usage.completion_tokens)
    if not (
        all(len(digest) == _DIGEST_BYTES for digest in digests)
        and all(_HEX_DIGEST.fullmatch(text) for text in hexes)
        and all(0 <= number <= MAX_JSON_INTEGER for number in counts)
        and _FINISH.fullmatch(receipt.finish)
    ):
        raise ReceiptError("a value of the receipt is outside the rules")


def verify_receipt(
    value: bytes,
    *,
    receipt_key: bytes,
    exchange: bytes,
    request_digest: bytes,
    response_digest: bytes,
    crypto_material_digest: bytes,
    model_digest: str | None,
    configuration: str,
    tee: TeeKind,
) -> Receipt:
    """Check a receipt's signature and that it is about exactly this exchange.

    Args:
        value: The trailer's value.
        receipt_key: 32 bytes from *verified* crypto material.
        exchange: `exchange_digest` of the exchange as the device saw it.
        request_digest: Over the request that the device sent.
        response_digest: Over the response that the device received.
        crypto_material_digest: SHA-256 of the verified crypto material.
        model_digest: Hex, from the verified crypto material; None for an external engine.
        configuration: Hex, from the verified crypto material.
        tee: The kind of the verified evidence.

    Raises:
        ReceiptError: The receipt is malformed, not signed by that key, or about something else.
    """
    body = _verify_signature(value, receipt_key)
    receipt = parse_receipt_unchecked(body)
    expected: dict[str, object] = {
        "exchange": exchange,
        "request": request_digest,
        "response": response_digest,
        "crypto_material": crypto_material_digest,
        "model": model_digest,
        "configuration": configuration,
        "tee": tee,
    }
    wrong = [name for name, value in expected.items() if getattr(receipt, name) != value]
    if wrong:
        raise ReceiptError(
            f"the receipt is of another exchange: {', '.join(wrong)} differ",
            hint="Treat the answer as incomplete and ask again.",
        )
    return receipt


def parse_receipt_unchecked(body: bytes) -> Receipt:
    """Read a receipt's JSON without any check of who signed it or what it is about.

    Raises:
        ReceiptError: The bytes are not a canonical receipt.
    """
    fields = Fields(
        parse_canonical(body, max_bytes=MAX_RECEIPT_BYTES, error=ReceiptError),
        where="receipt",
        error=ReceiptError,
    )
    fields.version("v", RECEIPT_VERSION)
    receipt = Receipt(
        exchange=bytes.fromhex(fields.digest("exchange")),
        request=bytes.fromhex(fields.digest("request")),
        response=bytes.fromhex(fields.digest("response")),
        crypto_material=bytes.fromhex(fields.digest("crypto_material")),
        model=None if fields.null("model") else fields.digest("model"),
        configuration=fields.digest("configuration"),
        finish=fields.name("finish"),
        usage=None if fields.null("usage") else _parse_usage(fields.inner("usage")),
        time=fields.integer("time"),
        tee=TeeKind(fields.choice("tee", tuple(TeeKind))),
    )
    fields.finish()
    if not _FINISH.fullmatch(receipt.finish):
        raise ReceiptError("receipt.finish must be 1 to 32 of a-z and _")
    return receipt


def _parse_usage(fields: Fields) -> Usage:
    usage = Usage(
        prompt_tokens=fields.integer("prompt_tokens"),
        completion_tokens=fields.integer("completion_tokens"),
    )
    fields.finish()
    return usage


def _verify_signature(value: bytes, receipt_key: bytes) -> bytes:
    encoded_body, separator, encoded_signature = value.partition(b".")
    if not separator or len(value) > 2 * MAX_RECEIPT_BYTES:
        raise ReceiptError("the receipt is not two parts with a dot between")
    body, signature = _from_base64url(encoded_body), _from_base64url(encoded_signature)
    try:
        Ed25519PublicKey.from_public_bytes(receipt_key).verify(signature, RECEIPT_LABEL + b"\0" + body)
    except (InvalidSignature, ValueError):
        raise ReceiptError("the receipt is not signed by the enclave that was verified") from None
    return body


def _to_base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _from_base64url(data: bytes) -> bytes:
    try:
        decoded = base64.b64decode(data + b"=" * (-len(data) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ReceiptError("the receipt is not base64url") from None
    if _to_base64url(decoded) != data:  # one signature must have one spelling
        raise ReceiptError("the receipt is not canonical base64url")
    return decoded
