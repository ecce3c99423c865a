"""The root of Mitai's error tree and the branch that belongs to the channel and its evidence.

    MitaiError
    ├── ChannelError                 the sealed channel could not be used
    │   ├── HpkeError                a key, an encapsulation or a ciphertext is not valid
    │   ├── BhttpError               a Binary HTTP message breaks RFC 9292 or our stricter rules
    │   ├── KeyConfigError           an OHTTP key configuration is malformed or names no known suite
    │   ├── DecapsulationError       a sealed message does not open (one message for every reason)
    │   ├── TruncatedMessage         a sealed message stopped before its final chunk
    │   └── MessageTooLarge          a message or chunk is over its cap
    ├── AttestationError             an enclave is not proven to be what it says
    │   ├── EvidenceError            evidence is malformed
    │   ├── PolicyError              a trust policy is malformed, unknown or too weak
    │   ├── EvidenceExpired          a verified enclave must be verified again
    │   ├── TeeUnavailable           no quote can be had on this machine
    │   └── VerificationFailed       an appraisal step failed; carries the whole report
    └── ReceiptError                 a receipt is missing, malformed, or not of this exchange

The other branches hang from the same root: `mitai_ingest.errors`, `mitai.errors`, `mitai_enclave.errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from mitai_crypto.verify import VerificationReport


class MitaiError(Exception):
    """The base of every error that Mitai raises on purpose.

    Attributes:
        hint: What the reader can do about it, as one sentence; empty where there is nothing to do.
    """

    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = self.default_hint if hint is None else hint


class ChannelError(MitaiError):
    """The sealed channel could not be used."""


class HpkeError(ChannelError):
    """A key, an encapsulation or a ciphertext is not valid; the reason is deliberately not told."""

    default_hint = "Fetch fresh evidence and use the key in it."


class BhttpError(ChannelError):
    """A Binary HTTP message breaks RFC 9292 or the stricter rules of `docs/spec/bhttp.md`."""

    default_hint = "Device and enclave may run versions that do not fit together; compare them."


class KeyConfigError(ChannelError):
    """An OHTTP key configuration is malformed or names no suite that we know."""

    default_hint = "The enclave may be newer than this device; update, then verify again."


class DecapsulationError(ChannelError):
    """A sealed message does not open. Every reason gives the same error (RFC 9458 §5.2)."""

    default_hint = "Fetch fresh evidence and send again under the key in it; never show what was left over."


class TruncatedMessage(ChannelError):
    """A sealed message stopped before its final chunk."""

    default_hint = "The connection or the enclave broke off; ask again."


class MessageTooLarge(ChannelError):
    """A message or one of its chunks is over its cap."""

    default_hint = "Send fewer or shorter passages, or ask for a shorter answer."


class AttestationError(MitaiError):
    """An enclave is not proven to be what it says."""


class EvidenceError(AttestationError):
    """Evidence is malformed."""


class PolicyError(AttestationError):
    """A trust policy is malformed, has an unknown field, or is too weak to mean anything."""


class EvidenceExpired(AttestationError):
    """An enclave was verified, but too long ago, or its keys are over."""

    default_hint = "Verify the enclave again."


class TeeUnavailable(AttestationError):
    """No quote can be had on this machine."""

    default_hint = "On a machine without TEE hardware run: mitai-sim run -- mitai-enclave serve --tee simulated …"


class VerificationFailed(AttestationError):
    """An appraisal step failed.

    Attributes:
        report: Every numbered step with its outcome and reason.
    """

    default_hint = "Nothing was sent. Run `mitai verify URL` to see every step."

    def __init__(self, message: str, *, report: VerificationReport, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.report = report


class ReceiptError(MitaiError):
    """A receipt is missing, malformed, or not the receipt of this exchange."""
