"""Who vouches for a simulated platform, and is it up to date? (`docs/spec/simulated_tee.md` §4)."""

from __future__ import annotations

import base64
import hashlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import NameOID

from mitai_crypto.errors import EvidenceError
from mitai_crypto.fields import Fields
from mitai_crypto.labels import (
    CLOCK_SKEW_SECONDS,
    MAX_BUNDLE_BYTES,
    SIMULATED_PLATFORM_NAME,
    SIMULATED_ROOT_NAME,
    SIMULATED_TCB_LABEL,
    SIMULATED_TCB_OID,
    SIMULATED_VERSION,
)
from mitai_crypto.simulated_quote import CHIP_ID_BYTES, MAX_TCB_VERSION
from mitai_crypto.strict_json import encode_canonical, parse_canonical, parse_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

TCB_STATUSES: Final = ("UpToDate", "ConfigurationNeeded", "SWHardeningNeeded", "OutOfDate", "Revoked")
UP_TO_DATE: Final = "UpToDate"
_TCB_OID: Final = x509.ObjectIdentifier(SIMULATED_TCB_OID)
_KNOWN_CRITICAL: Final = frozenset({x509.BasicConstraints.oid, x509.KeyUsage.oid})
_MAX_LEVELS: Final = 64


@dataclass(frozen=True)
class TcbStatus:
    """The root's word on each TCB version.

    Attributes:
        issued: Unix seconds.
        next_update: Unix seconds from which it counts no more.
        levels: TCB version → status.
    """

    issued: int
    next_update: int
    levels: Mapping[int, str]

    def encode(self) -> bytes:
        """Encode as the canonical JSON that is signed."""
        return encode_canonical(
            {
                "v": SIMULATED_VERSION,
                "issued": self.issued,
                "next_update": self.next_update,
                "levels": [{"tcb": tcb, "status": status} for tcb, status in self.levels.items()],
            }
        )


@dataclass(frozen=True)
class Collateral:
    """The `collateral` part of a simulated bundle: parsed, nothing in it verified.

    Attributes:
        root: Certificate in DER.
        platform: Certificate in DER.
        crl: Revocation list in DER.
        tcb_status: What was parsed from `tcb`.
        tcb: The exact bytes under the signature.
        tcb_signature: Ed25519.
    """

    root: bytes = field(repr=False)
    platform: bytes = field(repr=False)
    crl: bytes = field(repr=False)
    tcb_status: TcbStatus
    tcb: bytes = field(repr=False)
    tcb_signature: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Encode as JSON."""
        return encode_canonical(
            {
                "v": SIMULATED_VERSION,
                "root": base64.b64encode(self.root).decode(),
                "platform": base64.b64encode(self.platform).decode(),
                "crl": base64.b64encode(self.crl).decode(),
                "tcb": base64.b64encode(self.tcb).decode(),
                "tcb_signature": base64.b64encode(self.tcb_signature).decode(),
            }
        )


@dataclass(frozen=True)
class Endorsement:
    """What the pinned root vouches for: the result of `verify_chain`.

    Attributes:
        root_key: Of the pinned root.
        platform_key: The key that signs quotes.
        chip_id: Hex.
        tcb: The platform's TCB version by its certificate.
        next_update: Unix seconds; the first end of validity in the chain and its revocation list.
    """

    root_key: Ed25519PublicKey
    platform_key: Ed25519PublicKey
    chip_id: str
    tcb: int
    next_update: int


def root_fingerprint(root_der: bytes) -> str:
    """Give the hex SHA-256 by which policies pin a root."""
    return hashlib.sha256(root_der).hexdigest()


def signed_tcb_status(statement: bytes) -> bytes:
    """Give the bytes that the root signs for an encoded TCB status."""
    return SIMULATED_TCB_LABEL + b"\0" + statement


def parse_collateral(data: bytes) -> Collateral:
    """Read the `collateral` part of a simulated bundle.

    Raises:
        EvidenceError: The bytes are not well-formed collateral, or a certificate or list in it is not DER.
    """
    fields = Fields(parse_object(data, max_bytes=MAX_BUNDLE_BYTES), where="collateral")
    fields.version("v", SIMULATED_VERSION)
    statement = fields.base64("tcb")
    collateral = Collateral(
        root=fields.base64("root"),
        platform=fields.base64("platform"),
        crl=fields.base64("crl"),
        tcb_status=_parse_tcb_status(statement),
        tcb=statement,
        tcb_signature=fields.base64("tcb_signature"),
    )
    fields.finish()
    with _x509_errors():
        x509.load_der_x509_certificate(collateral.root)
        x509.load_der_x509_certificate(collateral.platform)
        x509.load_der_x509_crl(collateral.crl)
    return collateral


def verify_chain(collateral: Collateral, *, fingerprint: str, now: int) -> Endorsement:
    """Check root, platform certificate and revocation list.

    Args:
        collateral: As parsed.
        fingerprint: Hex SHA-256 of the pinned root.
        now: Unix seconds.

    Raises:
        EvidenceError: Something in the chain does not hold; the message says what.
    """
    if root_fingerprint(collateral.root) != fingerprint:
        raise EvidenceError(
            f"the root is {root_fingerprint(collateral.root)[:16]}…, the policy pins {fingerprint[:16]}…"
        )
    with _x509_errors():
        root = x509.load_der_x509_certificate(collateral.root)
        platform = x509.load_der_x509_certificate(collateral.platform)
        crl = x509.load_der_x509_crl(collateral.crl)
        root_key = _verify_certificate(root, root, SIMULATED_ROOT_NAME, is_root=True, now=now)
        platform_key = _verify_certificate(platform, root, SIMULATED_PLATFORM_NAME, is_root=False, now=now)
        crl_end = _verify_not_revoked(crl, platform, root, root_key, now)
        return Endorsement(
            root_key=root_key,
            platform_key=platform_key,
            chip_id=_chip_id(platform),
            tcb=_tcb_version(platform),
            next_update=min(crl_end, _seconds(platform.not_valid_after_utc), _seconds(root.not_valid_after_utc)),
        )


def verify_tcb_status(collateral: Collateral, endorsement: Endorsement, *, now: int) -> str:
    """Check the root's signed TCB status and return the status of the endorsed TCB version.

    Raises:
        EvidenceError: The status is not signed by the root, not valid at `now`, or does not know the version.
    """
    try:
        endorsement.root_key.verify(collateral.tcb_signature, signed_tcb_status(collateral.tcb))
    except InvalidSignature:
        raise EvidenceError("the root did not sign this TCB status") from None
    status = collateral.tcb_status
    _verify_window("the TCB status", status.issued, status.next_update, now)
    if endorsement.tcb not in status.levels:
        raise EvidenceError(f"the TCB status does not know version {endorsement.tcb}")
    return status.levels[endorsement.tcb]


def _parse_tcb_status(data: bytes) -> TcbStatus:
    fields = Fields(parse_canonical(data, max_bytes=MAX_BUNDLE_BYTES), where="tcb")
    fields.version("v", SIMULATED_VERSION)
    levels: dict[int, str] = {}
    items = fields.array("levels", most=_MAX_LEVELS)
    for item in items:
        level = Fields(item, where="tcb.levels[]")
        levels[level.integer("tcb", most=MAX_TCB_VERSION)] = level.choice("status", TCB_STATUSES)
        level.finish()
    if len(levels) != len(items):
        raise EvidenceError("tcb.levels names a version twice")
    status = TcbStatus(fields.integer("issued"), fields.integer("next_update"), levels)
    fields.finish()
    return status


def _verify_certificate(
    certificate: x509.Certificate, issuer: x509.Certificate, name: str, *, is_root: bool, now: int
) -> Ed25519PublicKey:
    what = "the root certificate" if is_root else "the platform certificate"
    try:
        certificate.verify_directly_issued_by(issuer)
    except InvalidSignature:
        raise EvidenceError(f"{what} is not signed by the root") from None
    _verify_window(what, _seconds(certificate.not_valid_before_utc), _seconds(certificate.not_valid_after_utc), now)
    if _subject(certificate, NameOID.COMMON_NAME) != name:
        raise EvidenceError(f"{what} is not named {name!r}")
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    wanted = x509.BasicConstraints(ca=is_root, path_length=0 if is_root else None)
    if constraints.value != wanted or not constraints.critical:
        raise EvidenceError(f"{what} has the wrong basic constraints")
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    if usage.value != key_usage(is_root=is_root) or not usage.critical:
        raise EvidenceError(f"{what} has the wrong key usage")
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _KNOWN_CRITICAL:
            raise EvidenceError(f"{what} has an unknown critical extension {extension.oid.dotted_string}")
    key = certificate.public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise EvidenceError(f"{what} does not hold an Ed25519 key")
    return key


def key_usage(*, is_root: bool) -> x509.KeyUsage:
    """Give the one key usage that the root's or the platform's certificate may have."""
    return x509.KeyUsage(
        digital_signature=not is_root,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_root,
        crl_sign=is_root,
        encipher_only=False,
        decipher_only=False,
    )


def _verify_not_revoked(
    crl: x509.CertificateRevocationList,
    platform: x509.Certificate,
    root: x509.Certificate,
    root_key: Ed25519PublicKey,
    now: int,
) -> int:
    if crl.issuer != root.subject or not crl.is_signature_valid(root_key):
        raise EvidenceError("the revocation list is not signed by the root")
    if crl.next_update_utc is None:
        raise EvidenceError("the revocation list has no next update")
    if any(extension.critical for extension in crl.extensions):
        raise EvidenceError("the revocation list has an unknown critical extension")
    end = _seconds(crl.next_update_utc)
    _verify_window("the revocation list", _seconds(crl.last_update_utc), end, now)
    if crl.get_revoked_certificate_by_serial_number(platform.serial_number) is not None:
        raise EvidenceError("the platform certificate is revoked")
    return end


def _verify_window(what: str, start: int, end: int, now: int) -> None:
    if start > now + CLOCK_SKEW_SECONDS:
        raise EvidenceError(f"{what} is not valid yet: from {start}, now {now}")
    if now >= end:
        raise EvidenceError(f"{what} has expired: at {end}, now {now}")


def _chip_id(platform: x509.Certificate) -> str:
    fields = Fields({"chip_id": _subject(platform, NameOID.SERIAL_NUMBER)}, where="platform certificate")
    return fields.digest("chip_id", CHIP_ID_BYTES)


def _tcb_version(platform: x509.Certificate) -> int:
    extension = platform.extensions.get_extension_for_oid(_TCB_OID).value
    if not isinstance(extension, x509.UnrecognizedExtension):
        raise EvidenceError("the platform certificate has no TCB version")
    fields = Fields({"tcb": asn1.decode_der(int, extension.value)}, where="platform certificate")
    return fields.integer("tcb", most=MAX_TCB_VERSION)


def _subject(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    values = [attribute.value for attribute in certificate.subject.get_attributes_for_oid(oid)]
    if len(values) != 1 or not isinstance(values[0], str):
        raise EvidenceError(f"a certificate's subject must name {oid.dotted_string} once")
    return values[0]


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


@contextmanager
def _x509_errors() -> Iterator[None]:
    """Turn what the X.509 library raises on malformed input into our own error."""
    try:
        yield
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.ExtensionNotFound,
        x509.InvalidVersion,
    ) as reason:
        raise EvidenceError(f"a certificate or revocation list is malformed: {reason}") from reason
