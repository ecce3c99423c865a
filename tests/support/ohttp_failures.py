"""Every way in which a sealed message must not open, with its bytes: the source of the failure vectors."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypedDict

from mitai_crypto.labels import FINAL_AAD
from mitai_crypto.ohttp_chunks import FINAL_MARKER, frame_chunk
from mitai_crypto.varint import encode_varint, read_varint
from support.sealed_exchange import FixedExchange

if TYPE_CHECKING:
    from mitai_crypto.ohttp_response import ResponseSealer


class FailureVector(TypedDict):
    """One failure: what is fed, which error must come, and what may have come out before it."""

    reason: str
    error: str
    released_sha256: str
    input: str


def vector(reason: str, error: str, data: bytes, released: bytes = b"") -> FailureVector:
    """Describe one failure."""
    return {
        "reason": reason,
        "error": error,
        "released_sha256": hashlib.sha256(released).hexdigest(),
        "input": data.hex(),
    }


def ciphertext(frame: bytes) -> bytes:
    """Return a frame without its length prefix."""
    read = read_varint(frame, 0)
    assert read is not None
    return frame[read[1] :]


def flip(data: bytes, index: int) -> bytes:
    """Flip the lowest bit of one byte."""
    changed = bytearray(data)
    changed[index] ^= 1
    return bytes(changed)


def _seal_empty(sealer: ResponseSealer) -> bytes:
    return frame_chunk(sealer._encrypt(b"", None))


def response_failures() -> dict[str, FailureVector]:
    """Name every response that the client of `FixedExchange("a")` must refuse."""
    here, other = FixedExchange("a"), FixedExchange("b")
    nonce, c0, c1, c2, final = here.response_frames()
    p0, p1, p2, _ = here.response_pieces
    others = other.response_frames()
    no_open, cut = "DecapsulationError", "TruncatedMessage"
    over_cap = encode_varint(16_401)
    return {
        "empty": vector("Nothing arrived at all.", cut, b""),
        "nonce_cut_short": vector("The stream stopped inside the response nonce.", cut, nonce[:-1]),
        "cut_after_nonce": vector("The stream stopped after the response nonce.", cut, nonce),
        "cut_after_chunk_0": vector("The stream stopped after the first chunk.", cut, nonce + c0, p0),
        "cut_after_chunk_1": vector("The stream stopped after the second chunk.", cut, nonce + c0 + c1, p0 + p1),
        "cut_after_chunk_2": vector(
            "The stream stopped after the last non-final chunk.", cut, nonce + c0 + c1 + c2, p0 + p1 + p2
        ),
        "cut_inside_length": vector(
            "The stream stopped inside the two bytes of a length.", cut, nonce + c0 + b"\x40", p0
        ),
        "cut_inside_chunk": vector("The stream stopped inside a chunk.", cut, nonce + c0 + c1[:-1], p0),
        "cut_after_final_marker": vector(
            "The stream stopped right behind the marker of the final chunk.",
            cut,
            nonce + c0 + c1 + c2 + FINAL_MARKER,
            p0 + p1 + p2,
        ),
        "final_shorter_than_a_tag": vector(
            "Fifteen bytes follow the final marker; a tag has sixteen.",
            cut,
            nonce + c0 + c1 + c2 + final[:16],
            p0 + p1 + p2,
        ),
        "final_cut_short": vector(
            "The last byte of the final chunk is missing.",
            no_open,
            nonce + c0 + c1 + c2 + final[:-1],
            p0 + p1 + p2,
        ),
        "non_final_promoted_to_final": vector(
            "A chunk was given the final marker to end the answer early.",
            no_open,
            nonce + c0 + FINAL_MARKER + ciphertext(c1),
            p0,
        ),
        "final_demoted_to_non_final": vector(
            "The final chunk was given a length, so that more could follow.",
            no_open,
            nonce + c0 + c1 + c2 + frame_chunk(final[1:]),
            p0 + p1 + p2,
        ),
        "byte_after_final": vector(
            "One byte was appended after the final chunk.",
            no_open,
            nonce + c0 + c1 + c2 + final + b"\x00",
            p0 + p1 + p2,
        ),
        "chunk_after_final": vector(
            "A whole chunk was appended after the final chunk.",
            no_open,
            nonce + c0 + c1 + c2 + final + c1,
            p0 + p1 + p2,
        ),
        "final_twice": vector(
            "The final chunk was sent twice.", no_open, nonce + c0 + c1 + c2 + final + final, p0 + p1 + p2
        ),
        "chunks_swapped": vector("Two chunks changed places.", no_open, nonce + c1 + c0 + c2 + final),
        "chunk_repeated": vector("A chunk was sent twice.", no_open, nonce + c0 + c0 + c1 + c2 + final, p0),
        "chunk_dropped": vector("A chunk in the middle was left out.", no_open, nonce + c0 + c2 + final, p0),
        "first_chunk_dropped": vector("The first chunk was left out.", no_open, nonce + c1 + c2 + final),
        "all_chunks_dropped": vector("Only the final chunk was kept.", no_open, nonce + final),
        "chunk_of_another_exchange": vector(
            "A chunk of another answer took the place of one with the same number.",
            no_open,
            nonce + c0 + others[2] + c2 + final,
            p0,
        ),
        "final_of_another_exchange": vector(
            "The final chunk of another answer ends this one.",
            no_open,
            nonce + c0 + c1 + c2 + others[4],
            p0 + p1 + p2,
        ),
        "nonce_of_another_exchange": vector(
            "The nonce of another answer begins this one.", no_open, others[0] + c0 + c1 + c2 + final
        ),
        "another_exchange": vector("The whole answer belongs to another request.", no_open, b"".join(others)),
        "request_reflected": vector(
            "The client's own sealed request comes back: no length in it makes sense.",
            "MessageTooLarge",
            here.seal().message,
        ),
        "request_chunks_reflected": vector(
            "The chunks of the client's own request follow a genuine nonce.",
            no_open,
            nonce + b"".join(here.request_frames()[1:]),
        ),
        "bit_flipped_in_nonce": vector(
            "A bit of the response nonce was flipped.", no_open, flip(nonce, 0) + c0 + c1 + c2 + final
        ),
        "bit_flipped_in_chunk": vector(
            "A bit of a ciphertext was flipped.", no_open, nonce + c0 + flip(c1, 1) + c2 + final, p0
        ),
        "bit_flipped_in_tag": vector(
            "A bit of an authentication tag was flipped.", no_open, nonce + c0 + flip(c1, -1) + c2 + final, p0
        ),
        "bit_flipped_in_final": vector(
            "A bit of the final chunk was flipped.",
            no_open,
            nonce + c0 + c1 + c2 + flip(final, -1),
            p0 + p1 + p2,
        ),
        "empty_non_final_chunk": vector(
            "A correctly sealed chunk holds nothing; only the final chunk may be empty.",
            no_open,
            nonce + _seal_empty(here.sealer()),
        ),
        "chunk_shorter_than_a_tag": vector("A chunk of one byte cannot hold a tag.", no_open, nonce + b"\x01\x00"),
        "chunk_over_cap": vector(
            "A length announces one byte more than a chunk may have.",
            "MessageTooLarge",
            nonce + c0 + over_cap,
            p0,
        ),
        "chunk_length_of_2_to_62": vector(
            "A length announces as much as an integer can say.",
            "MessageTooLarge",
            nonce + c0 + encode_varint(2**62 - 1),
            p0,
        ),
        "final_over_cap": vector(
            "More bytes follow the final marker than a chunk may have.",
            "MessageTooLarge",
            nonce + FINAL_MARKER + bytes(16_401),
        ),
        "plaintext": vector(
            "The answer is not sealed at all.",
            cut,
            b'{"error": {"message": "not sealed"}}',
        ),
    }


def request_failures() -> dict[str, FailureVector]:
    """Name every request that the gateway of `FixedExchange` must refuse, and which gives nothing away."""
    here, other = FixedExchange("a"), FixedExchange("b")
    head, c0, c1, c2, final = here.request_frames()
    others = other.request_frames()
    chunks = c0 + c1 + c2 + final
    header, enc = head[:7], head[7:]

    def refused(reason: str, data: bytes) -> FailureVector:
        return vector(reason, "DecapsulationError", data)

    unchunked = here.seal(b"message/bhttp request\x00" + header).message
    no_header = here.seal(b"message/bhttp chunked request\x00").message
    sealer = here.sealer()
    return {
        "empty": refused("Nothing arrived at all.", b""),
        "header_cut_short": refused("The stream stopped inside the header.", header[:6]),
        "enc_cut_short": refused("The stream stopped inside the encapsulated key.", head[:-1]),
        "cut_after_enc": refused("The stream stopped before the first chunk.", head),
        "cut_after_chunk_0": refused("The stream stopped after the first chunk.", head + c0),
        "cut_after_chunk_1": refused("The stream stopped after the second chunk.", head + c0 + c1),
        "cut_after_chunk_2": refused("The final chunk is missing.", head + c0 + c1 + c2),
        "cut_after_final_marker": refused("Nothing follows the final marker.", head + c0 + c1 + c2 + FINAL_MARKER),
        "final_cut_short": refused("The last byte of the final chunk is missing.", head + chunks[:-1]),
        "unknown_key_id": refused("The gateway has no key with this number.", b"\x08" + head[1:] + chunks),
        "unknown_kem": refused("Nobody defined this KEM.", header[:1] + b"\x12\x34" + header[3:] + enc + chunks),
        "kem_of_another_key": refused(
            "The key is of another KEM.", header[:1] + b"\x64\x7a" + header[3:] + enc + bytes(1088) + chunks
        ),
        "kdf_not_offered": refused(
            "The key is not offered with this KDF.", header[:3] + b"\x00\x02" + header[5:] + enc + chunks
        ),
        "aead_not_offered": refused("The key is not offered with this AEAD.", header[:5] + b"\x00\x02" + enc + chunks),
        "aead_export_only": refused("The export-only AEAD seals nothing.", header[:5] + b"\xff\xff" + enc + chunks),
        "aead_downgraded": refused(
            "Another AEAD that the key is offered with; the header is part of the key schedule.",
            header[:5] + b"\x00\x03" + enc + chunks,
        ),
        "enc_zero": refused("The encapsulated key is the point zero.", header + bytes(32) + chunks),
        "enc_of_another_exchange": refused("The encapsulated key of another request.", others[0] + chunks),
        "bit_flipped_in_enc": refused("A bit of the encapsulated key was flipped.", header + flip(enc, 0) + chunks),
        "bit_flipped_in_chunk": refused("A bit of a ciphertext was flipped.", head + c0 + flip(c1, 1) + c2 + final),
        "bit_flipped_in_tag": refused("A bit of a tag was flipped.", head + c0 + flip(c1, -1) + c2 + final),
        "non_final_promoted_to_final": refused(
            "A chunk was given the final marker to end the request early.",
            head + c0 + FINAL_MARKER + ciphertext(c1),
        ),
        "final_demoted_to_non_final": refused(
            "The final chunk was given a length.", head + c0 + c1 + c2 + frame_chunk(final[1:])
        ),
        "byte_after_final": refused("One byte was appended after the final chunk.", head + chunks + b"\x00"),
        "chunk_after_final": refused("A chunk was appended after the final chunk.", head + chunks + c1),
        "chunks_swapped": refused("Two chunks changed places.", head + c1 + c0 + c2 + final),
        "chunk_repeated": refused("A chunk was sent twice.", head + c0 + c0 + c1 + c2 + final),
        "chunk_dropped": refused("A chunk was left out.", head + c0 + c2 + final),
        "chunk_of_another_exchange": refused(
            "A chunk of another request took the place of one with the same number.",
            head + c0 + others[2] + c2 + final,
        ),
        "response_reflected": refused(
            "The gateway's own answer comes back as the chunks of a request.",
            head + b"".join(here.response_frames()[1:]),
        ),
        "unchunked_label": refused("Sealed for the message format that is not chunked.", unchunked),
        "header_not_in_info": refused("The key schedule does not cover the header.", no_header),
        "final_without_aad": refused(
            "The last chunk was sealed without the word final.",
            head + c0 + c1 + c2 + FINAL_MARKER + _without_aad(here),
        ),
        "empty_non_final_chunk": refused("A chunk holds nothing but a tag.", head + frame_chunk(bytes(16)) + chunks),
        "chunk_over_cap": vector(
            "A length announces one byte more than a chunk may have.",
            "MessageTooLarge",
            head + encode_varint(16_401),
        ),
        "final_over_cap": vector(
            "More bytes follow the final marker than a chunk may have.",
            "MessageTooLarge",
            head + FINAL_MARKER + bytes(16_401),
        ),
        "plaintext": refused("The request is not sealed at all.", b"POST /v1/chat/completions HTTP/1.1\r\n\r\n"),
        "response_as_request": refused(
            "A whole answer is sent as a request.",
            sealer.response_nonce + sealer.seal(b"hello") + sealer.finish(),
        ),
    }


def _without_aad(here: FixedExchange) -> bytes:
    """Seal the last piece as a non-final chunk would be."""
    message = FixedExchange(here.name, (*here.request_pieces, b"more")).request_frames()
    assert FINAL_AAD == b"final"
    return ciphertext(message[4])
