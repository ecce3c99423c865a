"""Exchanges over the sealed channel for tests: random ones, and one whose every byte is fixed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from mitai_crypto.hpke import Aead, Kdf, Kem, SenderContext, generate_private_key, load_private_key
from mitai_crypto.kem import _X25519Public
from mitai_crypto.key_config import KeyConfig, request_info
from mitai_crypto.labels import PLAIN_REQUEST_LABEL
from mitai_crypto.ohttp import OpenedRequest, PlainRequestOpener, PlainResponseSealer, RequestOpener, ResponseSealer
from mitai_crypto.ohttp_plain import _seal
from mitai_crypto.ohttp_request import _seal_chunks
from mitai_crypto.varint import read_varint

if TYPE_CHECKING:
    from mitai_crypto.hpke import PrivateKey
    from mitai_crypto.ohttp import SealedPlainRequest, SealedRequest

HEADER_BYTES = 7
ALL_AEADS = tuple((Kdf.HKDF_SHA256, aead) for aead in Aead)


def key_pair(kem: Kem, *, key_id: int = 1) -> tuple[KeyConfig, PrivateKey]:
    """Make a random key of `kem` that is offered with every AEAD."""
    private_key = generate_private_key(kem)
    return KeyConfig(key_id, kem, private_key.public_bytes, ALL_AEADS), private_key


def open_request(message: bytes, config: KeyConfig, private_key: PrivateKey) -> OpenedRequest:
    """Open a sealed request in one go."""
    opener = RequestOpener({config.key_id: (config, private_key)}.get)
    opener.feed(message)
    return opener.close()


def split_frames(chunks: bytes) -> list[bytes]:
    """Cut the chunks of a message into frames, length prefixes included; the last is the final chunk."""
    frames: list[bytes] = []
    offset = 0
    while True:
        read = read_varint(chunks, offset)
        assert read is not None
        length, start = read
        if length == 0:
            return [*frames, chunks[offset:]]
        frames.append(chunks[offset : start + length])
        offset = start + length


def seed(name: str) -> bytes:
    """Return 32 bytes that look random and are the same every time."""
    return hashlib.sha256(b"mitai test vector / " + name.encode()).digest()


@dataclass
class FixedExchange:
    """An exchange under X25519 and AES-128-GCM whose ephemeral key and response nonce come from a name.

    Attributes:
        request_pieces: The plaintext of each request chunk, the last one final.
        response_pieces: The same for the response.
    """

    name: str
    request_pieces: tuple[bytes, ...] = (b"first ", b"second ", b"third ", b"last")
    response_pieces: tuple[bytes, ...] = ("密态".encode(), b" answers", b" in pieces", b".")

    def __post_init__(self) -> None:
        self.gateway_key = load_private_key(Kem.X25519, seed("gateway"))
        suites = ((Kdf.HKDF_SHA256, Aead.AES_128_GCM), (Kdf.HKDF_SHA256, Aead.CHACHA20_POLY1305))
        self.config = KeyConfig(7, Kem.X25519, self.gateway_key.public_bytes, suites)

    def seal(self, label: bytes | None = None) -> SealedRequest:
        """Seal the request; the same bytes every time. `label` replaces the whole HPKE info."""
        key = self.config.key
        assert isinstance(key, _X25519Public)
        suite = self.config.suite(Aead.AES_128_GCM)
        header = self.config.header(suite)
        ephemeral = X25519PrivateKey.from_private_bytes(seed(f"ephemeral {self.name}"))
        enc, secret = key._encapsulate(ephemeral)
        context = SenderContext(suite, secret, request_info(header) if label is None else label)
        return _seal_chunks(header + enc, enc, context, self.request_pieces)

    def seal_plain(self, label: bytes = PLAIN_REQUEST_LABEL) -> SealedPlainRequest:
        """Seal the request in one piece; the same bytes every time."""
        key = self.config.key
        assert isinstance(key, _X25519Public)
        suite = self.config.suite(Aead.AES_128_GCM)
        header = self.config.header(suite)
        ephemeral = X25519PrivateKey.from_private_bytes(seed(f"ephemeral {self.name}"))
        enc, secret = key._encapsulate(ephemeral)
        context = SenderContext(suite, secret, request_info(header, label))
        return _seal(header + enc, enc, context, b"".join(self.request_pieces))

    def plain_response(self) -> bytes:
        """Return the fixed response in one piece."""
        opener = PlainRequestOpener({7: (self.config, self.gateway_key)}.get)
        opener.feed(self.seal_plain().message)
        context = opener._context
        assert context is not None
        opener.close()
        sealer = PlainResponseSealer(context, opener._enc, seed(f"nonce {self.name}")[:16])
        return sealer.begin() + sealer.finish(b"".join(self.response_pieces))

    def request_frames(self) -> list[bytes]:
        """Return header ‖ enc, then the frames."""
        message = self.seal().message
        head = HEADER_BYTES + Kem.X25519.enc_bytes
        return [message[:head], *split_frames(message[head:])]

    def sealer(self) -> ResponseSealer:
        """Return the sealer of the fixed response, freshly begun."""
        opener = RequestOpener({7: (self.config, self.gateway_key)}.get)
        opener.feed(self.seal().message)
        context = opener._context
        assert context is not None
        opener.close()
        sealer = ResponseSealer(context, opener._enc, seed(f"nonce {self.name}")[:16])
        sealer.begin()
        return sealer

    def response_frames(self) -> list[bytes]:
        """Return the nonce, then the frames."""
        sealer = self.sealer()
        *pieces, last = self.response_pieces
        return [sealer.response_nonce, *(sealer.seal(piece) for piece in pieces), sealer.finish(last)]
