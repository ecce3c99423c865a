"""What leaves the device, as values: shown before it leaves, written into the ledger, never logged.

Spec: `docs/spec/answering.md` §4; the order of events is in `docs/spec/client.md` §6.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mitai_crypto.saved_evidence import SavedEvidence


class DisclosureKind(StrEnum):
    """How something left the device."""

    SEALED = "sealed"
    """Sealed, to an enclave that had passed a trust policy."""
    REVEALED = "revealed"
    """In the clear, to a program whose model nobody attested."""


class DisclosureOutcome(StrEnum):
    """How an exchange ended, as far as the device knows."""

    UNKNOWN = "unknown"
    """The row was committed; nothing was heard of the exchange since (a killed process leaves this)."""
    COMPLETE = "complete"
    """The whole answer arrived, with a valid receipt."""
    INCOMPLETE = "incomplete"
    """The answer was cut, damaged, failed in the engine, or had no valid receipt."""
    REFUSED = "refused"
    """The enclave, or something before it, refused the request."""
    CLOSED = "closed"
    """The reader stopped before the end."""
    RESENT = "resent"
    """The request was sealed again, to a newer key or with a corrected date; another row follows."""


@dataclass(frozen=True)
class Outgoing:
    """A sealed request in the moment before its first byte leaves.

    Attributes:
        time: Unix time in seconds.
        url: The address of the enclave.
        measurement: The enclave's measurement, hexadecimal.
        tee: The evidence kind: ``tdx``, ``sev-snp`` or ``simulated``.
        simulated: Whether the evidence is of a simulated TEE, which protects nothing.
        policy_name: The name of the trust policy that the evidence passed.
        policy_digest: The policy's digest, hexadecimal.
        request_digest: The digest of the inner request that the receipt will bind, hexadecimal.
        attempt: 1 for the first sealing of a request, more for a resend (`docs/spec/client.md` §5).
        text: The exact body of the inner request.
        crypto_material: SHA-256 of the crypto material whose key seals it, hexadecimal.
        evidence: What the enclave showed, so that all this can be checked again; a sealed row needs it.
    """

    time: int
    url: str
    measurement: str
    tee: str
    simulated: bool
    policy_name: str
    policy_digest: str
    request_digest: str
    attempt: int
    text: str = field(repr=False)
    crypto_material: str | None = None
    evidence: SavedEvidence | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Disclosure:
    """An `Outgoing` together with the passages of the knowledge base that it holds: one row of the ledger.

    Attributes:
        outgoing: What leaves, and to whom.
        passage_ids: The passages inside, best first.
        kind: How it leaves.
    """

    outgoing: Outgoing
    passage_ids: tuple[int, ...] = ()
    kind: DisclosureKind = DisclosureKind.SEALED
