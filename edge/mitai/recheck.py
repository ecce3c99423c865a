"""Do the receipts of the ledger still hold? (`docs/spec/ledger.md` §3).

    for result in recheck(rows, evidence, policy).results:
        print(result.disclosure_id, result.outcome, result.reason)

This module reads no clock, file or network: rows, evidence and policy come in as arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mitai.disclosure import DisclosureKind, DisclosureOutcome
from mitai.errors import MitaiError
from mitai.receipt_record import parse_receipt_record
from mitai_crypto.errors import EvidenceError, ReceiptError
from mitai_crypto.receipt import verify_receipt
from mitai_crypto.verify import appraise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mitai.storage.ledger import DisclosureRecord
    from mitai_crypto.policy import TrustPolicy
    from mitai_crypto.report import VerificationReport
    from mitai_crypto.saved_evidence import SavedEvidence
    from mitai_crypto.verify import AttestationResult

_ENGINE_FAILED: Final = "error"  # `finish` of a receipt, `docs/spec/http.md` §5


class RowOutcome(StrEnum):
    """What came of checking one row again."""

    VERIFIED = "verified"
    NO_RECEIPT = "no receipt"
    NOT_SEALED = "not sealed"
    FAILED = "failed"


@dataclass(frozen=True)
class RowResult:
    """One row, checked again.

    Attributes:
        disclosure_id: The row.
        outcome: What came of it.
        reason: Why, as one sentence.
        simulated: Whether its evidence is of a simulated TEE, which protects nothing.
        evidence: The digest of the evidence it rests on.
    """

    disclosure_id: int
    outcome: RowOutcome
    reason: str
    simulated: bool
    evidence: str | None


@dataclass(frozen=True)
class Appraised:
    """Saved evidence under the policy, at its own time.

    Attributes:
        evidence: What was appraised.
        report: Every step.
        result: The verified enclave, if the report is `ok`.
    """

    evidence: SavedEvidence
    report: VerificationReport
    result: AttestationResult | None


@dataclass(frozen=True)
class Recheck:
    """Rows and the evidence they rest on, checked again.

    Attributes:
        results: One a row, in order.
        evidence: What was appraised, by digest.
    """

    results: tuple[RowResult, ...]
    evidence: Mapping[str, Appraised]

    @property
    def ok(self) -> bool:
        """Whether no row failed."""
        return all(result.outcome is not RowOutcome.FAILED for result in self.results)

    @property
    def simulated(self) -> bool:
        """Whether any row rests on a simulated TEE, which protects nothing."""
        return any(result.simulated for result in self.results)


def recheck(rows: Iterable[DisclosureRecord], evidence: Mapping[str, SavedEvidence], policy: TrustPolicy) -> Recheck:
    """Check every row again, each distinct evidence once, at the time of that evidence.

    Args:
        rows: Of the ledger or of an export. Untrusted.
        evidence: What they rest on, by digest.
        policy: What is demanded now.
    """
    appraised = {digest: _appraise(saved, policy) for digest, saved in evidence.items()}
    seen: set[bytes] = set()
    return Recheck(tuple(_check_row(row, appraised, policy, seen) for row in rows), appraised)


def _appraise(saved: SavedEvidence, policy: TrustPolicy) -> Appraised:
    report, result = appraise(saved.bundle, nonce=saved.nonce, policy=policy, now=saved.time)
    return Appraised(saved, report, result)


def _check_row(
    row: DisclosureRecord, appraised: Mapping[str, Appraised], policy: TrustPolicy, seen: set[bytes]
) -> RowResult:
    if row.kind is DisclosureKind.REVEALED:
        outcome, reason = RowOutcome.NOT_SEALED, "revealed in the clear to a program; there is nothing to verify"
    else:
        try:
            outcome, reason = _verify_row(row, appraised, policy, seen)
        except MitaiError as error:
            outcome, reason = RowOutcome.FAILED, str(error)
    known = appraised.get(row.evidence or "")
    simulated = row.simulated or (known is not None and known.report.simulated)
    return RowResult(row.disclosure_id, outcome, reason, simulated, row.evidence)


def _verify_row(
    row: DisclosureRecord, appraised: Mapping[str, Appraised], policy: TrustPolicy, seen: set[bytes]
) -> tuple[RowOutcome, str]:
    shown, result = _verify_evidence(row, appraised)
    _verify_agreement(row, shown.evidence, result)
    under = "" if row.policy_digest == policy.digest else "; it was sent under another policy"
    if row.receipt is not None:
        _verify_receipt(row, row.receipt, result, seen)
        return RowOutcome.VERIFIED, f"receipt, digests and evidence hold{under}"
    if row.outcome is DisclosureOutcome.COMPLETE:
        raise ReceiptError("the row says that the answer was complete, but has no receipt")
    return RowOutcome.NO_RECEIPT, f"the evidence holds; outcome {row.outcome}{under}"


def _verify_evidence(row: DisclosureRecord, appraised: Mapping[str, Appraised]) -> tuple[Appraised, AttestationResult]:
    if row.evidence is None:
        raise EvidenceError("no evidence was kept: the row was written by an older version")
    shown = appraised.get(row.evidence)
    if shown is None:
        raise EvidenceError("the evidence that the row names is missing")
    if shown.result is None:
        first = shown.report.failures[0]
        raise EvidenceError(f"evidence: step {first.number}, {first.title}: {first.reason}")
    return shown, shown.result


def _verify_agreement(row: DisclosureRecord, evidence: SavedEvidence, result: AttestationResult) -> None:
    """Check that the row says of the enclave what the evidence proves."""
    proven: dict[str, object] = {
        "url": evidence.url,
        "measurement": result.measurement,
        "tee": result.tee.value,
        "simulated": result.simulated,
        "crypto_material": result.crypto_material_digest.hex(),
    }
    wrong = [name for name, value in proven.items() if getattr(row, name) != value]
    if wrong:
        raise EvidenceError(f"the row differs from its evidence: {', '.join(wrong)}")
    if row.time >= result.usable_until:
        raise EvidenceError("the row is later than the end of use of its evidence")


def _verify_receipt(row: DisclosureRecord, kept: str, result: AttestationResult, seen: set[bytes]) -> None:
    record = parse_receipt_record(kept)
    try:
        request = bytes.fromhex(row.request_digest)
    except ValueError:
        raise ReceiptError("the row's request digest is not hexadecimal") from None
    signed = verify_receipt(
        record.signed.encode("ascii"),
        receipt_key=result.receipt_key,
        exchange=record.exchange,
        request_digest=request,
        response_digest=record.response,
        crypto_material_digest=result.crypto_material_digest,
        model_digest=result.material.model_digest,
        configuration=result.material.configuration,
        tee=result.tee,
    )
    if signed != record.receipt:
        raise ReceiptError("the readable copy of the receipt is not what was signed")
    if row.outcome is DisclosureOutcome.COMPLETE and signed.finish == _ENGINE_FAILED:
        raise ReceiptError("the row says that the answer was complete, but the receipt says that it failed")
    if signed.exchange in seen:
        raise ReceiptError("the receipt stands in an earlier row already: one exchange has one row")
    seen.add(signed.exchange)
