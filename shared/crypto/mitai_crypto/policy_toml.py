"""How is a trust policy written, and how is one made from measurements? (`docs/spec/policy.md`)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mitai_crypto.errors import PolicyError
from mitai_crypto.evidence import REGISTER_BYTES, REGISTERS, TeeKind
from mitai_crypto.fields import Fields
from mitai_crypto.labels import DEFAULT_MAX_AGE_SECONDS, MAX_POLICY_BYTES, POLICY_VERSION
from mitai_crypto.policy import ENGINES, KeySuite, TrustPolicy, parse_policy
from mitai_crypto.strict_json import parse_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def policy_from_reference(
    name: str,
    reference: bytes,
    workload: bytes,
    *,
    suites: Iterable[KeySuite] = (KeySuite.MLKEM768_X25519,),
    max_age_seconds: int = DEFAULT_MAX_AGE_SECONDS,
) -> TrustPolicy:
    """Make the policy that accepts exactly one measured launch of one measured workload.

    Args:
        name: Of the policy and of its one reference value.
        reference: What `mitai-sim measure` printed.
        workload: What `mitai-enclave reference` printed.
        suites: Accepted key suites, the preferred first.
        max_age_seconds: How long a verified enclave is used.

    Raises:
        PolicyError: A text is not of the form in `docs/spec/policy.md`, or the policy would not be valid.
    """
    measured = _read(reference, "the output of mitai-sim measure")
    measured.choice("tee", (TeeKind.SIMULATED.value,))
    root = measured.digest("root")
    table = measured.inner("registers")
    registers = {key: table.digest(key, REGISTER_BYTES) for key in REGISTERS[TeeKind.SIMULATED]}
    table.finish()
    issued = _parse_moment(measured.name("issued"))
    measured.finish()

    work = _read(workload, "the output of mitai-enclave reference")
    engine = work.choice("engine", ENGINES)
    model = work.inner("model")
    model_name = model.name("name")
    model_digest = None if model.null("digest") else model.digest("digest")
    model.finish()
    configuration = work.digest("configuration")
    work.finish()

    lines = [
        *_head(name, (TeeKind.SIMULATED.value,), suites, max_age_seconds),
        f"engine = {_strings([engine])}",
        f"configuration = {_strings([configuration])}",
        'gpu = "not-required"',
        *_model(model_name, model_digest),
        *_simulated(root),
        *_reference(name, issued, None, registers),
    ]
    return parse_policy(_document(lines).encode(errors="surrogatepass"))  # which parse_policy refuses


def encode_policy(policy: TrustPolicy) -> str:
    """Write a policy as TOML; reading it gives an equal policy."""
    lines = [
        *_head(policy.name, policy.tee, policy.suites, policy.max_age_seconds),
        f"engine = {_strings(policy.engine)}",
        f"configuration = {_strings(policy.configuration)}",
        *([f"chips = {_strings(policy.chips)}"] if policy.chips else []),
        f"gpu = {_string(policy.gpu)}",
        *_model(policy.model_name, policy.model_digest),
        *([] if policy.root is None else _simulated(policy.root)),
    ]
    for reference in policy.references:
        lines += _reference(reference.name, reference.issued, reference.expires, reference.registers)
    return _document(lines)


def _head(name: str, tee: Iterable[str], suites: Iterable[str], max_age_seconds: int) -> list[str]:
    return [
        f"version = {POLICY_VERSION}",
        f"name = {_string(name)}",
        f"tee = {_strings(tee)}",
        f"suites = {_strings(suites)}",
        f"max_age_seconds = {max_age_seconds}",
    ]


def _model(name: str, digest: str | None) -> list[str]:
    lines = ["", "[model]", f"name = {_string(name)}"]
    return lines if digest is None else [*lines, f"digest = {_string(digest)}"]


def _simulated(root: str) -> list[str]:
    return ["", "[simulated]", f"root = {_string(root)}"]


def _reference(name: str, issued: int, expires: int | None, registers: Mapping[str, str]) -> list[str]:
    lines = ["", "[[reference]]", f"name = {_string(name)}", f"issued = {_moment(issued)}"]
    if expires is not None:
        lines.append(f"expires = {_moment(expires)}")
    lines += ["", "[reference.registers]"]
    return lines + [f"{key} = {_string(value)}" for key, value in registers.items()]


def _document(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def _string(text: str) -> str:
    # For printable text, which is all that a policy holds, JSON's escapes are exactly TOML's.
    return json.dumps(str(text), ensure_ascii=False)


def _strings(items: Iterable[str]) -> str:
    return "[" + ", ".join(_string(item) for item in items) + "]"


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parse_moment(text: str) -> int:
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        value = None
    if value is None or value.tzinfo is None or value.microsecond or value.timestamp() < 0:
        raise PolicyError("issued is not an RFC 3339 time in whole seconds")
    return int(value.timestamp())


def _read(data: bytes, what: str) -> Fields:
    return Fields(parse_object(data, max_bytes=MAX_POLICY_BYTES, error=PolicyError), where=what, error=PolicyError)
