from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai_crypto.errors import PolicyError
from mitai_crypto.evidence import TeeKind
from mitai_crypto.hpke import Kem
from mitai_crypto.policy import KeySuite, parse_policy

REGISTERS = "\n".join(f'r{number} = "{number}0{"00" * 47}"' for number in range(4))
TOP = """
version = 1
name = "演示 demo"
tee = ["simulated"]
engine = ["vllm"]
configuration = ["CONFIGURATION"]
""".replace("CONFIGURATION", "11" * 32)
MODEL = f'[model]\nname = "SmolLM2"\ndigest = "{"22" * 32}"\n'
SIMULATED = f'[simulated]\nroot = "{"33" * 32}"\n'
REFERENCE = f'[[reference]]\nname = "build 1"\nissued = 2026-01-05T08:00:00Z\n[reference.registers]\n{REGISTERS}\n'
GOOD = TOP + MODEL + SIMULATED + REFERENCE
TDX_REGISTERS = "\n".join(f'{name} = "{"00" * 48}"' for name in ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3"))
TDX = (
    TOP.replace("simulated", "tdx")
    + 'gpu = "required"\n'
    + MODEL
    + f'[[reference]]\nname = "td"\nissued = 2026-01-05T08:00:00Z\n[reference.registers]\n{TDX_REGISTERS}\n'
)


def refused(text: str, field: str) -> PolicyError:
    with pytest.raises(PolicyError, match=field) as caught:
        parse_policy(text.encode())
    return caught.value


def test_defaults_are_the_strong_ones() -> None:
    policy = parse_policy(GOOD.encode())
    assert policy.suites == (KeySuite.MLKEM768_X25519,)
    assert policy.max_age_seconds == 3600
    assert policy.gpu == "not-required"
    assert policy.chips == ()
    assert policy.references[0].issued == 1_767_600_000
    assert policy.references[0].expires is None
    assert policy.references[0].tee is TeeKind.SIMULATED


def test_every_field_is_read() -> None:
    text = (
        TOP
        + 'suites = ["x25519", "mlkem768-x25519"]\nmax_age_seconds = 60\nchips = ["ab"]\ngpu = "required"\n'
        + MODEL
        + SIMULATED
        + REFERENCE.replace("Z\n", "Z\nexpires = 2026-02-01T00:00:00+08:00\n", 1)
    )
    policy = parse_policy(text.encode())
    assert policy.suites == (KeySuite.X25519, KeySuite.MLKEM768_X25519)
    assert [suite.kem for suite in policy.suites] == [Kem.X25519, Kem.MLKEM768_X25519]
    assert (policy.max_age_seconds, policy.chips, policy.gpu) == (60, ("ab",), "required")
    assert policy.references[0].expires == 1_769_875_200


def test_a_hardware_policy_is_read_though_no_hardware_verifies_yet() -> None:
    assert parse_policy(TDX.encode()).tee == (TeeKind.TDX,)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("version = 1", "version = 2", "version"),
        ("version = 1", "version = true", "version"),
        ('name = "演示 demo"', 'name = ""', "name"),
        ('name = "演示 demo"', 'name = "a\\u001b[0m"', "name"),
        ('tee = ["simulated"]', "tee = []", "tee"),
        ('tee = ["simulated"]', 'tee = "simulated"', "tee"),
        ('tee = ["simulated"]', 'tee = ["any"]', "tee"),
        ('tee = ["simulated"]', 'tee = ["simulated", "simulated"]', "tee"),
        ('engine = ["vllm"]', 'engine = ["*"]', "engine"),
        ("configuration = [", "configuration = [1, ", "configuration"),
        ('digest = "22', 'digest = "2', "digest"),
        ("digest = ", "# ", "digest"),
        ('root = "33', 'root = "33:', "root"),
        ("issued = 2026-01-05T08:00:00Z", 'issued = "2026-01-05T08:00:00Z"', "issued"),
        ("issued = 2026-01-05T08:00:00Z", "issued = 2026-01-05T08:00:00", "issued"),
        ("issued = 2026-01-05T08:00:00Z", "issued = 2026-01-05", "issued"),
        ("issued = 2026-01-05T08:00:00Z", "issued = 2026-01-05T08:00:00.5Z", "issued"),
        ("issued = 2026-01-05T08:00:00Z", "issued = 1960-01-05T08:00:00Z", "issued"),
        (
            "issued = 2026-01-05T08:00:00Z",
            "issued = 2026-01-05T08:00:00Z\nexpires = 2026-01-05T08:00:00Z",
            "expires",
        ),
        ("r3 = ", "r4 = ", "r3"),
        ('r0 = "00', 'r0 = "', "r0"),
    ],
)
def test_a_bad_value_is_named(old: str, new: str, field: str) -> None:
    assert old in GOOD
    refused(GOOD.replace(old, new, 1), field)


@pytest.mark.parametrize(
    "typo",
    [
        'suite = ["x25519"]',
        "max_age = 1",
        'chip = ["ab"]',
        'gpus = "required"',
        "debug = true",
        'measurements = ["*"]',
        "accept_any = true",
    ],
)
def test_threat_25_a_misspelt_field_is_an_error(typo: str) -> None:
    error = refused(TOP + typo + "\n" + MODEL + SIMULATED + REFERENCE, typo.split(" ", maxsplit=1)[0])
    assert error.hint


@pytest.mark.parametrize("table", ["[model]", "[simulated]", "[[reference]]", "[reference.registers]"])
def test_threat_25_a_misspelt_field_in_a_table_is_an_error(table: str) -> None:
    refused(GOOD.replace(f"{table}\n", f"{table}\nextra = 1\n"), "extra")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "version"),
        ("version = 1\n", "name"),
        (GOOD.replace('tee = ["simulated"]\n', ""), "tee"),
        (GOOD.replace('engine = ["vllm"]\n', ""), "engine"),
        (GOOD.replace("configuration = ", "# "), "configuration"),
        (GOOD.replace(MODEL, ""), "model"),
        (GOOD.replace(SIMULATED, ""), "no root is pinned"),
        (GOOD.replace(REFERENCE, ""), "reference"),
        (TOP.replace("engine", "reference = []\nengine") + MODEL + SIMULATED, "reference"),
        (TDX.replace('gpu = "required"\n', ""), "gpu"),
    ],
)
def test_threat_25_nothing_is_accepted_by_default(text: str, field: str) -> None:
    refused(text, field)


def test_threat_26_simulated_and_hardware_do_not_mix() -> None:
    assert refused(GOOD.replace('["simulated"]', '["tdx", "simulated"]'), "mixes").hint
    assert refused(TDX.replace("[model]", SIMULATED + "[model]"), "does not name simulated").hint


def test_references_must_be_of_an_accepted_kind() -> None:
    refused(TDX + REFERENCE, "does not accept")
    refused(TDX.replace('["tdx"]', '["tdx", "sev-snp"]'), "no registers of sev-snp")


def test_a_reference_name_is_used_once() -> None:
    refused(GOOD + REFERENCE, "name twice")


def test_an_unmeasured_engine_needs_no_digest() -> None:
    text = GOOD.replace('["vllm"]', '["external"]').replace(f'digest = "{"22" * 32}"\n', "")
    assert parse_policy(text.encode()).model_digest is None


@pytest.mark.parametrize(
    "data",
    [b"\xff", b"= 1", b"a = [" + b"[" * 100_000, b"a = 1\na = 2", b"x" * 300_000],
)
def test_what_is_no_toml_is_refused(data: bytes) -> None:
    with pytest.raises(PolicyError):
        parse_policy(data)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_only_our_error(data: bytes) -> None:
    with pytest.raises(PolicyError):
        parse_policy(data)


@given(st.integers(0, len(GOOD.encode()) - 1), st.binary(min_size=1, max_size=3))
def test_spoiled_policies_raise_only_our_error(position: int, noise: bytes) -> None:
    data = GOOD.encode()
    try:
        parse_policy(data[:position] + noise + data[position + len(noise) :])
    except PolicyError as error:
        assert str(error)  # noqa: PT017 - not raising is fine too: a comment may change


def test_the_digest_is_over_the_meaning() -> None:
    policy = parse_policy(GOOD.encode())
    spelt_out = GOOD.replace("[model]", 'gpu = "not-required"\nmax_age_seconds = 3_600 # an hour\n[model]')
    assert parse_policy(spelt_out.encode()).digest == policy.digest
    different = [
        replace(policy, name="other"),
        replace(policy, root="44" * 32),
        replace(policy, max_age_seconds=1),
        replace(policy, suites=tuple(KeySuite)),
        replace(policy, gpu="required"),
        replace(policy, references=(replace(policy.references[0], issued=0),)),
    ]
    assert len({item.digest for item in [policy, *different]}) == len(different) + 1
