"""How a sealed message is cut into chunks (draft-ietf-ohai-chunked-ohttp-08 §4–5, `docs/spec/ohttp.md` §4).

Nothing here knows a key: the reader turns a stream into ciphertexts, whatever way the transport split it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mitai_crypto.errors import DecapsulationError, MessageTooLarge, TruncatedMessage
from mitai_crypto.labels import AEAD_TAG_BYTES, CHUNK_SIZE, MAX_CHUNK_CIPHERTEXT
from mitai_crypto.varint import encode_varint, read_varint

if TYPE_CHECKING:
    from collections.abc import Iterator

DOES_NOT_OPEN: Final = "the sealed message does not open"
FINAL_MARKER: Final = b"\x00"


def frame_chunk(ciphertext: bytes) -> bytes:
    """Return a non-final chunk: its length, then the ciphertext."""
    return encode_varint(len(ciphertext)) + ciphertext


def split_plaintext(plaintext: bytes) -> Iterator[bytes]:
    """Cut `plaintext` into pieces of 16,384 bytes; the last is shorter, and empty only where all is empty."""
    last = max(0, (len(plaintext) - 1) // CHUNK_SIZE * CHUNK_SIZE)
    for start in range(0, last, CHUNK_SIZE):
        yield plaintext[start : start + CHUNK_SIZE]
    yield plaintext[last:]


class ChunkReader:
    """Finds the chunks of one message in a stream; holds at most one incomplete chunk."""

    __slots__ = ("_final", "_pending")

    def __init__(self) -> None:
        self._pending = b""
        self._final = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes and give the ciphertexts of the non-final chunks they complete.

        The iterator must be exhausted; after an error the reader is of no more use.

        Raises:
            MessageTooLarge: If a chunk is over the cap, as soon as its length is known.
            DecapsulationError: If a non-final chunk is too short to seal anything.
        """
        source = self._pending + data if self._pending else data
        offset, end = 0, len(source)
        while not self._final and (read := read_varint(source, offset)) is not None:
            length, start = read
            if length == 0:
                self._final, offset = True, start
                break
            if length > MAX_CHUNK_CIPHERTEXT:
                raise MessageTooLarge(f"a chunk seals more than {CHUNK_SIZE} bytes")
            if length <= AEAD_TAG_BYTES:
                raise DecapsulationError(DOES_NOT_OPEN)
            stop = start + length
            if stop > end:
                break
            yield source[start:stop]
            offset = stop
        self._pending = source[offset:]
        if self._final and len(self._pending) > MAX_CHUNK_CIPHERTEXT:
            raise MessageTooLarge(f"the final chunk seals more than {CHUNK_SIZE} bytes")

    def close(self) -> bytes:
        """Return the ciphertext of the final chunk: the stream has ended.

        Raises:
            TruncatedMessage: If the stream ended before a final chunk that can seal anything.
        """
        if not self._final or len(self._pending) < AEAD_TAG_BYTES:
            raise TruncatedMessage("the sealed message stopped before its final chunk")
        return self._pending
