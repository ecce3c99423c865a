from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mitai_crypto.crypto_material import PublishedKey, parse_crypto_material
from mitai_crypto.evidence import TeeKind
from mitai_crypto.kem import Kem, generate_private_key
from mitai_crypto.ohttp import KeyConfig
from mitai_enclave.attestation import Identity, TokenBucket
from mitai_enclave.epochs import SYMMETRIC


def identity(tee: TeeKind) -> Identity:
    return Identity(tee, Ed25519PrivateKey.generate(), "vllm", "m", "ab" * 32, "cd" * 32)


def test_the_mode_follows_the_kind_of_evidence() -> None:
    config = KeyConfig(1, Kem.X25519, generate_private_key(Kem.X25519).public_bytes, SYMMETRIC[Kem.X25519])
    key = PublishedKey(config.encode(), 0, 7200)
    for tee, mode in ((TeeKind.SIMULATED, "simulated"), (TeeKind.TDX, "production")):
        material = parse_crypto_material(identity(tee).describe((key,)))
        assert material.mode == mode
        assert material.model_digest == "ab" * 32


def test_no_key_shows_in_a_repr() -> None:
    assert "key" not in repr(identity(TeeKind.TDX)).lower()


def test_a_bucket_refills_with_time_up_to_its_burst() -> None:
    now = 0.0
    bucket = TokenBucket(2, 3, clock=lambda: now)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    now = 0.5
    assert [bucket.take() for _ in range(2)] == [True, False]
    now = 1000.0
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
