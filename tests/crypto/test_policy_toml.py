from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai_crypto.errors import PolicyError
from mitai_crypto.evidence import REGISTERS, TeeKind
from mitai_crypto.policy import KeySuite, Reference, TrustPolicy, parse_policy
from mitai_crypto.policy_toml import policy_from_reference

NAMES = st.text(st.characters(codec="utf-8").filter(str.isprintable), min_size=1, max_size=20)
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
MOMENTS = st.integers(0, 253_402_300_799)
REFERENCE = {
    "tee": "simulated",
    "root": "33" * 32,
    "registers": {f"r{number}": f"{number}0" * 48 for number in range(4)},
    "issued": "2026-01-05T08:00:00Z",
}
WORKLOAD = {"model": {"name": "SmolLM2", "digest": "22" * 32}, "configuration": "11" * 32, "engine": "vllm"}


@st.composite
def policies(draw: st.DrawFn) -> TrustPolicy:
    hardware = draw(st.booleans())
    kinds = (TeeKind.TDX, TeeKind.SEV_SNP) if hardware else (TeeKind.SIMULATED,)
    references = []
    for kind in kinds:
        issued = draw(st.integers(0, 253_402_300_798))
        references.append(
            Reference(
                name=f"{kind} {draw(NAMES)}",
                issued=issued,
                expires=draw(st.none() | st.integers(issued + 1, 253_402_300_799)),
                registers={name: draw(st.binary(min_size=48, max_size=48)).hex() for name in REGISTERS[kind]},
            ),
        )
    return TrustPolicy(
        name=draw(NAMES),
        tee=kinds,
        suites=tuple(draw(st.permutations(list(KeySuite)))),
        max_age_seconds=draw(st.integers(1, 86_400)),
        root=None if hardware else draw(DIGESTS),
        references=tuple(references),
        model_name=draw(NAMES),
        model_digest=draw(DIGESTS),
        configuration=tuple(draw(st.lists(DIGESTS, min_size=1, max_size=3, unique=True))),
        engine=tuple(draw(st.permutations(["vllm", "external"]))),
        chips=tuple(draw(st.lists(DIGESTS, max_size=2, unique=True))),
        gpu=draw(st.sampled_from(["required", "not-required"])),
    )


@given(policies())
def test_round_trip(policy: TrustPolicy) -> None:
    again = parse_policy(policy.encode().encode())
    assert again == policy
    assert again.digest == policy.digest


def make(
    reference: object = REFERENCE, workload: object = WORKLOAD, name: str = "demo", **arguments: object
) -> TrustPolicy:
    return policy_from_reference(
        name,
        json.dumps(reference).encode(),
        json.dumps(workload).encode(),
        **arguments,
    )


def test_two_measurements_make_a_policy() -> None:
    policy = make(name='演示 "demo"', suites=(KeySuite.X25519,), max_age_seconds=60)
    assert policy.tee == (TeeKind.SIMULATED,)
    assert policy.root == REFERENCE["root"]
    assert policy.references == (Reference('演示 "demo"', 1_767_600_000, None, REFERENCE["registers"]),)
    assert (policy.model_name, policy.model_digest) == ("SmolLM2", "22" * 32)
    assert (policy.configuration, policy.engine) == (("11" * 32,), ("vllm",))
    assert (policy.suites, policy.max_age_seconds) == ((KeySuite.X25519,), 60)
    assert parse_policy(policy.encode().encode()) == policy


def test_an_external_engine_makes_a_policy_without_a_digest() -> None:
    workload = WORKLOAD | {"engine": "external", "model": {"name": "Qwen3", "digest": None}}
    assert make(workload=workload).model_digest is None


@pytest.mark.parametrize(
    ("reference", "workload"),
    [
        (REFERENCE | {"tee": "tdx"}, WORKLOAD),
        (REFERENCE | {"extra": 1}, WORKLOAD),
        (REFERENCE | {"root": "33"}, WORKLOAD),
        (REFERENCE | {"issued": "yesterday"}, WORKLOAD),
        (REFERENCE | {"issued": "2026-01-05T08:00:00"}, WORKLOAD),
        (REFERENCE | {"issued": "1960-01-05T08:00:00Z"}, WORKLOAD),
        (REFERENCE | {"registers": {}}, WORKLOAD),
        (REFERENCE, WORKLOAD | {"extra": 1}),
        (REFERENCE, WORKLOAD | {"engine": "ollama"}),
        (REFERENCE, WORKLOAD | {"model": {"name": "x"}}),
        (REFERENCE, WORKLOAD | {"model": {"name": "x", "digest": None}}),
        (REFERENCE, []),
    ],
)
def test_a_malformed_measurement_makes_no_policy(reference: object, workload: object) -> None:
    with pytest.raises(PolicyError):
        make(reference, workload)


@pytest.mark.parametrize("name", ["", "a\nb", "\udc80", "\x7f", "a" * 201])
def test_a_name_that_a_report_could_not_show_makes_no_policy(name: str) -> None:
    with pytest.raises(PolicyError):
        make(name=name)
