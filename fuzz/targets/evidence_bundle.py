"""Evidence, all the way through an appraisal."""

from __future__ import annotations

from target import Target, evidence

from mitai_crypto.policy import parse_policy
from mitai_crypto.verify import appraise
from support.evidence_builder import NONCE, NOW


class Never(Exception):
    """Nothing raises it: whatever a stranger sends causes no error at all."""


POLICY = parse_policy(evidence("policy")[0])


def read(data: bytes) -> None:
    """Appraise a bundle: a report comes of whatever it holds, and only good evidence gives a result."""
    report, result = appraise(data, nonce=NONCE, policy=POLICY, now=NOW)
    assert report.ok == (result is not None)


def seeds() -> list[bytes]:
    """Return every evidence vector."""
    return evidence("bundle")


TARGET = Target(read, Never, seeds, factor=200, max_bytes=32_768)
