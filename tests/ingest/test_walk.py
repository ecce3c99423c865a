from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from mitai_ingest.errors import OutsideRoots, UnreadableFile
from mitai_ingest.walk import Candidate, Failed, walk
from support.privileges import open_folder, unprivileged

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def names(root: Path, *paths: Path) -> list[str]:
    return [str(found.path.relative_to(root)) for found in walk(paths) if isinstance(found, Candidate)]


def problems(*paths: Path) -> list[tuple[str, type[Exception]]]:
    return [(found.path.name, type(found.error)) for found in walk(paths) if isinstance(found, Failed)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path.resolve()


def test_files_come_in_the_order_of_names(root: Path) -> None:
    for name in ("b/2.txt", "b/1.txt", "a.txt", "c.txt", "手册.md"):
        write(root / name)
    assert names(root, root) == ["a.txt", "b/1.txt", "b/2.txt", "c.txt", "手册.md"]


def test_a_candidate_tells_size_and_time(root: Path) -> None:
    path = write(root / "a.txt", "12345")
    os.utime(path, ns=(1, 1_700_000_000_123_456_789))
    assert list(walk([path])) == [Candidate(path, 5, 1_700_000_000_123_456_789)]


def test_hidden_and_lock_files_are_passed_over_but_a_root_is_not(root: Path) -> None:
    for name in (".git/config", ".hidden.txt", "~$report.docx", "seen.txt"):
        write(root / name)
    assert names(root, root) == ["seen.txt"]
    assert names(root, root / ".git", root / ".hidden.txt") == [".git/config", ".hidden.txt"]
    assert problems(root) == []


def test_each_path_comes_once(root: Path) -> None:
    write(root / "a/x.txt")
    assert names(root, root, root / "a", root / "a/x.txt", root / "a/../a/x.txt") == ["a/x.txt"]


def test_links_within_the_roots_give_the_real_file_once(root: Path) -> None:
    write(root / "docs/x.txt")
    (root / "again.txt").symlink_to(root / "docs/x.txt")
    (root / "docs/loop").symlink_to(root)
    (root / "folder").symlink_to(root / "docs")
    assert names(root, root) == ["docs/x.txt"]
    assert problems(root) == []


def test_links_that_lead_outside_are_reported_and_not_followed(root: Path) -> None:
    secret = write(root / "outside/secret.txt")
    inside = root / "inside"
    write(inside / "a.txt")
    (inside / "file.txt").symlink_to(secret)
    (inside / "folder").symlink_to(secret.parent)
    (inside / "up.txt").symlink_to("../outside/secret.txt")
    assert names(root, inside) == ["inside/a.txt"]
    assert problems(inside) == [
        ("file.txt", OutsideRoots),
        ("folder", OutsideRoots),
        ("up.txt", OutsideRoots),
    ]


def test_broken_and_circular_links_are_reported(root: Path) -> None:
    (root / "broken").symlink_to(root / "nothing")
    (root / "one").symlink_to(root / "two")
    (root / "two").symlink_to(root / "one")
    assert problems(root) == [("broken", OutsideRoots), ("one", OutsideRoots), ("two", OutsideRoots)]


def test_a_root_that_is_a_link_was_meant(root: Path) -> None:
    write(root / "real/x.txt")
    (root / "link").symlink_to(root / "real")
    assert names(root, root / "link") == ["real/x.txt"]


def test_what_is_no_file_is_reported(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
        assert problems(root) == [("pipe", UnreadableFile), ("socket", UnreadableFile)]


def test_a_missing_root_does_not_stop_the_others(root: Path) -> None:
    write(root / "a.txt")
    assert problems(root / "missing", root) == [("missing", UnreadableFile)]
    assert names(root, root / "missing", root) == ["a.txt"]


def test_a_folder_that_may_not_be_listed_is_reported() -> None:
    with open_folder() as folder:
        write(folder / "a.txt")
        write(folder / "closed/x.txt").parent.chmod(0)
        with unprivileged():
            assert names(folder, folder) == ["a.txt"]
            (found,) = (outcome for outcome in walk([folder]) if isinstance(outcome, Failed))
        (folder / "closed").chmod(0o700)
        assert "Permission denied" in str(found.error)


def test_a_name_that_is_not_utf_8_is_reported(root: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    write(root / name)
    assert problems(root) == [(name, UnreadableFile)]


def test_a_deep_tree_does_not_exhaust_the_stack(root: Path) -> None:
    folders = [root.joinpath(*["d"] * depth) for depth in range(1, 1201)]
    for folder in folders:
        folder.mkdir()
    file = folders[-1] / "x.txt"
    write(file)
    try:
        assert len(names(root, root)) == 1
    finally:  # pytest, which removes old folders by recursion, could not
        file.unlink()
        for folder in reversed(folders):
            folder.rmdir()
