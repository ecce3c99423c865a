"""What does an enclave show, and what does its quote have to bind? (`docs/spec/evidence.md` §2, §4, §5)."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mitai_crypto.errors import EvidenceError
from mitai_crypto.fields import Fields
from mitai_crypto.hashing import labelled, length_prefixed
from mitai_crypto.labels import (
    ATTESTATION_LABEL,
    EVIDENCE_VERSION,
    GPU_LABEL,
    MAX_BUNDLE_BYTES,
    MEASUREMENT_LABEL,
    NONCE_BYTES,
    REPORT_DATA_BYTES,
)
from mitai_crypto.strict_json import encode_canonical, parse_object

if TYPE_CHECKING:
    from collections.abc import Mapping


class TeeKind(StrEnum):
    """The kinds of evidence that a bundle can carry."""

    TDX = "tdx"
    SEV_SNP = "sev-snp"
    SIMULATED = "simulated"


REGISTER_BYTES: Final = 48
"""Every register of every kind holds a SHA-384 value."""

REGISTERS: Final[Mapping[TeeKind, tuple[str, ...]]] = {
    TeeKind.TDX: ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3"),
    TeeKind.SEV_SNP: ("measurement",),
    TeeKind.SIMULATED: ("r0", "r1", "r2", "r3"),
}
"""The names of each kind's measurement registers."""


@dataclass(frozen=True)
class EvidenceBundle:
    """The exact bytes that an enclave shows.

    Attributes:
        tee: How `evidence` and `collateral` are to be read.
        crypto_material: What `mitai_crypto.crypto_material` parses.
        device_evidence: What a GPU shows; empty where there is none.
        evidence: The quote.
        collateral: What a verifier needs to judge the quote.
    """

    tee: TeeKind
    crypto_material: bytes = field(repr=False)
    device_evidence: bytes = field(repr=False)
    evidence: bytes = field(repr=False)
    collateral: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Encode as the JSON object of `docs/spec/evidence.md` §2."""
        return encode_canonical(
            {
                "v": EVIDENCE_VERSION,
                "tee": self.tee.value,
                "crypto_material": base64.b64encode(self.crypto_material).decode(),
                "device_evidence": base64.b64encode(self.device_evidence).decode(),
                "evidence": base64.b64encode(self.evidence).decode(),
                "collateral": base64.b64encode(self.collateral).decode(),
            }
        )


def parse_bundle(data: bytes) -> EvidenceBundle:
    """Read a bundle; its parts are not looked into.

    Raises:
        EvidenceError: The bytes are not a well-formed bundle of at most `MAX_BUNDLE_BYTES`.
    """
    fields = Fields(parse_object(data, max_bytes=MAX_BUNDLE_BYTES), where="bundle")
    fields.version("v", EVIDENCE_VERSION)
    bundle = EvidenceBundle(
        tee=TeeKind(fields.choice("tee", tuple(TeeKind))),
        crypto_material=fields.base64("crypto_material"),
        device_evidence=fields.base64("device_evidence"),
        evidence=fields.base64("evidence"),
        collateral=fields.base64("collateral"),
    )
    fields.finish()
    return bundle


def report_data(nonce: bytes, crypto_material: bytes, device_evidence: bytes) -> bytes:
    """Compute the 64 bytes that a quote must carry for this nonce and these bytes.

    Args:
        nonce: 32 bytes, chosen by the verifier.
        crypto_material: The exact bytes of that part of the bundle.
        device_evidence: The exact bytes of that part of the bundle.

    Raises:
        EvidenceError: The nonce has another length.
    """
    bound = hashlib.sha256(
        ATTESTATION_LABEL
        + _checked_nonce(nonce)
        + hashlib.sha256(crypto_material).digest()
        + hashlib.sha256(device_evidence).digest()
    ).digest()
    return bound.ljust(REPORT_DATA_BYTES, b"\0")


def gpu_nonce(nonce: bytes, crypto_material: bytes) -> bytes:
    """Compute the 32 bytes with which an enclave asks its GPU for evidence.

    Raises:
        EvidenceError: The nonce is not 32 bytes.
    """
    return hashlib.sha256(GPU_LABEL + _checked_nonce(nonce) + hashlib.sha256(crypto_material).digest()).digest()


def measurement_digest(tee: TeeKind, registers: Mapping[str, str]) -> str:
    """Fold all measurement registers into one hex SHA-256 (`docs/spec/evidence.md` §5).

    Args:
        tee: The kind that the registers belong to.
        registers: Register name → hex value.
    """
    digest = labelled(MEASUREMENT_LABEL)
    digest.update(length_prefixed(tee.value.encode()))
    for name, value in sorted(registers.items()):
        digest.update(length_prefixed(name.encode()) + length_prefixed(bytes.fromhex(value)))
    return digest.hexdigest()


def _checked_nonce(nonce: bytes) -> bytes:
    if len(nonce) != NONCE_BYTES:
        raise EvidenceError(f"a nonce has {NONCE_BYTES} bytes, not {len(nonce)}")
    return nonce
