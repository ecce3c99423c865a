"""What in a trust policy is weak, missing or about to end? (`docs/spec/policy.md`, "Check").

Everything here parses: what does not mean anything is refused by `parse_policy`. This module reads no clock or file.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mitai_crypto.evidence import TeeKind
from mitai_crypto.labels import CLOCK_SKEW_SECONDS, DEFAULT_MAX_AGE_SECONDS
from mitai_crypto.policy import KeySuite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mitai_crypto.policy import TrustPolicy

SOON_SECONDS: Final = 30 * 86_400


class Level(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """No enclave can pass."""
    WARNING = "warning"
    """It protects less than it could."""


@dataclass(frozen=True)
class Finding:
    """Something that whoever wrote the policy should know.

    Attributes:
        level: How bad it is.
        field: Of the policy.
        message: One sentence.
    """

    level: Level
    field: str
    message: str


def lint_policy(policy: TrustPolicy, *, now: int) -> list[Finding]:
    """Return the findings, errors first.

    Args:
        policy: As parsed.
        now: Unix seconds.
    """
    found = [*_references(policy, now), *_weak(policy), *_hardware(policy)]
    return sorted(found, key=lambda finding: finding.level is not Level.ERROR)


def _references(policy: TrustPolicy, now: int) -> Iterator[Finding]:
    usable = set()
    for reference in policy.references:
        where = f"reference {reference.name!r}"
        if reference.expires is not None and now >= reference.expires:
            yield Finding(Level.WARNING, "reference", f"{where} has expired and can be removed")
        elif reference.issued > now + CLOCK_SKEW_SECONDS:
            yield Finding(Level.WARNING, "reference", f"{where} is issued in the future")
        else:
            usable.add(reference.tee)
            if reference.expires is None:
                yield Finding(Level.WARNING, "reference", f"{where} has no end: an old release is vouched for forever")
            elif reference.expires - now < SOON_SECONDS:
                days = (reference.expires - now) // 86_400
                yield Finding(Level.WARNING, "reference", f"{where} expires in {days} days")
    for kind in policy.tee:
        if kind not in usable:
            yield Finding(Level.ERROR, "reference", f"no reference value of {kind} counts now: no enclave can pass")


def _weak(policy: TrustPolicy) -> Iterator[Finding]:
    if TeeKind.SIMULATED in policy.tee:
        yield Finding(Level.WARNING, "tee", "SIMULATED: this protects nothing from who runs the machine")
    if policy.trust_on_first_use:
        yield Finding(
            Level.WARNING, "trust_on_first_use", "the pinned values are what was seen first; nobody compared them"
        )
    if KeySuite.X25519 in policy.suites:
        yield Finding(Level.WARNING, "suites", "x25519 alone does not resist a future quantum computer")
    if "external" in policy.engine:
        yield Finding(Level.WARNING, "engine", "external: nobody measures the model")
    if policy.max_age_seconds > DEFAULT_MAX_AGE_SECONDS:
        yield Finding(
            Level.WARNING, "max_age_seconds", f"over the default of {DEFAULT_MAX_AGE_SECONDS} s: a change shows late"
        )


def _hardware(policy: TrustPolicy) -> Iterator[Finding]:
    if TeeKind.SIMULATED in policy.tee:
        return
    yield Finding(Level.ERROR, "tee", "hardware evidence is not supported yet: no enclave can pass step 3")
    if policy.gpu == "not-required":
        yield Finding(Level.WARNING, "gpu", "not required: a GPU, if there is one, is not verified")
    if not policy.chips:
        yield Finding(
            Level.WARNING, "chips", "not given: a key taken out of any chip of that kind, by an interposer, would pass"
        )
