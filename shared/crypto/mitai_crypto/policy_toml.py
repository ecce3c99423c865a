"""How is a trust policy made from measurements, or from what an enclave showed first? (`docs/spec/policy.md`)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from mitai_crypto import policy_text
from mitai_crypto.errors import PolicyError
from mitai_crypto.evidence import REGISTER_BYTES, REGISTERS, TeeKind
from mitai_crypto.fields import Fields
from mitai_crypto.labels import DEFAULT_MAX_AGE_SECONDS, MAX_POLICY_BYTES
from mitai_crypto.policy import ENGINES, KeySuite, Reference, TrustPolicy, parse_policy
from mitai_crypto.strict_json import parse_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mitai_crypto.crypto_material import CryptoMaterial


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
        *policy_text.head(name, (TeeKind.SIMULATED.value,), suites, max_age_seconds),
        *policy_text.demands([engine], [configuration], [], "not-required"),
        *policy_text.model(model_name, model_digest),
        *policy_text.simulated(root),
        *policy_text.reference(name, issued, None, registers),
    ]
    return parse_policy(policy_text.document(lines).encode(errors="surrogatepass"))  # which parse_policy refuses


def policy_on_first_use(
    name: str,
    tee: TeeKind,
    registers: Mapping[str, str],
    material: CryptoMaterial,
    *,
    now: int,
    gpu: bool = False,
) -> TrustPolicy:
    """Make the marked policy that accepts exactly what an enclave showed first (`docs/spec/policy.md`, first use).

    It pins what nobody compared with a published value: it notices later changes, never a wrong start.

    Args:
        name: Of the policy and of its one reference value.
        tee: The kind of evidence that its hardware signed.
        registers: As quoted, with the signature verified.
        material: The crypto material that the quote binds.
        now: Unix seconds.
        gpu: Whether GPU evidence was verified, and is demanded from now on.

    Raises:
        PolicyError: The kind is simulated, whose root anybody can make, or a value is not valid.
    """
    if tee is TeeKind.SIMULATED:
        raise PolicyError(
            "a simulated enclave is never trusted on first use: anybody can make its root",
            hint="Measure it where it runs, with `mitai-sim measure`; then: mitai policy init --reference FILE …",
        )
    policy = TrustPolicy(
        name=name,
        tee=(tee,),
        suites=(KeySuite.MLKEM768_X25519,),
        max_age_seconds=DEFAULT_MAX_AGE_SECONDS,
        root=None,
        references=(Reference(name, now, None, dict(registers)),),
        model_name=material.model_name,
        model_digest=material.model_digest,
        configuration=(material.configuration,),
        engine=(material.engine,),
        chips=(),
        gpu="required" if gpu else "not-required",
        trust_on_first_use=True,
    )
    return parse_policy(policy.encode().encode(errors="surrogatepass"))


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
