from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from mitai_ingest import Parser, load
from mitai_ingest.errors import (
    DamagedDocument,
    DocumentTooLarge,
    EmptyDocument,
    EncryptedDocument,
    LoadError,
    ParserCrashed,
    ParserTimeout,
    UndecodableText,
    UnreadableFile,
    UnsupportedFormat,
)
from mitai_ingest.limits import FILES_PER_CHILD, Limits
from support.document_files import HANS, HANT, pdf, word
from support.privileges import open_folder, unprivileged

if TYPE_CHECKING:
    from collections.abc import Iterator

WORD = word(lambda document: document.add_paragraph("hello"))
READY = """
import os, struct, sys, time
out = sys.stdout.buffer
def frame(payload): out.write(struct.pack('>I', len(payload)) + payload); out.flush()
frame(b'{"confined":true}')
"""


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as running:
        yield running


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder.resolve() / name
    path.write_bytes(data)
    return path


def hostile(script: str) -> tuple[str, ...]:
    """Return the command of a child that a document has taken over."""
    return (sys.executable, "-c", READY + script)


def test_a_document_in_full(tmp_path: Path, parser: Parser) -> None:
    data = "# 手册\n\n年假 **十五** 天。\r\n".encode()
    document = parser.load(put(tmp_path, "a.MD", data))
    assert document.text == "手册\n\n年假 十五 天。"
    assert (document.title, document.media_type) == ("手册", "text/markdown")
    assert document.sha256 == hashlib.sha256(data).digest()
    assert document.path == tmp_path.resolve() / "a.MD"


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("gb.txt", HANS.encode("gb18030"), HANS),
        ("big5.txt", HANT.encode("big5"), HANT),
        ("utf16.txt", HANS.encode("utf-16"), HANS),
        ("page.html", f"<p>{HANT}".encode(), HANT),
        ("a.pdf", pdf([[("The fee is 18,600 euros.", 11)]]), "The fee is 18,600 euros."),
        ("a.docx", word(lambda document: document.add_paragraph(HANS)), HANS),
        ("README", b"no suffix", "no suffix"),
    ],
)
def test_every_format_and_encoding_works_confined(
    tmp_path: Path, parser: Parser, name: str, data: bytes, text: str
) -> None:
    assert parser.isolated is (sys.platform == "linux")
    assert parser.load(put(tmp_path, name, data)).text == text


@pytest.mark.parametrize(
    ("name", "data", "error"),
    [
        ("empty.txt", b"", EmptyDocument),
        ("blank.md", b"\n \n", EmptyDocument),
        ("binary.txt", bytes(range(256)), UnsupportedFormat),
        ("photo.jpg", b"\xff\xd8\xff", UnsupportedFormat),
        ("locked.pdf", pdf([[("x", 11)]], password="secret"), EncryptedDocument),
        ("cut.pdf", pdf([[("x", 11)]])[:200], DamagedDocument),
        ("cut.docx", WORD[:1000], DamagedDocument),
        ("short.txt", "你好".encode("gb18030"), UndecodableText),
    ],
)
def test_a_bad_file_says_what_is_wrong_and_what_to_do(
    tmp_path: Path, parser: Parser, name: str, data: bytes, error: type[LoadError]
) -> None:
    with pytest.raises(error) as raised:
        parser.load(put(tmp_path, name, data))
    assert str(raised.value)
    assert raised.value.hint or name == "empty.txt"


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = put(tmp_path, "huge.txt", b"")
    os.truncate(path, 1 << 40)
    with pytest.raises(DocumentTooLarge):
        load(path)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_file_that_is_longer_than_it_says_is_refused() -> None:
    with Parser(Limits(file_bytes=50)) as small, pytest.raises(DocumentTooLarge):
        small.load(Path("/proc/self/maps").resolve())  # its size reads as 0


def test_what_the_file_system_refuses(tmp_path: Path, parser: Parser) -> None:
    with pytest.raises(UnreadableFile, match="No such file"):
        parser.load(tmp_path / "gone.txt")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(UnreadableFile):
        parser.load(tmp_path / "folder.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(UnreadableFile, match="not a regular file"):
        parser.load(tmp_path / "pipe.txt")


def test_a_file_that_may_not_be_read(parser: Parser) -> None:
    with open_folder() as folder:
        closed = put(folder, "closed.txt", b"x")
        closed.chmod(0)
        with unprivileged(), pytest.raises(UnreadableFile, match="Permission denied"):
            parser.load(closed)


def test_a_link_put_in_the_files_place_is_not_followed(tmp_path: Path, parser: Parser) -> None:
    secret = put(tmp_path, "secret.txt", b"secret")
    (tmp_path / "a.txt").symlink_to(secret)
    with pytest.raises(UnreadableFile):
        parser.load(tmp_path / "a.txt")
    assert load(tmp_path / "a.txt").text == "secret"  # the function's caller named it


def test_a_killed_child_is_one_failed_file(tmp_path: Path) -> None:
    path = put(tmp_path, "a.txt", b"fine")
    with Parser() as parser:
        parser.load(path)
        assert parser._child is not None
        parser._child._process.kill()
        with pytest.raises(ParserCrashed):
            parser.load(path)
        assert parser.load(path).text == "fine"


@pytest.mark.parametrize(
    "script",
    [
        "sys.exit(3)",
        "os.abort()",
        "out.write(b'\\xff\\xff\\xff\\xff'); out.flush(); time.sleep(60)",
        "out.write(b'\\0\\0\\1\\0half'); out.flush()",
        "frame(b'not json'); time.sleep(60)",
        'frame(b\'{"error":"Exit","message":"","hint":""}\'); time.sleep(60)',
        'frame(b\'{"media_type":"text/plain","title":"","fragments":[["x",0,null,""]]}\'); time.sleep(60)',
    ],
)
def test_a_child_that_misbehaves_is_ended_and_the_file_fails(tmp_path: Path, script: str) -> None:
    path = put(tmp_path, "a.txt", b"x")
    with Parser(command=hostile(script)) as parser:
        with pytest.raises(ParserCrashed) as raised:
            parser.load(path)
        assert raised.value.hint
        assert parser._child is None


@pytest.mark.parametrize("reads", ["pass", "sys.stdin.buffer.read(100)"])
def test_a_child_that_hangs_is_killed_in_time(tmp_path: Path, reads: str) -> None:
    path = put(tmp_path, "a.txt", b"x" * 1_000_000)
    started = time.monotonic()
    command = hostile(f"{reads}; time.sleep(600)")
    with Parser(Limits(seconds=0.2), command=command) as parser, pytest.raises(ParserTimeout):
        parser.load(path)
    assert time.monotonic() - started < 20


def test_a_child_ends_itself_when_its_time_is_up(tmp_path: Path) -> None:
    command = hostile("import signal; signal.setitimer(signal.ITIMER_REAL, 0.1); time.sleep(60)")
    with Parser(command=command) as parser, pytest.raises(ParserTimeout):
        parser.load(put(tmp_path, "a.txt", b"x"))


def test_a_child_that_does_not_start_is_a_failed_file(tmp_path: Path) -> None:
    for script in ("raise SystemExit(1)", "import time; print('nonsense', flush=True); time.sleep(60)"):
        with Parser(command=(sys.executable, "-c", script)) as parser, pytest.raises(ParserCrashed):
            parser.load(put(tmp_path, "a.txt", b"x"))


def test_a_document_that_needs_too_much_memory_is_one_failed_file(tmp_path: Path) -> None:
    path = put(tmp_path, "big.txt", b"word " * 6_000_000)
    with Parser(Limits(memory_bytes=160 << 20)) as parser:
        with pytest.raises((DocumentTooLarge, ParserCrashed)):
            parser.load(path)
        assert parser.load(put(tmp_path, "small.txt", b"fine")).text == "fine"


def test_the_child_is_replaced_after_many_files(tmp_path: Path) -> None:
    path = put(tmp_path, "a.txt", b"x")
    with Parser() as parser:
        parser.load(path)
        first = parser._child
        assert first is not None
        first.files = FILES_PER_CHILD
        parser.load(path)
        assert parser._child is not first


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
def test_the_child_holds_nothing_it_does_not_need(tmp_path: Path) -> None:
    import resource

    with Parser(Limits(memory_bytes=1 << 30)) as parser:
        parser.load(put(tmp_path, "a.txt", b"x"))
        assert parser._child is not None
        pid = parser._child._process.pid
        limits = {
            kind: resource.prlimit(pid, kind)
            for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_CPU, resource.RLIMIT_AS)
        }
        assert list(limits.values()) == [(0, 0), (0, 0), (3600, 3600), (1 << 30, 1 << 30)]
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        assert "Seccomp:\t2" in status
        assert "NoNewPrivs:\t1" in status
        assert os.getsid(pid) == pid
        # Not dumpable: its memory is nobody's to read. Where the suite runs as root this line proves nothing.
        assert Path(f"/proc/{pid}").stat().st_uid == 0


def test_close_leaves_no_process(tmp_path: Path) -> None:
    with Parser() as parser:
        parser.load(put(tmp_path, "a.txt", b"x"))
        assert parser._child is not None
        process = psutil.Process(parser._child._process.pid)
    assert not process.is_running()


def test_threat_16_nothing_of_a_document_reaches_standard_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = hostile("sys.stderr.write('canary zhuque'); sys.stderr.flush(); sys.exit(1)")
    with Parser(command=command) as parser, pytest.raises(ParserCrashed) as raised:
        parser.load(put(tmp_path, "a.txt", b"x"))
    assert "zhuque" not in str(raised.value) + "".join(capfd.readouterr())


def test_threat_21_the_child_inherits_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MITAI_PASSPHRASE", "zhuque")
    monkeypatch.setenv("LD_PRELOAD", "")
    answer = 'b\'{"error":"DamagedDocument","hint":"","message":"\' + \',\'.join(os.environ).encode() + b\'"}\''
    command = hostile(f"frame({answer}); time.sleep(60)")
    with Parser(command=command) as parser, pytest.raises(DamagedDocument) as raised:
        parser.load(put(tmp_path, "a.txt", b"x"))
    assert set(str(raised.value).split(",")) <= {"LC_CTYPE", ""}  # which Python sets for itself


def test_this_process_imports_no_parser() -> None:
    script = (
        "import sys, mitai_ingest\n"
        "parsers = {'pypdfium2', 'docx', 'lxml', 'selectolax', 'markdown_it', 'charset_normalizer', 'zipfile'}\n"
        "assert not parsers & set(sys.modules), parsers & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-I", "-c", script], check=True)
