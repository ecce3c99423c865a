"""What does a device demand of an enclave before it sends anything? (`docs/spec/policy.md`)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, cast

from mitai_crypto import policy_text
from mitai_crypto.errors import PolicyError
from mitai_crypto.evidence import REGISTER_BYTES, REGISTERS, TeeKind
from mitai_crypto.fields import Fields
from mitai_crypto.hashing import labelled
from mitai_crypto.hpke import Kem
from mitai_crypto.labels import (
    DEFAULT_MAX_AGE_SECONDS,
    MAX_MAX_AGE_SECONDS,
    MAX_POLICY_BYTES,
    POLICY_LABEL,
    POLICY_VERSION,
)
from mitai_crypto.strict_json import JsonObject, encode_canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

EngineKind = Literal["vllm", "external"]
ENGINES: Final = ("vllm", "external")
GpuDemand = Literal["required", "not-required"]
_GPU: Final = ("required", "not-required")
_MAX_ITEMS: Final = 256
_MAX_CHIP_BYTES: Final = 64
_LAST_MOMENT: Final = 253_402_300_799  # 9999-12-31T23:59:59Z, the last that TOML can write


class KeySuite(StrEnum):
    """The key suites that a policy can name."""

    MLKEM768_X25519 = "mlkem768-x25519"
    X25519 = "x25519"

    @property
    def kem(self) -> Kem:
        """The KEM of the keys of this suite."""
        return Kem.MLKEM768_X25519 if self is KeySuite.MLKEM768_X25519 else Kem.X25519


@dataclass(frozen=True)
class Reference:
    """One reference value: the registers of one known good build and launch.

    Attributes:
        name: What people call it.
        issued: Unix seconds.
        expires: Unix seconds from which it counts no more; None for no end.
        registers: Register name → hex value, exactly the registers of one kind.
    """

    name: str
    issued: int
    expires: int | None
    registers: Mapping[str, str]

    @property
    def tee(self) -> TeeKind:
        """The kind whose registers these are."""
        return next(kind for kind, names in REGISTERS.items() if set(names) == set(self.registers))


@dataclass(frozen=True)
class TrustPolicy:
    """A parsed trust policy. Make one with `parse_policy` or `policy_from_reference`, which check it.

    Attributes:
        name: Shown in every report.
        tee: Accepted kinds.
        suites: Accepted key suites, the preferred first.
        max_age_seconds: How long a verified enclave is used.
        root: Hex SHA-256 of the simulated root's certificate; None unless `tee` is simulated.
        references: Accepted measurements.
        model_name: The served name.
        model_digest: Hex; None only where no measured engine is accepted.
        configuration: Accepted configuration digests, hex.
        engine: Accepted engine kinds.
        chips: Accepted chip ids, hex; empty for any chip.
        gpu: Whether GPU evidence is demanded.
        trust_on_first_use: Whether it pins what an enclave showed first and nobody compared; every report repeats it.
    """

    name: str
    tee: tuple[TeeKind, ...]
    suites: tuple[KeySuite, ...]
    max_age_seconds: int
    root: str | None
    references: tuple[Reference, ...]
    model_name: str
    model_digest: str | None
    configuration: tuple[str, ...]
    engine: tuple[EngineKind, ...]
    chips: tuple[str, ...]
    gpu: GpuDemand
    trust_on_first_use: bool = False

    @property
    def digest(self) -> str:
        """Hex SHA-256 over the meaning of the policy, whatever its file looks like."""
        digest = labelled(POLICY_LABEL)
        digest.update(encode_canonical(self.to_json()))
        return digest.hexdigest()

    def encode(self) -> str:
        """Write the policy as TOML that `parse_policy` reads back to the same value."""
        lines = [
            *policy_text.head(self.name, self.tee, self.suites, self.max_age_seconds),
            *(policy_text.on_first_use() if self.trust_on_first_use else []),
            *policy_text.demands(self.engine, self.configuration, self.chips, self.gpu),
            *policy_text.model(self.model_name, self.model_digest),
            *policy_text.simulated(self.root),
        ]
        for reference in self.references:
            lines += policy_text.reference(reference.name, reference.issued, reference.expires, reference.registers)
        return policy_text.document(lines)

    def to_json(self) -> JsonObject:
        """Give the meaning of the policy as the JSON object that its digest is over."""
        return {
            "version": POLICY_VERSION,
            "name": self.name,
            "tee": [kind.value for kind in self.tee],
            "suites": [suite.value for suite in self.suites],
            "max_age_seconds": self.max_age_seconds,
            "root": self.root,
            "references": [
                {
                    "name": reference.name,
                    "issued": reference.issued,
                    "expires": reference.expires,
                    "registers": dict(reference.registers),
                }
                for reference in self.references
            ],
            "model": {"name": self.model_name, "digest": self.model_digest},
            "configuration": list(self.configuration),
            "engine": list(self.engine),
            "chips": list(self.chips),
            "gpu": self.gpu,
            # Only where it is true, so that a policy without it keeps the digest that ledgers and reports name.
            **({"trust_on_first_use": True} if self.trust_on_first_use else {}),
        }


def parse_policy(toml: bytes) -> TrustPolicy:
    """Read a trust policy.

    Raises:
        PolicyError: The file is not TOML, has an unknown, missing or mistyped field, or demands too little to
            mean anything. The message names the field.
    """
    if len(toml) > MAX_POLICY_BYTES:
        raise PolicyError(f"a policy of {len(toml)} bytes is over the limit of {MAX_POLICY_BYTES}")
    try:
        document = tomllib.loads(toml.decode("utf-8"))
    except (ValueError, RecursionError) as reason:
        raise PolicyError(f"the policy is not TOML: {reason}") from None
    fields = Fields(document, where="policy", error=PolicyError)
    fields.version("version", POLICY_VERSION)
    name = fields.name("name")
    tee = _parse_kinds(fields)
    engine = cast("tuple[EngineKind, ...]", _choices(fields, "engine", ENGINES))
    model_name, model_digest = _parse_model(fields.inner("model"), engine)
    policy = TrustPolicy(
        name=name,
        tee=tee,
        suites=_parse_suites(fields),
        max_age_seconds=fields.integer("max_age_seconds", least=1, most=MAX_MAX_AGE_SECONDS)
        if fields.has("max_age_seconds")
        else DEFAULT_MAX_AGE_SECONDS,
        root=_parse_root(fields, tee),
        references=_parse_references(fields, tee),
        model_name=model_name,
        model_digest=model_digest,
        configuration=_hex_items(fields, "configuration", 32, 32),
        engine=engine,
        chips=_hex_items(fields, "chips", 1, _MAX_CHIP_BYTES) if fields.has("chips") else (),
        gpu=_parse_gpu(fields, tee),
        trust_on_first_use=_parse_first_use(fields, tee),
    )
    fields.finish()
    return policy


def _parse_kinds(fields: Fields) -> tuple[TeeKind, ...]:
    kinds = tuple(TeeKind(word) for word in _choices(fields, "tee", tuple(TeeKind)))
    if TeeKind.SIMULATED in kinds and len(kinds) > 1:
        raise PolicyError(
            "policy.tee mixes simulated with hardware",
            hint="A policy that accepts hardware accepts no simulation: write two policies.",
        )
    return kinds


def _parse_suites(fields: Fields) -> tuple[KeySuite, ...]:
    if not fields.has("suites"):
        return (KeySuite.MLKEM768_X25519,)
    return tuple(KeySuite(word) for word in _choices(fields, "suites", tuple(KeySuite)))


def _parse_root(fields: Fields, tee: tuple[TeeKind, ...]) -> str | None:
    if TeeKind.SIMULATED not in tee:
        if fields.has("simulated"):
            raise PolicyError(
                "policy.simulated pins a simulated root, but policy.tee does not name simulated",
                hint="Remove the table, or write a policy of its own for simulation.",
            )
        return None
    if not fields.has("simulated"):
        raise PolicyError(
            "policy.tee names simulated, but no root is pinned",
            hint='Add [simulated] with root = "…" as `mitai-sim measure` prints it.',
        )
    table = fields.inner("simulated")
    root = table.digest("root")
    table.finish()
    return root


def _parse_model(table: Fields, engine: tuple[EngineKind, ...]) -> tuple[str, str | None]:
    name = table.name("name")
    digest = table.digest("digest") if table.has("digest") else None
    table.finish()
    if digest is None and "vllm" in engine:
        raise PolicyError(
            "policy.model has no digest, but policy.engine accepts a measured engine",
            hint="Add the digest that `mitai-enclave reference` prints.",
        )
    return name, digest


def _parse_gpu(fields: Fields, tee: tuple[TeeKind, ...]) -> GpuDemand:
    if not fields.has("gpu"):
        if tee != (TeeKind.SIMULATED,):
            raise PolicyError(
                "policy.gpu is missing", hint='With hardware say gpu = "required" or gpu = "not-required".'
            )
        return "not-required"
    return cast("GpuDemand", fields.choice("gpu", _GPU))


def _parse_first_use(fields: Fields, tee: tuple[TeeKind, ...]) -> bool:
    marked = fields.has("trust_on_first_use") and fields.flag("trust_on_first_use")
    if marked and TeeKind.SIMULATED in tee:
        raise PolicyError(
            "policy.trust_on_first_use does not go with simulated: anybody can make a simulated root",
            hint="Measure the enclave where it runs, with `mitai-sim measure`.",
        )
    return marked


def _parse_references(fields: Fields, tee: tuple[TeeKind, ...]) -> tuple[Reference, ...]:
    items = fields.array("reference", most=_MAX_ITEMS)
    references = tuple(_parse_reference(item, f"policy.reference[{index}]") for index, item in enumerate(items))
    if len({reference.name for reference in references}) != len(references):
        raise PolicyError("policy.reference uses a name twice")
    kinds = {reference.tee for reference in references}
    for kind in tee:
        if kind not in kinds:
            raise PolicyError(f"policy.reference has no registers of {kind}, which policy.tee accepts")
    if stray := kinds.difference(tee):
        raise PolicyError(f"policy.reference has registers of {min(stray)}, which policy.tee does not accept")
    return references


def _parse_reference(item: object, where: str) -> Reference:
    fields = Fields(item, where=where, error=PolicyError)
    table = fields.inner("registers")
    names = next((names for names in REGISTERS.values() if table.has(names[0])), REGISTERS[TeeKind.SIMULATED])
    reference = Reference(
        name=fields.name("name"),
        issued=_moment(fields, "issued"),
        expires=_moment(fields, "expires") if fields.has("expires") else None,
        registers={name: table.digest(name, REGISTER_BYTES) for name in names},
    )
    table.finish()
    fields.finish()
    if reference.expires is not None and reference.expires <= reference.issued:
        raise PolicyError(f"{where}.expires is not after issued")
    return reference


def _moment(fields: Fields, name: str) -> int:
    value = fields.take(name)
    if not isinstance(value, datetime) or value.tzinfo is None or value.microsecond:
        raise PolicyError(
            f"{fields.path(name)} must be a date and time with an offset, in whole seconds",
            hint=f"Write it as {name} = 2026-01-05T08:00:00Z, without quotes.",
        )
    seconds = int(value.timestamp())
    if not 0 <= seconds <= _LAST_MOMENT:
        raise PolicyError(f"{fields.path(name)} is not between the years 1970 and 9999")
    return seconds


def _choices(fields: Fields, name: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    items = fields.array(name, most=len(allowed))
    return _distinct(fields, name, [fields.checked_choice(item, name, allowed) for item in items])


def _hex_items(fields: Fields, name: str, least: int, most: int) -> tuple[str, ...]:
    items = fields.array(name, most=_MAX_ITEMS)
    return _distinct(fields, name, [fields.checked_hex(item, name, least, most) for item in items])


def _distinct(fields: Fields, name: str, items: list[str]) -> tuple[str, ...]:
    if len(set(items)) != len(items):
        raise PolicyError(f"{fields.path(name)} names something twice")
    return tuple(items)
