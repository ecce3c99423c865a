from __future__ import annotations

import io
import subprocess
import sys
from typing import TYPE_CHECKING, NoReturn

import pytest

from mitai_ingest import child, wire
from mitai_ingest.errors import DamagedDocument, DocumentTooLarge, EmptyDocument, LoadError
from mitai_ingest.fragment import Fragment, Parsed
from mitai_ingest.limits import MAX_TEXT_CHARS
from support.document_files import pdf

if TYPE_CHECKING:
    from collections.abc import Callable


def serve(
    *files: tuple[str, bytes], parse: Callable[[str, bytes], tuple[str, Parsed]] = child.parse_file
) -> list[bytes]:
    requests, answers = io.BytesIO(), io.BytesIO()
    for suffix, data in files:
        wire.write_frame(requests, wire.encode_request(suffix, 60))
        wire.write_frame(requests, data)
    child.serve(io.BytesIO(requests.getvalue()), answers, 1_000_000, parse)
    written, frames = io.BytesIO(answers.getvalue()), []
    while written.tell() < len(answers.getvalue()):
        frames.append(wire.read_frame(written))
    return frames


def test_it_answers_each_file_in_turn() -> None:
    good, bad, again = serve((".md", b"# One\n"), (".pdf", b"no"), (".txt", "二。".encode()))
    assert wire.parse_answer(good) == ("text/markdown", Parsed("", (Fragment("heading", "One", level=1),)))
    with pytest.raises(DamagedDocument):
        wire.parse_answer(bad)
    assert wire.parse_answer(again)[1].fragments[0].text == "二。"


def test_nothing_that_a_library_prints_lands_between_frames() -> None:
    script = (
        "import os; from mitai_ingest import child; requests, answers = child._take_pipes()\n"
        "os.write(1, b'noise'); print('noise', flush=True); answers.write(b'frame' + requests.read())"
    )
    finished = subprocess.run([sys.executable, "-c", script], input=b"!", capture_output=True, check=True)
    assert finished.stdout == b"frame!"


@pytest.mark.parametrize("data", [b" \n\t\n", b"<p hidden>x", b"\xef\xbb\xbf"])
def test_no_text_is_an_empty_document(data: bytes) -> None:
    with pytest.raises(EmptyDocument) as raised:
        child.parse_file(".html", data)
    assert "scan" in raised.value.hint


def test_a_pdf_of_pictures_is_an_empty_document() -> None:
    with pytest.raises(EmptyDocument):
        child.parse_file(".pdf", pdf([[], []]))


def test_too_much_text() -> None:
    with pytest.raises(DocumentTooLarge, match="characters"):
        child.parse_file(".txt", b"x" * (MAX_TEXT_CHARS + 1))


@pytest.mark.parametrize(
    ("raised", "answered", "said"),
    [(KeyError("secret"), DamagedDocument, "KeyError"), (MemoryError(), DocumentTooLarge, "memory")],
)
def test_a_parser_that_fails_gives_an_answer_without_content(
    raised: Exception, answered: type[LoadError], said: str
) -> None:
    def fail(_suffix: str, _data: bytes) -> NoReturn:
        raise raised

    (frame,) = serve((".txt", b"x"), parse=fail)
    assert b"secret" not in frame
    with pytest.raises(answered, match=said):
        wire.parse_answer(frame)
