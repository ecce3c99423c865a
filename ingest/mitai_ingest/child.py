"""The parser process: reads requests from its standard input, holds no key, and can reach nothing (§8)."""

from __future__ import annotations

import codecs
import os
import signal
import sys
from typing import TYPE_CHECKING, BinaryIO

from mitai_ingest import loaders, wire
from mitai_ingest.confine import confine
from mitai_ingest.decode import ENCODINGS
from mitai_ingest.detect import detect
from mitai_ingest.errors import DamagedDocument, DocumentTooLarge, EmptyDocument, LoadError
from mitai_ingest.fragment import Parsed, tidy
from mitai_ingest.limits import MAX_REQUEST_BYTES, MAX_TEXT_CHARS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ZIP_ENCODINGS = ("cp437",)  # of names in old archives


def main(arguments: Sequence[str]) -> None:
    """Serve until the parent closes its end; `arguments`: address space and largest file, in bytes."""
    memory_bytes, file_bytes = map(int, arguments)
    requests, answers = _take_pipes()
    for encoding in (*ENCODINGS, *_ZIP_ENCODINGS):
        codecs.lookup(encoding)  # imported now: no file can be opened later
    wire.write_frame(answers, wire.encode_ready(confined=confine(memory_bytes)))
    serve(requests, answers, file_bytes)


def parse_file(suffix: str, data: bytes) -> tuple[str, Parsed]:
    """Return media type and normalised fragments.

    Raises:
        LoadError: The file gives no document.
    """
    media_type = detect(suffix, data)
    parsed = tidy(loaders.parse(media_type, data))
    if not parsed.fragments:
        raise EmptyDocument("there is no text in it")
    characters = sum(len(fragment.text) for fragment in parsed.fragments)
    if characters > MAX_TEXT_CHARS:
        raise DocumentTooLarge(f"its text has {characters} characters")
    return media_type, parsed


def serve(
    requests: BinaryIO,
    answers: BinaryIO,
    file_bytes: int,
    parse: Callable[[str, bytes], tuple[str, Parsed]] = parse_file,
) -> None:
    """Answer requests until their stream ends; `parse` is what reads a file, given its suffix."""
    while True:
        try:
            suffix, seconds = wire.parse_request(wire.read_frame(requests, MAX_REQUEST_BYTES))
            data = wire.read_frame(requests, file_bytes)
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, seconds)  # SIGALRM ends this process
        answer = _answer(parse, suffix, data)
        signal.setitimer(signal.ITIMER_REAL, 0)
        wire.write_frame(answers, answer)


def _answer(parse: Callable[[str, bytes], tuple[str, Parsed]], suffix: str, data: bytes) -> bytes:
    try:
        return wire.encode_parsed(*parse(suffix, data))
    except LoadError as error:
        return wire.encode_error(error)
    except MemoryError:
        return wire.encode_error(DocumentTooLarge("reading it needs more memory than a file may take"))
    except Exception as error:  # noqa: BLE001 - a parser's own bug on a bad file is a fact about that file
        return wire.encode_error(DamagedDocument(f"the parser gave up on it ({type(error).__name__})"))


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep the pipes to ourselves, so that nothing a library prints lands between two frames."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    return requests, answers


if __name__ == "__main__":
    main(sys.argv[1:])
