"""Opening a 6 KB sealed request against opening the same bytes as a JWE (RSA-3072-OAEP, A128GCM).

    python bench/opening.py [--rounds 200]

Both sides do what a server does for each request: recover the key, open the body. Ours also parses the
envelope, makes the response key and draws the response nonce. Each round times every variant for about two
milliseconds, one after the other, and the best of each counts: a busy neighbour spoils rounds, not results.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import time
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from joserfc import jwe
from joserfc.jwk import RSAKey

from machine import machine
from mitai_crypto.hpke import Aead, Kdf, Kem, Suite, generate_private_key, setup_recipient, setup_sender
from mitai_crypto.labels import RESPONSE_LABEL
from mitai_crypto.ohttp import KeyConfig, RequestOpener, seal_request

if TYPE_CHECKING:
    from collections.abc import Callable

BODY_BYTES = 6 * 1024
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
ALGORITHMS = ["RSA-OAEP-256", "A128GCM"]


def sealed_request(kem: Kem, body: bytes) -> Callable[[], bytes]:
    """Return what opens a whole sealed request."""
    private_key = generate_private_key(kem)
    config = KeyConfig(1, kem, private_key.public_bytes, ((Kdf.HKDF_SHA256, Aead.AES_256_GCM),))
    message = seal_request(config, body).message
    keys = {1: (config, private_key)}

    def run() -> bytes:
        opener = RequestOpener(keys.get)
        opener.feed(message)
        return opener.close().plaintext

    return run


def bare_hpke(kem: Kem, body: bytes) -> Callable[[], bytes]:
    """Return what does set-up, one open and one export, without the envelope."""
    suite = Suite(kem, Kdf.HKDF_SHA256, Aead.AES_256_GCM)
    private_key = generate_private_key(kem)
    enc, sender = setup_sender(suite, private_key.public_bytes, b"info")
    ciphertext = sender.seal(body)

    def run() -> bytes:
        context = setup_recipient(suite, private_key, enc, b"info")
        context.export(RESPONSE_LABEL, 32)
        return context.open(ciphertext)

    return run


def joserfc_jwe(key: rsa.RSAPrivateKey, body: bytes) -> Callable[[], bytes]:
    """Return what opens the body as a compact JWE with a JWE library."""
    jwk = RSAKey.import_key(_pem(key))
    header = {"alg": "RSA-OAEP-256", "enc": "A128GCM"}
    token = jwe.encrypt_compact(header, body, jwk, algorithms=ALGORITHMS)

    def run() -> bytes:
        plaintext = jwe.decrypt_compact(token, jwk, algorithms=ALGORITHMS).plaintext
        assert plaintext is not None
        return plaintext

    return run


def bare_jwe(key: rsa.RSAPrivateKey, body: bytes) -> Callable[[], bytes]:
    """Return what opens the body with a JWE's primitives alone: base64, OAEP, AES-GCM."""
    content_key, nonce = os.urandom(16), os.urandom(12)
    protected = base64.urlsafe_b64encode(json.dumps({"alg": "RSA-OAEP-256", "enc": "A128GCM"}).encode())
    wrapped = base64.urlsafe_b64encode(key.public_key().encrypt(content_key, OAEP))
    sealed = base64.urlsafe_b64encode(AESGCM(content_key).encrypt(nonce, body, protected))

    def run() -> bytes:
        json.loads(base64.urlsafe_b64decode(protected))
        cipher = AESGCM(key.decrypt(base64.urlsafe_b64decode(wrapped), OAEP))
        return cipher.decrypt(nonce, base64.urlsafe_b64decode(sealed), protected)

    return run


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - used once, at set-up

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def measure(variants: dict[str, Callable[[], bytes]], body: bytes, rounds: int) -> dict[str, float]:
    """Return the seconds per operation of each variant: the best of interleaved rounds."""
    best = dict.fromkeys(variants, float("inf"))
    for run in variants.values():
        assert run() == body
    for _ in range(rounds):
        for name, run in variants.items():
            repeats = 3 if "RSA" in name else 20
            start = time.perf_counter()
            for _ in range(repeats):
                run()
            best[name] = min(best[name], (time.perf_counter() - start) / repeats)
    return best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    body = os.urandom(BODY_BYTES)
    rsa_key = rsa.generate_private_key(65_537, 3072)
    base, library = "JWE RSA-3072, bare primitives", "JWE RSA-3072, joserfc"
    variants = {base: bare_jwe(rsa_key, body), library: joserfc_jwe(rsa_key, body)}
    for kem in Kem:
        variants[f"sealed request, {kem.name}"] = sealed_request(kem, body)
        variants[f"bare HPKE, {kem.name}"] = bare_hpke(kem, body)
    best = measure(variants, body, rounds)
    print(f"{machine()}; best of {rounds} interleaved rounds")
    print(f"{'opening 6 KB':<34}{'µs':>9}{'ops/s':>9}{'× bare JWE':>12}{'× joserfc':>11}")
    for name, seconds in best.items():
        ratios = f"{best[base] / seconds:>12.1f}{best[library] / seconds:>11.1f}"
        print(f"{name:<34}{seconds * 1e6:>9.1f}{1 / seconds:>9.0f}{ratios}")


if __name__ == "__main__":
    main()
