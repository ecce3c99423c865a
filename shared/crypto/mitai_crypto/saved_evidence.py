"""How is evidence kept, so that it can be appraised again without the enclave? (`docs/spec/evidence.md` §6)."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from functools import cached_property

from mitai_crypto.errors import EvidenceError
from mitai_crypto.fields import Fields
from mitai_crypto.hashing import labelled
from mitai_crypto.labels import (
    MAX_BUNDLE_BYTES,
    MAX_SAVED_EVIDENCE_BYTES,
    NONCE_BYTES,
    SAVED_EVIDENCE_LABEL,
    SAVED_EVIDENCE_VERSION,
)
from mitai_crypto.strict_json import encode_canonical, parse_canonical


@dataclass(frozen=True)
class SavedEvidence:
    """What an enclave answered to one nonce at one time, exactly.

    Attributes:
        url: Where it was fetched, printable ASCII.
        time: Unix seconds by the clock of who fetched it.
        nonce: The 32 bytes that were asked with. Who saved the evidence chose them: to anybody else they prove nothing
            about the moment.
        bundle: The exact bytes of the answer; nothing of them is verified.
    """

    url: str
    time: int
    nonce: bytes = field(repr=False)
    bundle: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Encode as the canonical JSON of `docs/spec/evidence.md` §6."""
        return encode_canonical(
            {
                "v": SAVED_EVIDENCE_VERSION,
                "url": self.url,
                "time": self.time,
                "nonce": base64.b64encode(self.nonce).decode(),
                "bundle": base64.b64encode(self.bundle).decode(),
            }
        )

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 that names this evidence: the same for the same answer, and for no other."""
        digest = labelled(SAVED_EVIDENCE_LABEL)
        digest.update(self.encode())
        return digest.hexdigest()


def parse_saved_evidence(data: bytes) -> SavedEvidence:
    """Read saved evidence; the bundle in it is not looked into.

    Raises:
        EvidenceError: The bytes are not what `SavedEvidence.encode` writes.
    """
    fields = Fields(parse_canonical(data, max_bytes=MAX_SAVED_EVIDENCE_BYTES), where="saved evidence")
    fields.version("v", SAVED_EVIDENCE_VERSION)
    saved = SavedEvidence(
        url=fields.text("url"),
        time=fields.integer("time"),
        nonce=fields.base64("nonce"),
        bundle=fields.base64("bundle"),
    )
    fields.finish()
    if not saved.url or not saved.url.isascii() or not saved.url.isprintable():
        raise EvidenceError("saved evidence.url must be printable ASCII")
    if len(saved.nonce) != NONCE_BYTES:
        raise EvidenceError(f"saved evidence.nonce must be {NONCE_BYTES} bytes")
    if len(saved.bundle) > MAX_BUNDLE_BYTES:
        raise EvidenceError(f"saved evidence.bundle is over {MAX_BUNDLE_BYTES} bytes")
    return saved
