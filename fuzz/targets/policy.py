"""Trust policies."""

from __future__ import annotations

from target import Target, evidence

from mitai_crypto.errors import PolicyError
from mitai_crypto.policy import parse_policy


def read(data: bytes) -> None:
    """Read a policy; what was accepted means the same when it is written and read again."""
    policy = parse_policy(data)
    assert parse_policy(policy.encode().encode()).digest == policy.digest


def seeds() -> list[bytes]:
    """Return the policy of every vector."""
    return evidence("policy")


TARGET = Target(read, PolicyError, seeds, factor=600, max_bytes=8192)
