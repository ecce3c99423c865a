from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from mitai_crypto.simulated_collateral import verify_chain
from mitai_sim.endorse import make_collateral, make_platform, make_root
from support.evidence_builder import NOW, build_enclave

CHIP = "0f" * 16


def test_names_say_that_it_is_no_hardware() -> None:
    enclave = build_enclave()
    for certificate in (enclave.root.certificate, enclave.platform):
        name = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        assert "SIMULATED" in str(name)
        assert "NOT HARDWARE" in str(name)


def test_what_is_made_verifies_from_now_on() -> None:
    root = make_root(Ed25519PrivateKey.generate(), now=NOW)
    platform = make_platform(root, Ed25519PrivateKey.generate().public_key(), chip_id=CHIP, now=NOW, tcb=300)
    collateral = make_collateral(root, platform, now=NOW)
    endorsement = verify_chain(collateral, fingerprint=root.fingerprint, now=NOW)
    assert (endorsement.chip_id, endorsement.tcb) == (CHIP, 300)


def test_serial_numbers_differ_and_fit() -> None:
    root = make_root(Ed25519PrivateKey.generate(), now=NOW)
    keys = [Ed25519PrivateKey.generate().public_key() for _ in range(3)]
    serials = [make_platform(root, key, chip_id=CHIP, now=NOW).serial_number for key in keys]
    serials.append(make_platform(root, keys[0], chip_id=CHIP, now=NOW + 1).serial_number)
    assert len(set(serials)) == 4
    assert all(0 < serial < 2**159 for serial in serials)


def test_the_list_names_what_is_revoked() -> None:
    enclave = build_enclave()
    crl = x509.load_der_x509_crl(enclave.collateral(revoked=[enclave.platform.serial_number]).crl)
    assert [entry.serial_number for entry in crl] == [enclave.platform.serial_number]


def test_the_key_stays_out_of_repr() -> None:
    assert "PrivateKey" not in repr(build_enclave().root)
