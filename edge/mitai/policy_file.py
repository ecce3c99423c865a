"""Read a trust policy from disk; what it may say is decided in `mitai_crypto.policy`, which cannot do IO."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mitai.errors import PolicyError
from mitai_crypto.labels import MAX_POLICY_BYTES
from mitai_crypto.policy import parse_policy

if TYPE_CHECKING:
    from pathlib import Path

    from mitai_crypto.policy import TrustPolicy


def load_policy(path: Path | str) -> TrustPolicy:
    """Read and parse a trust policy (`docs/spec/policy.md`).

    Raises:
        PolicyError: The file cannot be read, or what it says is malformed, unknown or too weak.
    """
    try:
        with open(path, "rb") as stream:  # noqa: PTH123 - a string is welcome here
            data = stream.read(MAX_POLICY_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"the trust policy {path} cannot be read ({error.strerror})") from None
    if len(data) > MAX_POLICY_BYTES:
        raise PolicyError(f"the trust policy {path} is larger than {MAX_POLICY_BYTES} bytes")
    return parse_policy(data)
