"""Files in, documents out; the parsing happens in a confined child process (`docs/spec/passages.md` §2, §8).

This process holds keys, so it never interprets a file's bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Self, cast

from mitai_ingest import wire
from mitai_ingest.builder import assemble
from mitai_ingest.errors import (
    DocumentTooLarge,
    EmptyDocument,
    LoadError,
    ParserCrashed,
    ParserTimeout,
    UnreadableFile,
)
from mitai_ingest.limits import FILES_PER_CHILD, GRACE_SECONDS, START_SECONDS, Limits
from mitai_ingest.media import check_suffix

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType
    from typing import BinaryIO, TypeVar

    from mitai_ingest.document import Document
    from mitai_ingest.fragment import Parsed

    Result = TypeVar("Result")

_TIME_SIGNALS = frozenset({signal.SIGALRM, signal.SIGXCPU})
_COMMAND = (sys.executable, "-I", "-m", "mitai_ingest.child")


def load(path: Path, *, limits: Limits | None = None) -> Document:
    """Read one file with a parser process of its own; for many files use one `Parser`.

    Raises:
        LoadError: The file gives no document; the class says why, `.hint` what to do.
    """
    with Parser(limits) as parser:
        return parser.load(path.resolve())


class Parser:
    """A parser process that is started when first needed and replaced when it fails.

    Not thread-safe. Use it as a context manager, or call `close`.
    """

    def __init__(self, limits: Limits | None = None, *, command: tuple[str, ...] = _COMMAND) -> None:
        self._limits = limits or Limits()
        self._command = command
        self._child: _Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def isolated(self) -> bool:
        """Whether the parser process can reach no file, network or process.

        Raises:
            ParserCrashed: The process does not start.
        """
        return self._running().isolated

    def load(self, path: Path) -> Document:
        """Read one file. A symlink is refused: `walk` resolves those that may be followed.

        Raises:
            LoadError: The file gives no document; the class says why, `.hint` what to do.
        """
        suffix = path.suffix.lower()
        check_suffix(suffix)
        data = _read(path, self._limits.file_bytes)
        if not data:
            raise EmptyDocument("the file is empty", hint="")
        media_type, parsed = self._parse(suffix, data)
        return assemble(parsed, path=path, media_type=media_type, sha256=hashlib.sha256(data).digest())

    def close(self) -> None:
        """End the parser process."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def _parse(self, suffix: str, data: bytes) -> tuple[str, Parsed]:
        try:
            answer = self._running().ask(suffix, data, self._limits.seconds)
            return wire.parse_answer(answer)
        except (ParserCrashed, ParserTimeout):
            self.close()
            raise

    def _running(self) -> _Child:
        if self._child is not None and self._child.files >= FILES_PER_CHILD:
            self.close()
        if self._child is None:
            self._child = _Child(self._command, self._limits)
        return self._child


class _Child:
    """One parser process."""

    def __init__(self, command: tuple[str, ...], limits: Limits) -> None:
        self.files = 0
        self._process = subprocess.Popen(
            [*command, str(limits.memory_bytes), str(limits.file_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what a parser complains about may quote the document
            env={},
            cwd="/",
            start_new_session=True,  # an interrupt at the terminal is the parent's to handle
        )
        self._requests = cast("BinaryIO", self._process.stdin)
        self._answers = cast("BinaryIO", self._process.stdout)
        try:
            self.isolated = wire.parse_ready(self._within(START_SECONDS, lambda: wire.read_frame(self._answers)))
        except LoadError:
            self.close()
            raise

    def ask(self, suffix: str, data: bytes, seconds: float) -> bytes:
        self.files += 1

        def exchange() -> bytes:
            wire.write_frame(self._requests, wire.encode_request(suffix, seconds))
            wire.write_frame(self._requests, data)
            return wire.read_frame(self._answers)

        return self._within(seconds + GRACE_SECONDS, exchange)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._answers.close()
        with contextlib.suppress(BrokenPipeError):  # bytes of the last request that a dead child never took
            self._requests.close()

    def _within(self, seconds: float, action: Callable[[], Result]) -> Result:
        """Run a blocking exchange; the child is killed when time is up, which ends the exchange."""
        timed_out = threading.Event()

        def end() -> None:
            timed_out.set()
            self._process.kill()

        watchdog = threading.Timer(seconds, end)
        watchdog.start()
        try:
            return action()
        except (EOFError, BrokenPipeError) as error:
            raise self._ended(timed_out=timed_out.is_set()) from error
        finally:
            watchdog.cancel()

    def _ended(self, *, timed_out: bool) -> LoadError:
        status = self._process.wait()
        if timed_out or -status in _TIME_SIGNALS:
            return ParserTimeout("reading it took too long")
        return ParserCrashed(f"the parser process ended with status {status}")


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        # O_NONBLOCK: a pipe put in the file's place must not hang us before it is seen to be none.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableFile("it is not a regular file")
            data = b"" if status.st_size > max_bytes else file.read(max_bytes + 1)
            if max(status.st_size, len(data)) > max_bytes:
                raise DocumentTooLarge(f"the file is over {max_bytes} bytes")
            return data
    except OSError as error:
        raise UnreadableFile(f"it cannot be read: {error.strerror}") from error
