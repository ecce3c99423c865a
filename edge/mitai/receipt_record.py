"""How is a receipt kept so that it can be checked again? (`docs/spec/ledger.md` §2)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mitai_crypto.errors import ReceiptError
from mitai_crypto.fields import Fields
from mitai_crypto.labels import MAX_RECEIPT_BYTES
from mitai_crypto.receipt import Receipt, parse_receipt_unchecked
from mitai_crypto.strict_json import encode_canonical, parse_canonical

if TYPE_CHECKING:
    from typing import Self

MAX_RECORD_BYTES: Final = 4 * MAX_RECEIPT_BYTES


@dataclass(frozen=True)
class ReceiptRecord:
    """A receipt as it was signed, and what the device had computed itself.

    Attributes:
        signed: The exact value of the trailer.
        receipt: What it says.
        exchange: `exchange_digest` of the exchange as the device saw it.
        response: The digest of the response that the device received.
    """

    signed: str = field(repr=False)
    receipt: Receipt
    exchange: bytes
    response: bytes

    @classmethod
    def of(cls, receipt: Receipt, signed: str) -> Self:
        """Keep a receipt that was just verified: its digests are those that the device computed."""
        return cls(signed, receipt, receipt.exchange, receipt.response)

    def encode(self) -> str:
        """Encode as the canonical JSON that the ledger keeps."""
        return encode_canonical(
            {
                "exchange": self.exchange.hex(),
                "receipt": json.loads(self.receipt.encode()),
                "response": self.response.hex(),
                "signed": self.signed,
            }
        ).decode()


def parse_receipt_record(text: str) -> ReceiptRecord:
    """Read what the ledger keeps of a receipt; its signature is not looked at.

    Raises:
        ReceiptError: The text is not what `ReceiptRecord.encode` writes.
    """
    data = text.encode("utf-8", "surrogatepass")
    value = parse_canonical(data, max_bytes=MAX_RECORD_BYTES, error=ReceiptError)
    fields = Fields(value, where="receipt record", error=ReceiptError)
    copy = fields.take("receipt")
    if not isinstance(copy, dict):
        raise ReceiptError("receipt record.receipt is not an object")
    signed = fields.take("signed")
    if not isinstance(signed, str) or not signed.isascii():
        raise ReceiptError("receipt record.signed is not the value of a trailer")
    record = ReceiptRecord(
        signed=signed,
        receipt=parse_receipt_unchecked(encode_canonical(copy)),
        exchange=bytes.fromhex(fields.digest("exchange")),
        response=bytes.fromhex(fields.digest("response")),
    )
    fields.finish()
    return record
