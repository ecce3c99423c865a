from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from mitai_crypto.errors import EvidenceError
from mitai_crypto.labels import SIMULATED_PLATFORM_NAME, SIMULATED_ROOT_NAME
from mitai_crypto.simulated_collateral import (
    TcbStatus,
    key_usage,
    parse_collateral,
    root_fingerprint,
    signed_tcb_status,
    verify_chain,
    verify_tcb_status,
)
from support.evidence_builder import NOW, build_enclave

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mitai_crypto.simulated_collateral import Collateral, Endorsement

ENCLAVE = build_enclave()
GOOD = ENCLAVE.collateral()
DAY = 86_400


def verify(collateral: Collateral, *, now: int = NOW) -> Endorsement:
    return verify_chain(collateral, fingerprint=root_fingerprint(collateral.root), now=now)


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def certificate(
    *,
    is_root: bool = False,
    constraints: x509.BasicConstraints | None = None,
    constraints_critical: bool = True,
    usage: x509.KeyUsage | None = None,
    usage_critical: bool = True,
    common_name: str | None = None,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    public_key: ec.EllipticCurvePublicKey | None = None,
) -> bytes:
    """Make a certificate that differs from a sound one in what the test says."""
    name = common_name or (SIMULATED_ROOT_NAME if is_root else SIMULATED_PLATFORM_NAME)
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if not is_root:
        attributes.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, ENCLAVE.quote.chip_id))
    subject = x509.Name(attributes)
    key = ENCLAVE.root.key if is_root else ENCLAVE.platform_key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if is_root else ENCLAVE.root.certificate.subject)
        .public_key(public_key or key.public_key())
        .serial_number(5)
        .not_valid_before(moment(NOW - DAY))
        .not_valid_after(moment(NOW + DAY))
        .add_extension(
            constraints or x509.BasicConstraints(ca=is_root, path_length=0 if is_root else None),
            critical=constraints_critical,
        )
        .add_extension(usage or key_usage(is_root=is_root), critical=usage_critical)
    )
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(ENCLAVE.root.key, None).public_bytes(Encoding.DER)


def test_round_trip() -> None:
    assert parse_collateral(GOOD.encode()) == GOOD


def test_a_sound_chain_gives_key_chip_and_version() -> None:
    endorsement = verify(GOOD)
    assert endorsement.platform_key == ENCLAVE.platform_key.public_key()
    assert endorsement.chip_id == ENCLAVE.quote.chip_id
    assert endorsement.tcb == 1
    assert endorsement.next_update == NOW + DAY


def test_the_end_of_the_chain_is_the_first_end_in_it() -> None:
    assert verify(ENCLAVE.collateral(lifetime=60)).next_update == NOW + 60


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"common_name": "platform"}, "not named"),
        ({"constraints": x509.BasicConstraints(ca=True, path_length=None)}, "basic constraints"),
        ({"constraints_critical": False}, "basic constraints"),
        ({"usage": key_usage(is_root=True)}, "key usage"),
        ({"usage_critical": False}, "key usage"),
        ({"extra": [(x509.OCSPNoCheck(), True)]}, "unknown critical extension"),
        ({}, "malformed"),  # sound but for the TCB version
        ({"public_key": ec.generate_private_key(ec.SECP256R1()).public_key()}, "Ed25519"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_platform_certificate_of_another_shape_is_refused(changes: dict[str, object], why: str) -> None:
    with pytest.raises(EvidenceError, match=why):
        verify(replace(GOOD, platform=certificate(**changes)))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"common_name": "Intel SGX Root CA"}, "not named"),
        ({"constraints": x509.BasicConstraints(ca=True, path_length=1)}, "basic constraints"),
        ({"usage": key_usage(is_root=False)}, "key usage"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_pinned_root_of_another_shape_is_refused(changes: dict[str, object], why: str) -> None:
    with pytest.raises(EvidenceError, match=why):
        verify(replace(GOOD, root=certificate(is_root=True, **changes)))


def test_validity_begins_with_skew_and_ends_without() -> None:
    crl_ahead = replace(GOOD, crl=ENCLAVE.collateral(now=NOW + 300).crl)
    assert verify(crl_ahead)
    with pytest.raises(EvidenceError, match="not valid yet"):
        verify(crl_ahead, now=NOW - 1)
    assert verify(GOOD, now=NOW + DAY - 1)
    with pytest.raises(EvidenceError, match="revocation list has expired"):
        verify(GOOD, now=NOW + DAY)


def test_a_revocation_list_must_have_an_end_and_no_unknown_critical_extension() -> None:
    builder = x509.CertificateRevocationListBuilder().issuer_name(ENCLAVE.root.certificate.subject)
    builder = builder.last_update(moment(NOW)).next_update(moment(NOW + DAY))
    odd = builder.add_extension(x509.CRLNumber(1), critical=True).sign(ENCLAVE.root.key, None)
    with pytest.raises(EvidenceError, match="critical"):
        verify(replace(GOOD, crl=odd.public_bytes(Encoding.DER)))


def test_a_revocation_list_of_another_name_is_refused_though_the_root_signed_it() -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "another list")])
    builder = x509.CertificateRevocationListBuilder().issuer_name(name)
    other = builder.last_update(moment(NOW)).next_update(moment(NOW + DAY)).sign(ENCLAVE.root.key, None)
    with pytest.raises(EvidenceError, match="not signed by the root"):
        verify(replace(GOOD, crl=other.public_bytes(Encoding.DER)))


def test_a_revocation_list_of_the_right_name_with_the_wrong_key_is_refused() -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateRevocationListBuilder().issuer_name(ENCLAVE.root.certificate.subject)
    forged = builder.last_update(moment(NOW)).next_update(moment(NOW + DAY)).sign(stranger, SHA256())
    with pytest.raises(EvidenceError):
        verify(replace(GOOD, crl=forged.public_bytes(Encoding.DER)))


def test_the_tcb_status_is_told_for_the_version_in_the_certificate() -> None:
    enclave = build_enclave(tcb=7)
    collateral = enclave.collateral(levels={6: "OutOfDate", 7: "UpToDate"})
    assert verify_tcb_status(collateral, verify(collateral), now=NOW) == "UpToDate"
    older = enclave.collateral(levels={7: "OutOfDate", 8: "UpToDate"})
    assert verify_tcb_status(older, verify(older), now=NOW) == "OutOfDate"


@pytest.mark.parametrize(
    "levels",
    [{}, {1: "Fine"}, {-1: "UpToDate"}, {65_536: "UpToDate"}, dict.fromkeys(range(65), "UpToDate")],
)
def test_a_malformed_tcb_status_is_refused(levels: dict[int, str]) -> None:
    statement = TcbStatus(NOW, NOW + 1, levels).encode()
    signature = ENCLAVE.root.key.sign(signed_tcb_status(statement))
    with pytest.raises(EvidenceError):
        parse_collateral(replace(GOOD, tcb=statement, tcb_signature=signature).encode())


def test_a_version_that_is_listed_twice_is_refused() -> None:
    statement = GOOD.tcb.replace(b'"levels":[', b'"levels":[{"status":"Revoked","tcb":1},')
    with pytest.raises(EvidenceError, match="twice"):
        parse_collateral(replace(GOOD, tcb=statement).encode())


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_only_our_error(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        parse_collateral(data)


@given(st.sampled_from(["root", "platform", "crl"]), st.data())
def test_spoiled_der_raises_only_our_error(part: str, data: st.DataObject) -> None:
    der = bytearray(getattr(GOOD, part))
    der[data.draw(st.integers(0, len(der) - 1))] ^= data.draw(st.integers(1, 255))
    spoiled = replace(GOOD, **{part: bytes(der)})
    with pytest.raises(EvidenceError):
        verify_chain(parse_collateral(spoiled.encode()), fingerprint=ENCLAVE.root.fingerprint, now=NOW)
    with pytest.raises(EvidenceError):
        verify(spoiled)
