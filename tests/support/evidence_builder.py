"""Builds valid simulated bundles, with a handle for every part that a test may want to spoil.

    enclave = build_enclave()
    result = verify_evidence(enclave.bundle(NONCE), nonce=NONCE, policy=enclave.policy(), now=NOW)

Everything follows from the seed: the same arguments give the same bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mitai_crypto.crypto_material import CryptoMaterial, PublishedKey
from mitai_crypto.evidence import EvidenceBundle, TeeKind, report_data
from mitai_crypto.hpke import Aead, Kdf, Kem, PrivateKey, load_private_key
from mitai_crypto.ohttp import KeyConfig
from mitai_crypto.policy import KeySuite, Reference, TrustPolicy
from mitai_crypto.simulated_log import Event, replay
from mitai_crypto.simulated_quote import Quote, SimulatedEvidence, signed_quote
from mitai_sim.endorse import Root, make_collateral, make_platform, make_root

if TYPE_CHECKING:
    from cryptography import x509

    from mitai_crypto.simulated_collateral import Collateral

NOW = 1_767_600_000  # 2026-01-05T08:00:00Z
NONCE = bytes(range(32))
MODEL = hashlib.sha256(b"model").hexdigest()
CONFIGURATION = hashlib.sha256(b"configuration").hexdigest()
EVENTS = (
    Event(0, "interpreter", "version", hashlib.sha256(b"3.11").hexdigest()),
    Event(1, "distribution", "cryptography-50.0.0", hashlib.sha256(b"RECORD").hexdigest()),
    Event(2, "file", "mitai_enclave/应用.py", hashlib.sha256(b"code").hexdigest()),
    Event(3, "argv", "0", hashlib.sha256(b"mitai-enclave").hexdigest()),
)


def seeded(seed: str, purpose: str) -> bytes:
    """Give 32 bytes that follow from a seed."""
    return hashlib.sha256(f"{seed}/{purpose}".encode()).digest()


@dataclass(frozen=True)
class BuiltEnclave:
    """A simulated enclave with everything that is secret in a real one."""

    root: Root
    platform: x509.Certificate
    platform_key: Ed25519PrivateKey = field(repr=False)
    private_keys: tuple[PrivateKey, ...] = field(repr=False)
    configs: tuple[KeyConfig, ...]
    receipt_key: Ed25519PrivateKey = field(repr=False)
    material: CryptoMaterial
    quote: Quote
    events: tuple[Event, ...]
    now: int

    def collateral(self, **changes: object) -> Collateral:
        """Sign collateral; `changes` go to `make_collateral`."""
        return make_collateral(self.root, self.platform, **{"now": self.now, **changes})

    def sign(self, quote: Quote, *, events: tuple[Event, ...] | None = None) -> SimulatedEvidence:
        """Sign a quote as the platform does, whatever it says."""
        body = quote.encode()
        signature = self.platform_key.sign(signed_quote(body))
        return SimulatedEvidence(quote, body, signature, self.events if events is None else events)

    def parts(
        self,
        nonce: bytes,
        *,
        material: bytes | None = None,
        device_evidence: bytes = b"",
        **quote: object,
    ) -> EvidenceBundle:
        """Answer a nonce; `quote` replaces fields of the quote before it is signed."""
        shown = self.material.encode() if material is None else material
        bound = report_data(nonce, shown, device_evidence)
        signed = self.sign(replace(self.quote, **{"report_data": bound, **quote}))
        return EvidenceBundle(
            tee=TeeKind.SIMULATED,
            crypto_material=shown,
            device_evidence=device_evidence,
            evidence=signed.encode(),
            collateral=self.collateral().encode(),
        )

    def bundle(self, nonce: bytes, **changes: object) -> bytes:
        """Answer a nonce as the wire carries it; arguments are those of `parts`."""
        return self.parts(nonce, **changes).encode()

    def policy(self, **changes: object) -> TrustPolicy:
        """Give the policy that accepts exactly this enclave."""
        policy = TrustPolicy(
            name="测试 test",
            tee=(TeeKind.SIMULATED,),
            suites=tuple(KeySuite),
            max_age_seconds=3600,
            root=self.root.fingerprint,
            references=(Reference("build 1", self.now - 60, None, self.quote.registers),),
            model_name=self.material.model_name,
            model_digest=self.material.model_digest,
            configuration=(self.material.configuration,),
            engine=(self.material.engine,),
            chips=(),
            gpu="not-required",
        )
        return replace(policy, **changes)


def build_enclave(
    seed: str = "A",
    *,
    now: int = NOW,
    kems: tuple[Kem, ...] = (Kem.MLKEM768_X25519,),
    events: tuple[Event, ...] = EVENTS,
    model_name: str = "SmolLM2-135M-Instruct",
    tcb: int = 1,
) -> BuiltEnclave:
    """Build an enclave whose evidence passes its own policy.

    Args:
        seed: Another seed gives another machine with other keys.
        now: Unix seconds around which everything is valid.
        kems: One current and one next key is published for each.
        events: What the launcher measured.
        model_name: The served name.
        tcb: The TCB version of the platform.
    """
    root = make_root(Ed25519PrivateKey.from_private_bytes(seeded(seed, "root")), now=now - 3600)
    platform_key = Ed25519PrivateKey.from_private_bytes(seeded(seed, "platform"))
    chip_id = seeded(seed, "chip")[:16].hex()
    platform = make_platform(root, platform_key.public_key(), chip_id=chip_id, now=now - 3600, tcb=tcb)
    names = [f"{kem.name}/{when}" for when in ("current", "next") for kem in kems]
    private_keys = tuple(load_private_key(kem, seeded(seed, name)) for kem, name in zip(kems * 2, names, strict=True))
    configs = tuple(
        KeyConfig(
            key_id=number,
            kem=key.kem,
            public_key=key.public_bytes,
            suites=((Kdf.HKDF_SHA256, Aead.AES_256_GCM), (Kdf.HKDF_SHA256, Aead.AES_128_GCM)),
        )
        for number, key in enumerate(private_keys, start=7)
    )
    receipt_key = Ed25519PrivateKey.from_private_bytes(seeded(seed, "receipt"))
    material = CryptoMaterial(
        mode="simulated",
        keys=tuple(
            PublishedKey(
                config.encode(),
                now - 600 if index < len(kems) else now + 2400,
                now + 3000 if index < len(kems) else now + 6600,
            )
            for index, config in enumerate(configs)
        ),
        receipt_key=receipt_key.public_key().public_bytes_raw(),
        engine="vllm",
        model_name=model_name,
        model_digest=MODEL,
        configuration=CONFIGURATION,
    )
    quote = Quote(
        registers=replay(events),
        report_data=bytes(64),
        debug=False,
        migratable=False,
        tcb=tcb,
        chip_id=chip_id,
    )
    return BuiltEnclave(
        root,
        platform,
        platform_key,
        private_keys,
        configs,
        receipt_key,
        material,
        quote,
        events,
        now,
    )
