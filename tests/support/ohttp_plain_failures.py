"""Every way in which a message of RFC 9458's own format must not open: the source of the failure vectors."""

from __future__ import annotations

from mitai_crypto.labels import REQUEST_LABEL
from support.ohttp_failures import FailureVector, flip, vector
from support.sealed_exchange import HEADER_BYTES, FixedExchange

_HEAD = HEADER_BYTES + 32  # header and enc of X25519
_NONCE = 16  # of the response, with AES-128-GCM


def _refused(reason: str, data: bytes) -> FailureVector:
    return vector(reason, "DecapsulationError", data)


def _cut(reason: str, data: bytes) -> FailureVector:
    return vector(reason, "TruncatedMessage", data)


def request_failures() -> dict[str, FailureVector]:
    """Name every request that the gateway of `FixedExchange` must refuse, and which gives nothing away."""
    here, other = FixedExchange("a"), FixedExchange("b")
    message, others = here.seal_plain().message, other.seal_plain().message
    head, sealed = message[:_HEAD], message[_HEAD:]
    return {
        "empty": _refused("Nothing arrived at all.", b""),
        "cut_inside_header": _refused("The request stops inside its header.", head[:6]),
        "cut_inside_enc": _refused("The request stops inside enc.", head[:-1]),
        "no_ciphertext": _refused("Nothing follows enc.", head),
        "shorter_than_a_tag": _refused("Fifteen bytes follow enc; a tag has sixteen.", head + sealed[:15]),
        "last_byte_missing": _refused("The last byte is missing.", message[:-1]),
        "half_missing": _refused("The second half is missing.", head + sealed[: len(sealed) // 2]),
        "byte_appended": _refused("One byte was appended.", message + b"\x00"),
        "unknown_key_id": _refused("No key has this number.", b"\x08" + message[1:]),
        "unknown_kem": _refused("The header names another KEM than the key's.", _header(message, 1, b"\x64\x7a")),
        "suite_not_offered": _refused("The key is not offered with this AEAD.", _header(message, 5, b"\x00\x02")),
        "other_suite_on_offer": _refused(
            "The header was changed to another AEAD that the key is offered with.", _header(message, 5, b"\x00\x03")
        ),
        "enc_zero": _refused("enc is the point at zero.", head[:HEADER_BYTES] + bytes(32) + sealed),
        "enc_of_another_exchange": _refused("enc belongs to another request.", others[:_HEAD] + sealed),
        "bit_flipped_in_enc": _refused("A bit of enc was flipped.", flip(message, _HEAD - 32)),
        "bit_flipped_in_ciphertext": _refused("A bit of the ciphertext was flipped.", flip(message, _HEAD)),
        "bit_flipped_in_tag": _refused("A bit of the tag was flipped.", flip(message, -1)),
        "chunked_label": _refused("Sealed for the chunked format.", here.seal_plain(REQUEST_LABEL).message),
        "chunked_message": _refused("A whole chunked request.", here.seal().message),
        "response_as_request": _refused("A whole answer is sent as a request.", here.plain_response()),
        "response_reflected": _refused("The gateway's own answer follows enc.", head + here.plain_response()[_NONCE:]),
        "plaintext": _refused("The request is not sealed at all.", b"POST /v1/chat/completions HTTP/1.1\r\n\r\n"),
    }


def response_failures() -> dict[str, FailureVector]:
    """Name every response that the client of `FixedExchange("a")` must refuse."""
    here, other = FixedExchange("a"), FixedExchange("b")
    answer, others = here.plain_response(), other.plain_response()
    request = here.seal_plain().message
    return {
        "empty": _cut("Nothing arrived at all.", b""),
        "nonce_alone": _cut("Nothing follows the nonce.", answer[:_NONCE]),
        "shorter_than_a_tag": _cut("Fifteen bytes follow the nonce; a tag has sixteen.", answer[: _NONCE + 15]),
        "last_byte_missing": _refused("The last byte is missing.", answer[:-1]),
        "half_missing": _refused("The second half is missing.", answer[: _NONCE + (len(answer) - _NONCE) // 2 + 1]),
        "byte_appended": _refused("One byte was appended.", answer + b"\x00"),
        "bit_flipped_in_nonce": _refused("A bit of the response nonce was flipped.", flip(answer, 0)),
        "bit_flipped_in_ciphertext": _refused("A bit of the ciphertext was flipped.", flip(answer, _NONCE)),
        "bit_flipped_in_tag": _refused("A bit of the tag was flipped.", flip(answer, -1)),
        "another_exchange": _refused("The answer belongs to another request.", others),
        "nonce_of_another_exchange": _refused("The nonce is another answer's.", others[:_NONCE] + answer[_NONCE:]),
        "request_reflected": _refused("The client's own request comes back.", request),
        "request_after_nonce": _refused(
            "The client's own ciphertext follows a nonce.", answer[:_NONCE] + request[_HEAD:]
        ),
        "chunked_answer": _refused(
            "The chunks of an answer to the same enc, in the chunked format.", b"".join(here.response_frames())
        ),
        "one_chunk_without_framing": _refused(
            "A genuine nonce is followed by a chunk of the chunked format.",
            here.response_frames()[0] + here.response_frames()[1][1:],
        ),
        "plaintext": _refused("The answer is not sealed at all.", b'{"error": {"message": "this was never sealed"}}'),
    }


def _header(message: bytes, at: int, value: bytes) -> bytes:
    return message[:at] + value + message[at + len(value) :]
