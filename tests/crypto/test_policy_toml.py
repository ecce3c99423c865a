from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai_crypto.errors import PolicyError
from mitai_crypto.evidence import REGISTERS, TeeKind
from mitai_crypto.policy import KeySuite, Reference, TrustPolicy, parse_policy
from mitai_crypto.policy_toml import policy_from_reference, policy_on_first_use
from mitai_crypto.verify import appraise
from support.evidence_builder import build_enclave

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
        trust_on_first_use=hardware and draw(st.booleans()),
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


TDX = {name: f"{number}1" * 48 for number, name in enumerate(REGISTERS[TeeKind.TDX])}
MATERIAL = replace(build_enclave().material, mode="production", model_name="模型 model")


def test_a_first_use_pins_exactly_what_was_shown_and_is_marked() -> None:
    policy = policy_on_first_use("首次信任", TeeKind.TDX, TDX, MATERIAL, now=1_800_000_000)
    assert policy.trust_on_first_use
    assert policy.tee == (TeeKind.TDX,)
    assert policy.references == (Reference("首次信任", 1_800_000_000, None, TDX),)
    assert (policy.model_name, policy.model_digest) == (MATERIAL.model_name, MATERIAL.model_digest)
    assert (policy.configuration, policy.engine) == ((MATERIAL.configuration,), (MATERIAL.engine,))
    assert policy.gpu == "not-required"
    assert policy_on_first_use("g", TeeKind.TDX, TDX, MATERIAL, now=1, gpu=True).gpu == "required"
    assert parse_policy(policy.encode().encode()) == policy


def test_threat_26_no_first_use_trusts_a_simulated_enclave() -> None:
    registers = REFERENCE["registers"]
    assert isinstance(registers, dict)
    with pytest.raises(PolicyError, match="never trusted on first use") as caught:
        policy_on_first_use("demo", TeeKind.SIMULATED, registers, MATERIAL, now=1)
    assert "mitai-sim measure" in caught.value.hint
    marked = make().encode().replace("max_age", "trust_on_first_use = true\nmax_age")
    with pytest.raises(PolicyError, match="does not go with simulated"):
        parse_policy(marked.encode())


@pytest.mark.parametrize("value", ["1", '"true"', "[true]"])
def test_the_mark_is_true_or_false(value: str) -> None:
    policy = policy_on_first_use("x", TeeKind.TDX, TDX, MATERIAL, now=1).encode()
    with pytest.raises(PolicyError, match="true or false"):
        parse_policy(policy.replace("first_use = true", f"first_use = {value}").encode())


def test_the_mark_is_part_of_the_digest_and_of_every_report() -> None:
    marked = policy_on_first_use("x", TeeKind.TDX, TDX, MATERIAL, now=1)
    plain = replace(marked, trust_on_first_use=False)
    assert marked.digest != plain.digest
    spelt_out = plain.encode().replace("max_age", "trust_on_first_use = false\nmax_age")
    assert parse_policy(spelt_out.encode()).digest == plain.digest
    for policy in (marked, plain):
        report, _ = appraise(b"{}", nonce=bytes(32), policy=policy, now=1)
        told = report.to_json()["policy"]
        assert isinstance(told, dict)
        assert told["trust_on_first_use"] is policy.trust_on_first_use


def test_registers_of_another_kind_are_refused() -> None:
    with pytest.raises(PolicyError, match="registers"):
        policy_on_first_use("x", TeeKind.SEV_SNP, TDX, MATERIAL, now=1)


@pytest.mark.parametrize("first", ["policy", "policy_toml", "policy_text"])
def test_no_module_of_the_policy_needs_one_above_it(first: str) -> None:
    above = {"policy": ["policy_toml"], "policy_text": ["policy", "policy_toml"], "policy_toml": []}[first]
    code = f"import sys, mitai_crypto.{first}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {f"mitai_crypto.{name}" for name in above} & set(loaded)
    source = subprocess.run(
        [sys.executable, "-c", f"import mitai_crypto.{first} as m; print(m.__file__)"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    with open(source, encoding="utf-8") as stream:  # noqa: PTH123 - a path as text
        text = stream.read()
    assert not any(f"mitai_crypto.{name} import" in text for name in above)
