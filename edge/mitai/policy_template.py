"""How is a trust policy written for people? (`docs/spec/policy.md`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mitai_crypto.policy import parse_policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mitai_crypto.policy import TrustPolicy

_HEAD: Final = (
    "# Trust policy: what an enclave must prove before this device sends it anything (docs/spec/policy.md).",
    "# Unknown fields are refused. After a change: mitai policy check FILE",
    "",
)
_COMMENTS: Final[Mapping[str, str]] = {
    "name = ": "Shown in every report.",
    "tee = ": "Accepted kinds of evidence (step 2). simulated stands alone and protects nothing.",
    "suites = ": "Accepted key suites, the preferred first (step 11). mlkem768-x25519 is post-quantum.",
    "max_age_seconds = ": "A verified enclave is verified again after this long.",
    "trust_on_first_use = ": "These values are what was seen first; nobody compared them. Every report repeats it.",
    "engine = ": "vllm: started and measured by the enclave. external: nobody measures its model (step 11).",
    "configuration = ": "Accepted enclave configurations, SHA-256 (step 11).",
    "chips = ": "Only these chips are accepted (step 13).",
    "gpu = ": "Whether GPU evidence is demanded (step 9).",
    "[simulated]": "SHA-256 of the simulated root's certificate, made by that machine (step 3).",
    "[model]": "The served name, and the digest of every file that the engine reads (step 11).",
    "[[reference]]": "One known good build and launch; add expires = 2027-01-05T08:00:00Z to end it (steps 7, 12).",
}


def explain_policy(policy: TrustPolicy) -> str:
    """Write a policy as TOML with a comment above each field; it parses to the same policy.

    Raises:
        PolicyError: The policy is not a valid one.
    """
    lines = list(_HEAD)
    for line in policy.encode().splitlines():
        in_table = lines[-1].startswith("[")
        comment = next((text for start, text in _COMMENTS.items() if line.startswith(start) and not in_table), None)
        lines += [line] if comment is None else [f"# {comment}", line]
    text = "\n".join(lines) + "\n"
    parse_policy(text.encode(errors="surrogatepass"))  # what is written is what the strict parser takes
    return text
