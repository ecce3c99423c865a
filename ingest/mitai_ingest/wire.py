"""What the parser process and its parent say to each other, strictly read (`docs/spec/passages.md` §8).

The child has read hostile files, so its answer is hostile input: exact fields, known names, bounded sizes.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, BinaryIO, Final, TypeGuard, get_args

from mitai_crypto.strict_json import parse_object
from mitai_ingest import errors
from mitai_ingest.document import BlockKind
from mitai_ingest.errors import LoadError, ParserCrashed
from mitai_ingest.fragment import Fragment, Parsed
from mitai_ingest.limits import (
    MAX_FRAGMENTS,
    MAX_MESSAGE_BYTES,
    MAX_REASON_CHARS,
    MAX_REQUEST_BYTES,
    MAX_TEXT_CHARS,
)
from mitai_ingest.media import MEDIA_TYPES
from mitai_ingest.normalise import one_line

if TYPE_CHECKING:
    from mitai_crypto.strict_json import JsonObject, JsonValue

MAX_HEADING_LEVEL: Final = 9
_LENGTH: Final = struct.Struct(">I")
_FRAGMENT_FIELDS: Final = 4
_KINDS: Final = frozenset(get_args(BlockKind))
_ERRORS: Final = {
    kind.__name__: kind
    for kind in (
        errors.UnsupportedFormat,
        errors.EmptyDocument,
        errors.DocumentTooLarge,
        errors.EncryptedDocument,
        errors.DamagedDocument,
        errors.UndecodableText,
    )
}


def write_frame(stream: BinaryIO, payload: bytes) -> None:
    """Write one frame and flush it."""
    stream.write(_LENGTH.pack(len(payload)))
    stream.write(payload)
    stream.flush()


def read_frame(stream: BinaryIO, max_bytes: int = MAX_MESSAGE_BYTES) -> bytes:
    """Read one frame.

    Raises:
        EOFError: The stream ended before the frame did.
        ParserCrashed: The frame says that it is longer than `max_bytes`.
    """
    (length,) = _LENGTH.unpack(_read_exactly(stream, _LENGTH.size))
    if length > max_bytes:
        raise ParserCrashed(f"the parser process answered with {length} bytes")
    return _read_exactly(stream, length)


def encode_ready(*, confined: bool) -> bytes:
    """Write the child's first message."""
    return _encode({"confined": confined})


def parse_ready(payload: bytes) -> bool:
    """Return whether the child gave up files, network and processes.

    Raises:
        ParserCrashed: The message is malformed.
    """
    confined = _object(payload, {"confined"})["confined"]
    if not isinstance(confined, bool):
        raise _malformed("confined")
    return confined


def encode_request(suffix: str, seconds: float) -> bytes:
    """Write the message that goes before a file's bytes; `seconds` of wall time are rounded up."""
    return _encode({"suffix": suffix, "seconds": max(1, -int(-seconds // 1))})


def parse_request(payload: bytes) -> tuple[str, int]:
    """Return suffix and seconds.

    Raises:
        ParserCrashed: The message is malformed.
    """
    request = _object(payload, {"suffix", "seconds"}, MAX_REQUEST_BYTES)
    suffix, seconds = request["suffix"], request["seconds"]
    if not isinstance(suffix, str) or not _is_count(seconds):
        raise _malformed("a request")
    return suffix, seconds


def encode_parsed(media_type: str, parsed: Parsed) -> bytes:
    """Write the answer for a file that could be read."""
    fragments: list[JsonValue] = [[f.kind, f.level, f.page, f.text] for f in parsed.fragments]
    return _encode({"media_type": media_type, "title": parsed.title, "fragments": fragments})


def encode_error(error: LoadError) -> bytes:
    """Write the answer for a file that could not be read."""
    return _encode({"error": type(error).__name__, "message": str(error), "hint": error.hint})


def parse_answer(payload: bytes) -> tuple[str, Parsed]:
    """Return media type and fragments.

    Raises:
        ParserCrashed: The message is malformed.
        LoadError: What the child says is wrong with the file.
    """
    answer = _object(payload, None)
    if "error" in answer:
        raise _parse_error(answer)
    if set(answer) != {"media_type", "title", "fragments"}:
        raise _malformed("its fields")
    media_type, title, fragments = answer["media_type"], answer["title"], answer["fragments"]
    if not isinstance(media_type, str) or media_type not in MEDIA_TYPES or not _is_text(title):
        raise _malformed("media type or title")
    if not isinstance(fragments, list) or len(fragments) > MAX_FRAGMENTS:
        raise _malformed("its fragments")
    parsed = Parsed(title, tuple(map(_parse_fragment, fragments)))
    if sum(len(fragment.text) for fragment in parsed.fragments) > MAX_TEXT_CHARS:
        raise _malformed("the length of its text")
    return media_type, parsed


def _parse_fragment(value: JsonValue) -> Fragment:
    if not isinstance(value, list) or len(value) != _FRAGMENT_FIELDS:
        raise _malformed("a fragment")
    kind, level, page, text = value
    if not isinstance(kind, str) or not _is_kind(kind) or not _is_text(text):
        raise _malformed("a fragment's kind or text")
    if not _is_count(level) or level > MAX_HEADING_LEVEL or (level > 0) != (kind == "heading"):
        raise _malformed("a fragment's level")
    if page is not None and (not _is_count(page) or page == 0):
        raise _malformed("a fragment's page")
    return Fragment(kind, text, level=level, page=page)


def _parse_error(answer: JsonObject) -> LoadError:
    if set(answer) != {"error", "message", "hint"}:
        return _malformed("an error")
    name, message, hint = answer["error"], answer["message"], answer["hint"]
    if not isinstance(name, str) or name not in _ERRORS or not _is_text(message) or not _is_text(hint):
        return _malformed("an error")
    return _ERRORS[name](one_line(message)[:MAX_REASON_CHARS], hint=one_line(hint)[:MAX_REASON_CHARS])


def _object(payload: bytes, fields: set[str] | None, max_bytes: int = MAX_MESSAGE_BYTES) -> JsonObject:
    value = parse_object(payload, max_bytes=max_bytes, error=ParserCrashed)
    if fields is not None and set(value) != fields:
        raise _malformed("its fields")
    return value


def _encode(value: JsonObject) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _read_exactly(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) != length:
        raise EOFError
    return data


def _is_kind(value: str) -> TypeGuard[BlockKind]:
    return value in _KINDS


def _is_count(value: JsonValue) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: JsonValue) -> TypeGuard[str]:
    return isinstance(value, str)  # strict_json has refused lone surrogates, which no UTF-8 could carry


def _malformed(what: str) -> ParserCrashed:
    return ParserCrashed(f"the parser process answered nonsense: {what}")
