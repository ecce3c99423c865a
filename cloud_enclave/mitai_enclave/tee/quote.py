"""What a source of quotes gives, and what can be asked of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mitai_crypto.evidence import TeeKind


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote and what a verifier needs beside it.

    Attributes:
        evidence: The quote's exact bytes.
        collateral: Certificates, revocation lists and status that came with it; may be empty.
    """

    evidence: bytes = field(repr=False)
    collateral: bytes = field(repr=False)


class Attester(Protocol):
    """A source of quotes."""

    @property
    def kind(self) -> TeeKind:
        """The kind of evidence that it gives."""

    def quote(self, report_data: bytes) -> Quote:
        """Return a fresh quote over 64 bytes. Blocks; one call at a time.

        Raises:
            TeeUnavailable: There is none to be had now.
        """
