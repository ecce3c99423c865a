"""OHTTP key configurations (RFC 9458 §3.1): which key a gateway has, and for which algorithms."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from mitai_crypto.aead import Aead
from mitai_crypto.errors import HpkeError, KeyConfigError
from mitai_crypto.hpke import Kdf, Suite
from mitai_crypto.kem import Kem, PublicKey, load_public_key
from mitai_crypto.labels import MAX_CONFIG_SUITES, REQUEST_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterable

_PREFIX: Final = struct.Struct(">BH")
_PAIR: Final = struct.Struct(">HH")
_HEADER: Final = struct.Struct(">BHHH")
HEADER_BYTES: Final = _HEADER.size
_KEY_IDS: Final = range(256)


@dataclass(frozen=True)
class KeyConfig:
    """One public key of a gateway with its number and the algorithms it may be used with.

    Attributes:
        key_id: The number, 0–255, by which a request names the key.
        kem: The key's KEM.
        public_key: The key's bytes.
        suites: The KDF and AEAD pairs on offer, without repetition.

    Raises:
        KeyConfigError: If the key is not one of the KEM, or the list of suites is empty, too long or has
            repetitions.
    """

    key_id: int
    kem: Kem
    public_key: bytes = field(repr=False)
    suites: tuple[tuple[Kdf, Aead], ...]

    def __post_init__(self) -> None:
        if self.key_id not in _KEY_IDS:
            raise KeyConfigError("a key id is one byte")
        if not 1 <= len(self.suites) <= MAX_CONFIG_SUITES or len(set(self.suites)) != len(self.suites):
            raise KeyConfigError(f"a key configuration names 1 to {MAX_CONFIG_SUITES} suites, each once")
        _ = self.key  # an invalid key must not be found out only when it is used

    @cached_property
    def key(self) -> PublicKey:
        """The parsed public key."""
        try:
            return load_public_key(self.kem, self.public_key)
        except HpkeError as error:
            raise KeyConfigError(f"not a usable public key for {self.kem.name}", hint=error.hint) from None

    def encode(self) -> bytes:
        """Return the bytes that are published, attested and hashed."""
        pairs = b"".join(_PAIR.pack(kdf, aead) for kdf, aead in self.suites)
        return _PREFIX.pack(self.key_id, self.kem) + self.public_key + len(pairs).to_bytes(2, "big") + pairs

    @cached_property
    def fingerprint(self) -> str:
        """The lower-case hex SHA-256 of `encode()`; it names the key in URLs and in the ledger."""
        return hashlib.sha256(self.encode()).hexdigest()

    def suite(self, aead: Aead | None = None) -> Suite:
        """Choose the suite for a request: `aead` where given, else AES-256-GCM where offered, else the first.

        Raises:
            KeyConfigError: If the configuration does not offer `aead`.
        """
        wanted = Aead.AES_256_GCM if aead is None else aead
        offers = list(self.headers.values())
        for suite in offers:
            if suite.aead is wanted:
                return suite
        if aead is not None:
            raise KeyConfigError(f"the key is not offered with {aead.name}")
        return offers[0]

    @cached_property
    def headers(self) -> dict[bytes, Suite]:
        """Every header by which a request may name this key (RFC 9458 §4.1), with the suite it chooses."""
        suites = [Suite(self.kem, kdf, aead) for kdf, aead in self.suites]
        return {self.header(suite): suite for suite in suites}

    def header(self, suite: Suite) -> bytes:
        """Return the header by which a request names this key and `suite`."""
        return _HEADER.pack(self.key_id, suite.kem, suite.kdf, suite.aead)


def request_info(header: bytes, label: bytes = REQUEST_LABEL) -> bytes:
    """Return the HPKE info that binds a request to its header and its format (RFC 9458 §4.3)."""
    return label + b"\x00" + header


def encode_key_list(configs: Iterable[KeyConfig]) -> bytes:
    """Return the content of an `application/ohttp-keys` answer (RFC 9458 §3.2): each with its length in front.

    Nothing in it proves whose keys they are; our own client takes keys from evidence alone.
    """
    return b"".join(len(data).to_bytes(2, "big") + data for data in (config.encode() for config in configs))


def parse_key_config(data: bytes) -> KeyConfig:
    """Parse exactly one key configuration.

    Raises:
        KeyConfigError: If it is malformed, names an unknown algorithm, or is followed by anything.
    """
    try:
        key_id, kem_number = _PREFIX.unpack_from(data)
        kem = Kem(kem_number)
        key_end = _PREFIX.size + kem.public_key_bytes
        pairs = data[key_end + 2 :]
        if len(pairs) != int.from_bytes(data[key_end : key_end + 2], "big") or len(pairs) < _PAIR.size:
            raise KeyConfigError("the key configuration has the wrong length")
        suites = tuple((Kdf(kdf), Aead(aead)) for kdf, aead in _PAIR.iter_unpack(pairs))
    except struct.error:
        raise KeyConfigError("the key configuration has the wrong length") from None
    except ValueError:
        raise KeyConfigError("the key configuration names an algorithm that is not known here") from None
    return KeyConfig(key_id, kem, data[_PREFIX.size : key_end], suites)
