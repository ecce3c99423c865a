"""How does the simulated root vouch for a platform? (`docs/spec/simulated_tee.md` §4)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from mitai_crypto.labels import (
    CLOCK_SKEW_SECONDS,
    SIMULATED_PLATFORM_NAME,
    SIMULATED_ROOT_NAME,
    SIMULATED_TCB_OID,
    SIMULATED_TCB_VERSION,
)
from mitai_crypto.simulated_collateral import (
    UP_TO_DATE,
    Collateral,
    TcbStatus,
    key_usage,
    root_fingerprint,
    signed_tcb_status,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ROOT_LIFETIME_SECONDS: Final = 10 * 365 * 86_400
PLATFORM_LIFETIME_SECONDS: Final = 5 * 365 * 86_400
COLLATERAL_LIFETIME_SECONDS: Final = 86_400
UP_TO_DATE_LEVELS: Final[Mapping[int, str]] = {SIMULATED_TCB_VERSION: UP_TO_DATE}


@dataclass(frozen=True)
class Root:
    """A simulated root: who holds it can vouch for anything.

    Attributes:
        certificate: Self-signed.
        key: Its key.
    """

    certificate: x509.Certificate
    key: Ed25519PrivateKey = field(repr=False)

    @property
    def der(self) -> bytes:
        """The certificate in DER."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the certificate, by which policies pin it."""
        return root_fingerprint(self.der)


def make_root(key: Ed25519PrivateKey, *, now: int) -> Root:
    """Make a self-signed root for `key`."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SIMULATED_ROOT_NAME)])
    builder = _builder(name, name, key.public_key(), now, ROOT_LIFETIME_SECONDS, is_root=True)
    return Root(builder.sign(key, None), key)


def make_platform(
    root: Root,
    key: Ed25519PublicKey,
    *,
    chip_id: str,
    now: int,
    tcb: int = SIMULATED_TCB_VERSION,
    lifetime: int = PLATFORM_LIFETIME_SECONDS,
) -> x509.Certificate:
    """Certify a quoting key.

    Args:
        root: Who vouches.
        key: The platform's public key.
        chip_id: 16 bytes of hex.
        now: Unix seconds; the validity begins a little earlier, for clocks differ.
        tcb: The TCB version that the certificate states.
        lifetime: Seconds.
    """
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, SIMULATED_PLATFORM_NAME),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, chip_id),
        ]
    )
    builder = _builder(subject, root.certificate.subject, key, now, lifetime, is_root=False)
    version = x509.UnrecognizedExtension(x509.ObjectIdentifier(SIMULATED_TCB_OID), asn1.encode_der(tcb))
    return builder.add_extension(version, critical=False).sign(root.key, None)


def make_collateral(
    root: Root,
    platform: x509.Certificate,
    *,
    now: int,
    lifetime: int = COLLATERAL_LIFETIME_SECONDS,
    levels: Mapping[int, str] = UP_TO_DATE_LEVELS,
    revoked: Sequence[int] = (),
) -> Collateral:
    """Sign a revocation list and a TCB status.

    Args:
        root: Who vouches.
        platform: The certificate that goes along.
        now: Unix seconds.
        lifetime: Seconds until the next update of both.
        levels: TCB version → status.
        revoked: Serial numbers of revoked certificates.
    """
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(root.certificate.subject)
        .last_update(_moment(now))
        .next_update(_moment(now + lifetime))
    )
    for serial in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_moment(now)).build()
        builder = builder.add_revoked_certificate(entry)
    status = TcbStatus(issued=now, next_update=now + lifetime, levels=levels)
    statement = status.encode()
    return Collateral(
        root=root.der,
        platform=platform.public_bytes(Encoding.DER),
        crl=builder.sign(root.key, None).public_bytes(Encoding.DER),
        tcb_status=status,
        tcb=statement,
        tcb_signature=root.key.sign(signed_tcb_status(statement)),
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Ed25519PublicKey, now: int, lifetime: int, *, is_root: bool
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(_serial_number(subject, key, now))
        .not_valid_before(_moment(now - CLOCK_SKEW_SECONDS))
        .not_valid_after(_moment(now + lifetime))
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=0 if is_root else None), critical=True)
        .add_extension(key_usage(is_root=is_root), critical=True)
    )


def _serial_number(subject: x509.Name, key: Ed25519PublicKey, now: int) -> int:
    """Give each certificate its own positive number of at most 20 bytes, without a counter (RFC 5280 §4.1.2.2)."""
    seen = hashlib.sha256(subject.public_bytes() + key.public_bytes_raw() + now.to_bytes(8, "big")).digest()
    return int.from_bytes(b"\x01" + seen[:15], "big")


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
