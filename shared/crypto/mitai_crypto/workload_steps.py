"""What must hold for evidence of any kind? (steps 2 and 8–13 of `docs/spec/verification.md`)."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Protocol

from mitai_crypto.appraisal import NotChecked, needed
from mitai_crypto.errors import EvidenceError
from mitai_crypto.evidence import TeeKind, gpu_nonce, report_data
from mitai_crypto.labels import CLOCK_SKEW_SECONDS, MAX_KEY_LIFETIME_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mitai_crypto.appraisal import KindAppraiser
    from mitai_crypto.crypto_material import CryptoMaterial, PublishedKey
    from mitai_crypto.policy import KeySuite, Reference, TrustPolicy
    from mitai_crypto.presented import Presented

_NO_BUNDLE = "there is no readable bundle (step 1)"
_NO_MATERIAL = "there is no readable crypto material (step 1)"


class GpuAppraiser(Protocol):
    """Judges what a GPU shows. Injected, for its formats need more than this package may import."""

    def __call__(self, device_evidence: bytes, *, nonce: bytes, now: int) -> str:
        """Return what was verified, as a reason for people.

        Args:
            device_evidence: The exact bytes of the bundle.
            nonce: The 32 bytes that the GPU must have been asked with.
            now: Unix seconds.

        Raises:
            EvidenceError: The evidence does not hold.
        """
        ...


def check_kind(shown: Presented, policy: TrustPolicy) -> str:
    """Step 2: the policy accepts the kind, and the enclave's mode says the same."""
    tee = needed(shown.bundle, _NO_BUNDLE).tee
    if tee not in policy.tee:
        raise EvidenceError(f"the evidence is {tee}, the policy accepts {', '.join(policy.tee)}")
    mode = needed(shown.material, _NO_MATERIAL).mode
    if (mode == "simulated") != (tee is TeeKind.SIMULATED):
        raise EvidenceError(f"the enclave says that it is in {mode} mode, its evidence is {tee}")
    return f"{tee} evidence in {mode} mode"


def check_binding(shown: Presented, nonce: bytes) -> str:
    """Step 8: the quote binds this nonce and these bytes, in all 64 bytes."""
    bundle = needed(shown.bundle, _NO_BUNDLE)
    quoted = shown.kind.report_data()
    if not hmac.compare_digest(quoted, report_data(nonce, bundle.crypto_material, bundle.device_evidence)):
        raise EvidenceError("the quote is about another nonce, other keys or other device evidence")
    return "the quote binds this nonce, these keys and this device evidence"


def check_gpu(shown: Presented, policy: TrustPolicy, nonce: bytes, now: int, appraiser: GpuAppraiser | None) -> str:
    """Step 9: device evidence holds where the policy requires it."""
    bundle = needed(shown.bundle, _NO_BUNDLE)
    if policy.gpu != "required":
        raise NotChecked("the policy requires no GPU evidence")
    if not bundle.device_evidence:
        raise EvidenceError("the policy requires GPU evidence, the enclave shows none")
    if appraiser is None:
        raise EvidenceError("the policy requires GPU evidence, and there is nothing here to judge it with")
    return appraiser(bundle.device_evidence, nonce=gpu_nonce(nonce, bundle.crypto_material), now=now)


def check_key_validity(shown: Presented, now: int) -> str:
    """Step 10: no key lives too long, and each suite's current key is valid."""
    material = needed(shown.material, _NO_MATERIAL)
    for index, key in enumerate(material.keys):
        lifetime = key.not_after - key.not_before
        if not 0 < lifetime <= MAX_KEY_LIFETIME_SECONDS:
            raise EvidenceError(f"keys[{index}] lives {lifetime} s, the limit is {MAX_KEY_LIFETIME_SECONDS} s")
    current = {key.key_config().kem: key for key in reversed(material.keys)}
    for kem, key in current.items():
        if now >= key.not_after:
            raise EvidenceError(f"the current key for {kem.name} expired at {key.not_after}, now {now}")
        if key.not_before > now + CLOCK_SKEW_SECONDS:
            raise EvidenceError(f"the current key for {kem.name} begins at {key.not_before}, now {now}")
    end = min(key.not_after for key in current.values())
    return f"{len(material.keys)} published keys, the current one valid for another {end - now} s"


def check_workload(shown: Presented, policy: TrustPolicy) -> str:
    """Step 11: model, configuration, engine and key suite are those of the policy."""
    material = needed(shown.material, _NO_MATERIAL)
    if material.engine not in policy.engine:
        raise EvidenceError(f"the engine is {material.engine}, the policy accepts {', '.join(policy.engine)}")
    if material.model_name != policy.model_name:
        raise EvidenceError(f"the model is {material.model_name!r}, the policy says {policy.model_name!r}")
    if material.engine == "vllm" and material.model_digest != policy.model_digest:
        raise EvidenceError(f"the model's digest is {material.model_digest}, not the policy's {policy.model_digest}")
    if material.configuration not in policy.configuration:
        raise EvidenceError(f"the configuration is {material.configuration}, which the policy does not list")
    suite = current_key(material, policy.suites).key_config().kem.name
    model = "model not checked: the engine is external" if material.engine == "external" else "measured model"
    return f"{material.model_name} ({model}), engine {material.engine}, listed configuration, suite {suite}"


def check_reference_age(reference: Reference | None, now: int) -> str:
    """Step 12: the matched reference value is neither from the future nor expired."""
    matched = needed(reference, "no reference value matched (step 7)")
    if matched.issued > now + CLOCK_SKEW_SECONDS:
        raise EvidenceError(f"reference value {matched.name!r} is issued at {matched.issued}, now {now}")
    if matched.expires is None:
        raise NotChecked(f"reference value {matched.name!r} has no end")
    if now >= matched.expires:
        raise EvidenceError(f"reference value {matched.name!r} expired at {matched.expires}, now {now}")
    return f"reference value {matched.name!r} is valid for another {matched.expires - now} s"


def check_chip(kind: KindAppraiser, policy: TrustPolicy) -> str:
    """Step 13: the chip is one that the policy names, where it names any."""
    if not policy.chips:
        raise NotChecked("the policy names no chips")
    chip = kind.chip_id()
    if chip not in policy.chips:
        raise EvidenceError(f"chip {chip} is not one that the policy names")
    return f"chip {chip} is one that the policy names"


def current_key(material: CryptoMaterial, suites: Iterable[KeySuite]) -> PublishedKey:
    """Return the enclave's current key, the first it lists, of the most preferred suite it has.

    Raises:
        EvidenceError: It has a key of none of the suites.
    """
    wanted = list(suites)
    for suite in wanted:
        for key in material.keys:
            if key.key_config().kem is suite.kem:
                return key
    raise EvidenceError(f"the enclave has no key for {', '.join(wanted)}")
