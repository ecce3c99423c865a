"""Which keys does an enclave publish, and what does it say of its workload? (`docs/spec/evidence.md` §3)."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Literal, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mitai_crypto.errors import EvidenceError, KeyConfigError
from mitai_crypto.fields import Fields
from mitai_crypto.labels import CRYPTO_MATERIAL_VERSION, MAX_CRYPTO_MATERIAL_BYTES, MAX_PUBLISHED_KEYS
from mitai_crypto.ohttp import KeyConfig, parse_key_config
from mitai_crypto.policy import ENGINES, EngineKind
from mitai_crypto.strict_json import encode_canonical, parse_canonical

Mode = Literal["production", "simulated"]
_MODES = ("production", "simulated")


@dataclass(frozen=True)
class PublishedKey:
    """One key configuration and the time in which its key may be used.

    Attributes:
        config: The exact bytes of `KeyConfig.encode()`.
        not_before: Unix seconds, included.
        not_after: Unix seconds, excluded.
    """

    config: bytes = field(repr=False)
    not_before: int
    not_after: int

    def key_config(self) -> KeyConfig:
        """Parse the configuration.

        Raises:
            EvidenceError: The bytes are not a key configuration.
        """
        try:
            return parse_key_config(self.config)
        except KeyConfigError as reason:
            raise EvidenceError(f"a published key is malformed: {reason}") from reason


@dataclass(frozen=True)
class CryptoMaterial:
    """What an enclave's quote binds besides its code.

    Attributes:
        mode: What the enclave claims to be; the evidence kind is what counts.
        keys: The current key first, then the next.
        receipt_key: Ed25519 public key, 32 bytes.
        engine: `vllm`, hashed by the enclave, or `external`.
        model_name: The served name.
        model_digest: Hex; None exactly when the engine is external.
        configuration: Hex SHA-256 of the enclave's configuration.
    """

    mode: Mode
    keys: tuple[PublishedKey, ...]
    receipt_key: bytes = field(repr=False)
    engine: EngineKind
    model_name: str
    model_digest: str | None
    configuration: str

    def encode(self) -> bytes:
        """Encode as the canonical JSON whose digest the quote binds."""
        return encode_canonical(
            {
                "v": CRYPTO_MATERIAL_VERSION,
                "mode": self.mode,
                "keys": [
                    {
                        "config": base64.b64encode(key.config).decode(),
                        "not_before": key.not_before,
                        "not_after": key.not_after,
                    }
                    for key in self.keys
                ],
                "receipt_key": base64.b64encode(self.receipt_key).decode(),
                "engine": self.engine,
                "model": {"name": self.model_name, "digest": self.model_digest},
                "configuration": self.configuration,
            }
        )


def parse_crypto_material(data: bytes) -> CryptoMaterial:
    """Read crypto material; whether its times and values are acceptable is for the verifier.

    Raises:
        EvidenceError: The bytes are not canonical crypto material, or a key in it is not a key.
    """
    fields = Fields(parse_canonical(data, max_bytes=MAX_CRYPTO_MATERIAL_BYTES), where="crypto_material")
    fields.version("v", CRYPTO_MATERIAL_VERSION)
    model = fields.inner("model")
    material = CryptoMaterial(
        mode=cast("Mode", fields.choice("mode", _MODES)),
        keys=tuple(_parse_key(item) for item in fields.array("keys", most=MAX_PUBLISHED_KEYS)),
        receipt_key=_parse_receipt_key(fields.base64("receipt_key")),
        engine=cast("EngineKind", fields.choice("engine", ENGINES)),
        model_name=model.name("name"),
        model_digest=None if model.null("digest") else model.digest("digest"),
        configuration=fields.digest("configuration"),
    )
    model.finish()
    fields.finish()
    if (material.model_digest is None) != (material.engine == "external"):
        raise EvidenceError("crypto_material.model.digest must be null exactly when the engine is external")
    key_ids = [key.key_config().key_id for key in material.keys]
    if len(set(key_ids)) != len(key_ids):
        raise EvidenceError("crypto_material.keys uses a key id twice")
    return material


def _parse_key(item: object) -> PublishedKey:
    fields = Fields(item, where="crypto_material.keys[]")
    key = PublishedKey(
        config=fields.base64("config"),
        not_before=fields.integer("not_before"),
        not_after=fields.integer("not_after"),
    )
    fields.finish()
    return key


def _parse_receipt_key(raw: bytes) -> bytes:
    try:
        Ed25519PublicKey.from_public_bytes(raw)
    except ValueError:
        raise EvidenceError("crypto_material.receipt_key is not an Ed25519 key") from None
    return raw
