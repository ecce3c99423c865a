"""Is this enclave what my policy demands, now and for my nonce? (`docs/spec/verification.md`).

    report, result = appraise(bundle, nonce=nonce, policy=policy, now=now)
    for step in report.steps:
        print(step.number, step.title, step.outcome, step.reason)
    if result is not None:
        config = result.key_config(now)

This module reads no clock, file or network: bytes, policy and time come in as arguments.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mitai_crypto.appraisal import Appraisal, needed
from mitai_crypto.errors import EvidenceError, EvidenceExpired, VerificationFailed
from mitai_crypto.evidence import TeeKind, measurement_digest
from mitai_crypto.labels import NONCE_BYTES
from mitai_crypto.presented import Presented, parse_presented
from mitai_crypto.report import Outcome, Step, VerificationReport
from mitai_crypto.workload_steps import (
    GpuAppraiser,
    check_binding,
    check_chip,
    check_gpu,
    check_key_validity,
    check_kind,
    check_reference_age,
    check_workload,
    current_key,
)

if TYPE_CHECKING:
    from mitai_crypto.crypto_material import CryptoMaterial, PublishedKey
    from mitai_crypto.ohttp import KeyConfig
    from mitai_crypto.policy import KeySuite, TrustPolicy

__all__ = [
    "AttestationResult",
    "GpuAppraiser",
    "Outcome",
    "Step",
    "VerificationReport",
    "appraise",
    "verify_evidence",
]


@dataclass(frozen=True)
class AttestationResult:
    """A verified enclave. Only an appraisal that passed makes one.

    Attributes:
        report: Every step.
        tee: The kind of the verified evidence.
        keys: The published keys, in the enclave's order.
        receipt_key: Ed25519 public key, 32 bytes.
        crypto_material_digest: SHA-256 of the exact crypto material, as receipts name it.
        material: The verified crypto material.
        suites: The policy's suites, the preferred first.
        usable_until: Unix seconds from which this result must not be used.
        measurement: Hex digest over the registers.
        simulated: Whether the evidence kind is the simulated one.
    """

    report: VerificationReport
    tee: TeeKind
    keys: tuple[PublishedKey, ...]
    receipt_key: bytes = field(repr=False)
    crypto_material_digest: bytes = field(repr=False)
    material: CryptoMaterial
    suites: tuple[KeySuite, ...]
    usable_until: int
    measurement: str
    simulated: bool

    def key_config(self, now: int) -> KeyConfig:
        """Return the key to seal to: the enclave's current key of the policy's preferred suite.

        Raises:
            EvidenceExpired: `now` is not before `usable_until`.
        """
        if now >= self.usable_until:
            raise EvidenceExpired(f"the enclave was verified for use until {self.usable_until}, now {now}")
        return current_key(self.material, self.suites).key_config()


def appraise(
    bundle: bytes,
    *,
    nonce: bytes,
    policy: TrustPolicy,
    now: int,
    gpu_appraiser: GpuAppraiser | None = None,
) -> tuple[VerificationReport, AttestationResult | None]:
    """Take all 13 steps, whatever comes of each.

    Args:
        bundle: What the enclave answered. Untrusted.
        nonce: The 32 bytes that were sent with the request for this bundle.
        policy: What is demanded.
        now: Unix seconds.
        gpu_appraiser: Judges device evidence; without one a policy that requires a GPU fails.

    Returns:
        The report, and the verified enclave if the report is `ok`.

    Raises:
        EvidenceError: The nonce is not 32 bytes: a mistake of the caller, not of the enclave.
    """
    if len(nonce) != NONCE_BYTES:
        raise EvidenceError(f"a nonce has {NONCE_BYTES} bytes, not {len(nonce)}")
    shown = parse_presented(bundle)
    kind = shown.kind
    steps = Appraisal()
    steps.check(shown.well_formed)
    steps.check(lambda: check_kind(shown, policy))
    steps.check(lambda: kind.chain(policy, now))
    steps.check(kind.signature)
    steps.check(lambda: kind.tcb_status(now))
    steps.check(kind.debug)
    steps.check(lambda: kind.measurement(policy, now))
    steps.check(lambda: check_binding(shown, nonce))
    steps.check(lambda: check_gpu(shown, policy, nonce, now, gpu_appraiser))
    steps.check(lambda: check_key_validity(shown, now))
    steps.check(lambda: check_workload(shown, policy))
    steps.check(lambda: check_reference_age(kind.reference, now))
    steps.check(lambda: check_chip(kind, policy))
    report = _report(shown, steps, policy, now)
    return report, _result(shown, report, policy) if report.ok else None


def verify_evidence(
    bundle: bytes,
    *,
    nonce: bytes,
    policy: TrustPolicy,
    now: int,
    gpu_appraiser: GpuAppraiser | None = None,
) -> AttestationResult:
    """Appraise, and return only a verified enclave. Arguments are those of `appraise`.

    Raises:
        VerificationFailed: A step failed, or a mandatory one could not be checked; carries the report.
        EvidenceError: The nonce is not 32 bytes.
    """
    report, result = appraise(bundle, nonce=nonce, policy=policy, now=now, gpu_appraiser=gpu_appraiser)
    if result is None:
        first = report.failures[0]
        raise VerificationFailed(
            f"the enclave is not verified: step {first.number}, {first.title}: {first.reason}",
            report=report,
        )
    return result


def _report(shown: Presented, steps: Appraisal, policy: TrustPolicy, now: int) -> VerificationReport:
    tee = None if shown.bundle is None else shown.bundle.tee
    registers = shown.kind.registers
    measurement = ""
    if tee is not None and registers is not None and steps.passed(4):
        measurement = measurement_digest(tee, registers)
    return VerificationReport(
        steps=steps.steps,
        tee=tee,
        simulated=tee is TeeKind.SIMULATED,
        policy_name=policy.name,
        policy_digest=policy.digest,
        measurement=measurement,
        checked_at=now,
        trust_on_first_use=policy.trust_on_first_use,
    )


def _result(shown: Presented, report: VerificationReport, policy: TrustPolicy) -> AttestationResult:
    # An `ok` report means that every part was read; `needed` only tells the type checker.
    bundle = needed(shown.bundle, "no bundle")
    material = needed(shown.material, "no crypto material")
    next_update = needed(shown.kind.next_update, "no collateral")
    return AttestationResult(
        report=report,
        tee=bundle.tee,
        keys=material.keys,
        receipt_key=material.receipt_key,
        crypto_material_digest=hashlib.sha256(bundle.crypto_material).digest(),
        material=material,
        suites=policy.suites,
        usable_until=min(
            current_key(material, policy.suites).not_after,
            next_update,
            report.checked_at + policy.max_age_seconds,
        ),
        measurement=report.measurement,
        simulated=report.simulated,
    )
