"""Which files are meant by a list of paths? (`docs/spec/passages.md` §1)."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mitai_ingest.errors import LoadError, OutsideRoots, UnreadableFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

PASSED_OVER: Final = (".", "~$")  # hidden files; an office suite's lock files


@dataclass(frozen=True)
class Candidate:
    """A file that may hold a document.

    Attributes:
        path: Absolute, without symlinks.
        size: In bytes.
        modified_ns: Modification time in nanoseconds since 1970.
    """

    path: Path
    size: int
    modified_ns: int


@dataclass(frozen=True)
class Failed:
    """A file or folder that gave nothing, and why."""

    path: Path
    error: LoadError


def walk(paths: Iterable[Path]) -> Iterator[Candidate | Failed]:
    """Yield every file at or below `paths` once, in a fixed order; report and pass what cannot be taken."""
    roots: list[Path] = []
    problems: list[Failed] = []
    for path in paths:
        try:
            roots.append(path.resolve(strict=True))
        except (OSError, RuntimeError) as error:  # RuntimeError: a symlink loop, before Python 3.13
            problems.append(Failed(path, _unreadable(error)))
    yield from problems
    yield from _Walk(roots).run()


class _Walk:
    """One walk: its roots, and what it has seen."""

    def __init__(self, roots: list[Path]) -> None:
        self._roots = roots
        self._seen: set[Path] = set()

    def run(self) -> Iterator[Candidate | Failed]:
        """Walk without recursion, depth first, in the order of names."""
        stack = list(reversed(self._roots))
        while stack:
            path = stack.pop()
            try:
                found = self._look(path)
            except LoadError as error:
                yield Failed(path, error)
                continue
            except (OSError, RuntimeError) as error:
                yield Failed(path, _unreadable(error))
                continue
            if isinstance(found, Candidate):
                yield found
            else:
                stack.extend(reversed(found))

    def _look(self, path: Path) -> Candidate | list[Path]:
        """Return the file at a path, or the paths to look at in its place."""
        _check_name(path)
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            return [self._target(path)]
        if path in self._seen:
            return []
        self._seen.add(path)
        if stat.S_ISDIR(status.st_mode):
            with os.scandir(path) as entries:
                names = sorted(entry.name for entry in entries)
            return [path / name for name in names if not name.startswith(PASSED_OVER)]
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableFile("it is neither a file nor a folder")
        return Candidate(path, status.st_size, status.st_mtime_ns)

    def _target(self, link: Path) -> Path:
        try:
            target = link.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise OutsideRoots("the link leads nowhere") from error
        if not any(target.is_relative_to(root) for root in self._roots):
            raise OutsideRoots("the link leads outside the given folders")
        return target


def _check_name(path: Path) -> None:
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise UnreadableFile("its name is not valid UTF-8", hint="Rename it.") from error


def _unreadable(error: Exception) -> UnreadableFile:
    reason = (error.strerror or "it cannot be read") if isinstance(error, OSError) else "the link leads nowhere"
    return UnreadableFile(f"it cannot be read: {reason}")
