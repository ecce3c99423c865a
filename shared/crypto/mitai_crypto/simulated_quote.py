"""What does the simulated TEE's quote say, and who signed it? (`docs/spec/simulated_tee.md` §3)."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature

from mitai_crypto.errors import EvidenceError
from mitai_crypto.evidence import REGISTER_BYTES, REGISTERS, TeeKind
from mitai_crypto.fields import Fields
from mitai_crypto.labels import (
    MAX_BUNDLE_BYTES,
    MAX_SIMULATED_EVENTS,
    REPORT_DATA_BYTES,
    SIMULATED_QUOTE_LABEL,
    SIMULATED_VERSION,
)
from mitai_crypto.simulated_log import Event, parse_event
from mitai_crypto.strict_json import encode_canonical, parse_canonical, parse_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

CHIP_ID_BYTES: Final = 16
MAX_TCB_VERSION: Final = 0xFFFF


@dataclass(frozen=True)
class Quote:
    """What the platform key signs.

    Attributes:
        registers: Register name → hex value.
        report_data: 64 bytes.
        debug: Whether the memory may be read from outside.
        migratable: Whether the enclave may be moved elsewhere.
        tcb: TCB version as the platform states it; the certificate's is what counts.
        chip_id: Hex; the certificate's is what counts.
    """

    registers: Mapping[str, str]
    report_data: bytes
    debug: bool
    migratable: bool
    tcb: int
    chip_id: str

    def encode(self) -> bytes:
        """Encode as the canonical JSON that is signed."""
        return encode_canonical(
            {
                "v": SIMULATED_VERSION,
                "registers": dict(self.registers),
                "report_data": self.report_data.hex(),
                "debug": self.debug,
                "migratable": self.migratable,
                "tcb": self.tcb,
                "chip_id": self.chip_id,
            }
        )


@dataclass(frozen=True)
class SimulatedEvidence:
    """The `evidence` part of a simulated bundle.

    Attributes:
        quote: What was parsed from `signed`.
        signed: The exact bytes under the signature.
        signature: Ed25519, not verified yet.
        events: The event log, not replayed yet.
    """

    quote: Quote
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    events: tuple[Event, ...] = field(repr=False)

    def encode(self) -> bytes:
        """Encode as JSON."""
        return encode_canonical(
            {
                "v": SIMULATED_VERSION,
                "quote": base64.b64encode(self.signed).decode(),
                "signature": base64.b64encode(self.signature).decode(),
                "events": [event.to_json() for event in self.events],
            }
        )

    def verify_signature(self, key: Ed25519PublicKey) -> None:
        """Check that `key` signed the quote.

        Raises:
            EvidenceError: It did not.
        """
        try:
            key.verify(self.signature, signed_quote(self.signed))
        except InvalidSignature:
            raise EvidenceError("the platform key did not sign this quote") from None


def signed_quote(quote: bytes) -> bytes:
    """Give the bytes that the platform key signs for an encoded quote."""
    return SIMULATED_QUOTE_LABEL + b"\0" + quote


def parse_evidence(data: bytes) -> SimulatedEvidence:
    """Read the `evidence` part of a simulated bundle.

    Raises:
        EvidenceError: The bytes are not well-formed simulated evidence.
    """
    fields = Fields(parse_object(data, max_bytes=MAX_BUNDLE_BYTES), where="evidence")
    fields.version("v", SIMULATED_VERSION)
    signed = fields.base64("quote")
    evidence = SimulatedEvidence(
        quote=_parse_quote(signed),
        signed=signed,
        signature=fields.base64("signature"),
        events=tuple(parse_event(item) for item in fields.array("events", most=MAX_SIMULATED_EVENTS)),
    )
    fields.finish()
    return evidence


def _parse_quote(data: bytes) -> Quote:
    fields = Fields(parse_canonical(data, max_bytes=MAX_BUNDLE_BYTES), where="quote")
    fields.version("v", SIMULATED_VERSION)
    registers = fields.inner("registers")
    quote = Quote(
        registers={name: registers.digest(name, REGISTER_BYTES) for name in REGISTERS[TeeKind.SIMULATED]},
        report_data=bytes.fromhex(fields.digest("report_data", REPORT_DATA_BYTES)),
        debug=fields.flag("debug"),
        migratable=fields.flag("migratable"),
        tcb=fields.integer("tcb", most=MAX_TCB_VERSION),
        chip_id=fields.digest("chip_id", CHIP_ID_BYTES),
    )
    registers.finish()
    fields.finish()
    return quote
