from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai_crypto.errors import EvidenceError
from mitai_crypto.evidence import (
    REGISTERS,
    EvidenceBundle,
    TeeKind,
    gpu_nonce,
    measurement_digest,
    parse_bundle,
    report_data,
)
from mitai_crypto.labels import MAX_BUNDLE_BYTES

BUNDLES = st.builds(
    EvidenceBundle,
    tee=st.sampled_from(TeeKind),
    crypto_material=st.binary(max_size=40),
    device_evidence=st.binary(max_size=40),
    evidence=st.binary(max_size=40),
    collateral=st.binary(max_size=40),
)
NONCES = st.binary(min_size=32, max_size=32)


@given(BUNDLES)
def test_bundle_round_trip(bundle: EvidenceBundle) -> None:
    assert parse_bundle(bundle.encode()) == bundle


@given(st.binary())
def test_arbitrary_bytes_raise_only_our_error(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        parse_bundle(data)


def test_a_bundle_over_the_cap_is_refused() -> None:
    data = EvidenceBundle(TeeKind.SIMULATED, b"", b"", b"", b"").encode()
    assert parse_bundle(data.ljust(MAX_BUNDLE_BYTES))
    with pytest.raises(EvidenceError, match="over the limit"):
        parse_bundle(data.ljust(MAX_BUNDLE_BYTES + 1))


def test_report_data_is_the_formula_of_the_specification() -> None:
    nonce, material, device = bytes(range(32)), "材料".encode(), b"gpu"
    inner = hashlib.sha256(
        b"mitai/attestation/v1" + nonce + hashlib.sha256(material).digest() + hashlib.sha256(device).digest(),
    ).digest()
    assert report_data(nonce, material, device) == inner + bytes(32)
    assert (
        gpu_nonce(nonce, material)
        == hashlib.sha256(b"mitai/gpu/v1" + nonce + hashlib.sha256(material).digest()).digest()
    )


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_nonce_has_32_bytes(length: int) -> None:
    with pytest.raises(EvidenceError, match="32 bytes"):
        report_data(bytes(length), b"", b"")
    with pytest.raises(EvidenceError, match="32 bytes"):
        gpu_nonce(bytes(length), b"")


@given(NONCES, st.binary(max_size=8), st.binary(max_size=8), st.integers(0, 8))
def test_threat_31_report_data_knows_where_material_ends(
    nonce: bytes, material: bytes, device: bytes, move: int
) -> None:
    moved = (material + device)[:move], (material + device)[move:]
    if moved != (material, device):
        assert report_data(nonce, *moved) != report_data(nonce, material, device)


@given(st.dictionaries(st.sampled_from("abc"), st.binary(max_size=3).map(bytes.hex), min_size=1))
def test_threat_31_measurement_digest_knows_names_from_values(registers: dict[str, str]) -> None:
    tee = TeeKind.SIMULATED
    digest = measurement_digest(tee, registers)
    assert digest == measurement_digest(tee, dict(reversed(registers.items())))
    for name, value in registers.items():
        assert digest != measurement_digest(tee, registers | {name: value + "00"})
        renamed = {key: other for key, other in registers.items() if key != name} | {name + "d": value}
        assert digest != measurement_digest(tee, renamed)
    assert digest != measurement_digest(TeeKind.TDX, registers)


def test_registers_of_different_kinds_cannot_be_mistaken_for_each_other() -> None:
    assert set(REGISTERS) == set(TeeKind)
    firsts = [names[0] for names in REGISTERS.values()]
    assert len(set(firsts)) == len(firsts)
