"""The chunks of a sealed message, before any key is known."""

from __future__ import annotations

from target import Target, failures, pieces, streamed

from mitai_crypto.errors import ChannelError
from mitai_crypto.labels import MAX_CHUNK_CIPHERTEXT
from mitai_crypto.ohttp_chunks import ChunkReader


def read(data: bytes) -> None:
    """Find the chunks."""
    reader = ChunkReader()
    for piece in pieces(data):
        for chunk in reader.feed(piece):
            assert len(chunk) <= MAX_CHUNK_CIPHERTEXT
    assert len(reader.close()) <= MAX_CHUNK_CIPHERTEXT


def seeds() -> list[bytes]:
    """Return what follows the nonce of responses."""
    return streamed([message[16:] for message in failures("response")])


TARGET = Target(read, ChannelError, seeds, factor=16)
