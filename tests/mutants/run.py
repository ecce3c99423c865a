"""Is every defence needed? Remove one at a time, and see a test of its row fail.

    python tests/mutants/run.py              # all of them
    python tests/mutants/run.py 09 31        # those of two rows

Each patch beside this file removes one defence from a copy of the tracked tree. The row's tests, found by their
name `test_threat_NN_`, run there in a small virtual environment of its own, whose first path entries are the
copy: also processes started with `-I` import the mutated packages. A mutant is caught by a test that fails;
one whose tests cannot be collected is a broken mutant, not a caught one.
"""

from __future__ import annotations

import argparse
import queue
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = Path(__file__).resolve().parent
PACKAGES: Final = ("cloud_enclave", "edge", "ingest", "shared/crypto")
_TIMEOUT_SECONDS: Final = 150
# Real processes, real time or whole classifiers: asked last, when no faster test of the row has failed.
_SLOW: Final = ("test_exits", "test_rotation", "test_clients", "test_engine.py", "test_workers", "test_envoy", "e2e")
_TESTS_FAILED: Final = 1
_NO_TESTS: Final = 5
# Package → folder of its tests.
_TESTS_OF: Final = {
    "crypto": "crypto",
    "mitai": "edge",
    "mitai_enclave": "enclave",
    "mitai_sim": "sim",
    "mitai_ingest": "ingest",
}
_FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (\S+::\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """What came of one mutant.

    Attributes:
        name: The patch's name without its suffix.
        caught: Whether a test failed.
        detail: The test that failed, or what was wrong.
        seconds: How long it took.
    """

    name: str
    caught: bool
    detail: str
    seconds: float = 0.0


def patches(rows: list[str]) -> list[Path]:
    """Return the patches of these rows; all of them where no row is named."""
    found = sorted(FOLDER.glob("*.patch"))
    return [path for path in found if not rows or path.name[:2] in rows]


def changed_files(patch: Path) -> list[str]:
    """Return the files that a patch changes, relative to the tree."""
    return re.findall(r"^\+\+\+ b/(\S+)", patch.read_text(encoding="utf-8"), re.MULTILINE)


def does_apply(patch: Path, tree: Path) -> bool:
    """Tell whether a patch fits a tree exactly, without applying it."""
    return _git_apply(tree, "--check", str(patch)) == 0


def copy_tree(target: Path) -> None:
    """Copy what git tracks, and files that are new and not ignored, to `target`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]  # not links to our files
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def make_environment(tree: Path, target: Path) -> Path:
    """Make a virtual environment that imports our packages from `tree` and all others from this one.

    Returns:
        Its interpreter.
    """
    venv.create(target, symlinks=True)
    outer, inner = Path(sysconfig.get_path("purelib")), next(target.glob("lib/python*/site-packages"))
    for entry in outer.iterdir():
        if entry.suffix != ".pth":  # what makes our packages importable here must not be there
            (inner / entry.name).symlink_to(entry)
    (inner / "_mutant.pth").write_text("\n".join(str(tree / name) for name in PACKAGES) + "\n", encoding="utf-8")
    python = target / "bin" / "python"
    for script in Path(sys.executable).parent.glob("mitai*"):
        _, _, body = script.read_text(encoding="utf-8").partition("\n")
        copy = target / "bin" / script.name
        copy.write_text(f"#!{python}\n{body}", encoding="utf-8")
        copy.chmod(0o755)
    return python


class Bench:
    """A copy of the tree, with an environment of its own, that mutants use one after another.

    Args:
        folder: Where to make both; must be empty.
    """

    def __init__(self, folder: Path) -> None:
        self._tree = folder / "tree"
        self._basetemp = folder / "pytest"
        copy_tree(self._tree)
        self._python = make_environment(self._tree, folder / "venv")

    def judge(self, patch: Path) -> Verdict:
        """Apply one patch to the copy, run its row's tests there, and take the patch back."""
        began = time.monotonic()
        try:
            if _git_apply(self._tree, str(patch)) != 0:
                return Verdict(patch.stem, caught=False, detail="does not apply any more: write it anew")
            verdict = _run_tests(patch, self._tree, self._python, self._basetemp)
        except subprocess.TimeoutExpired:
            verdict = Verdict(patch.stem, caught=False, detail=f"its tests took over {_TIMEOUT_SECONDS} seconds")
        finally:
            self._restore(patch)
        return replace(verdict, seconds=time.monotonic() - began)

    def failing_anyway(self, tests: list[str]) -> set[str]:
        """Return those of `tests` that fail in the tree as it is: they caught nothing.

        Raises:
            RuntimeError: They cannot be run.
        """
        if not tests:
            return set()
        ran = _pytest(self._tree, self._python, self._basetemp, *tests)
        if ran.returncode not in {0, _TESTS_FAILED}:
            raise RuntimeError(f"the tests that caught mutants do not run without them: {ran.stdout[-600:]}")
        return {_base(name) for name in _FAILED.findall(ran.stdout)}

    def _restore(self, patch: Path) -> None:
        """Put back what the patch changed, with its time, so that no bytecode of the mutant is taken for it."""
        for name in changed_files(patch):
            shutil.copy2(ROOT / name, self._tree / name)
            for left in (self._tree / name).parent.glob(f"__pycache__/{Path(name).stem}.*"):
                left.unlink()


def judge_all(chosen: list[Path], folder: Path, jobs: int) -> Iterator[Verdict]:
    """Judge every patch on one of `jobs` benches and give the verdicts in their order.

    In the end the tests that failed run in the tree as it is; one that fails there too takes its verdict back.
    """
    benches: queue.SimpleQueue[Bench] = queue.SimpleQueue()
    for number in range(jobs):
        benches.put(Bench(folder / str(number)))

    def judge(patch: Path) -> Verdict:
        bench = benches.get()
        try:
            return bench.judge(patch)
        finally:
            benches.put(bench)

    caught: dict[str, list[Verdict]] = {}
    with ThreadPoolExecutor(jobs) as pool:
        for verdict in pool.map(judge, chosen):
            if verdict.caught:
                caught.setdefault(_base(verdict.detail), []).append(verdict)
            yield verdict
        tests, share = sorted(caught), -(-len(caught) // jobs)
        parts = [tests[start : start + share] for start in range(0, len(tests), max(1, share))]
        failing = set().union(*pool.map(lambda part: benches.get().failing_anyway(part), parts))
    for test in sorted(failing & caught.keys()):
        for verdict in caught[test]:
            yield replace(verdict, caught=False, detail=f"NOT ITS DOING: {test} fails without it too")


def _run_tests(patch: Path, tree: Path, python: Path, basetemp: Path) -> Verdict:
    wanted = f"test_threat_{patch.name[:2]}_"
    found = [
        path.relative_to(tree)
        for path in sorted((tree / "tests").rglob("test_*.py"))
        if f"def {wanted}" in path.read_text(encoding="utf-8")
    ]
    if not found:
        return Verdict(patch.stem, caught=False, detail="the row has no test")
    distances = {path: _distance(path, Path(changed_files(patch)[0])) for path in found}
    for distance in sorted(set(distances.values())):
        files = [str(path) for path in found if distances[path] == distance]
        ran = _pytest(tree, python, basetemp, "-x", "-k", wanted, *files)
        failed = _FAILED.search(ran.stdout)
        if ran.returncode == _TESTS_FAILED and failed is not None:
            return Verdict(patch.stem, caught=True, detail=failed[1])
        if ran.returncode not in {0, _NO_TESTS}:
            detail = f"broken mutant (pytest {ran.returncode}): {ran.stdout[-600:]}"
            return Verdict(patch.stem, caught=False, detail=detail)
    return Verdict(patch.stem, caught=False, detail="SURVIVED: every test of the row passes")


def _base(test: str) -> str:
    return test.partition("[")[0]  # parameters may hold spaces, which the summary does not quote


def _pytest(tree: Path, python: Path, basetemp: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    options = ["-q", "-rfE", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not engine", f"--basetemp={basetemp}"]
    command = [str(python), "-m", "pytest", *options, *arguments]
    return subprocess.run(command, cwd=tree, check=False, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS)


def _distance(test: Path, changed: Path) -> int:
    """Tell how far tests are from what a mutant changed: the near ones are asked first, for most mutants end there."""
    slow = max((place for place, part in enumerate(_SLOW, 1) if part in str(test)), default=0)
    if slow:
        return 10 + slow
    if test.stem == f"test_{changed.stem}":
        return 0
    return 1 if test.parts[1] == _TESTS_OF[changed.parts[1]] else 2


def _git_apply(tree: Path, *arguments: str) -> int:
    command = ["git", "apply", *arguments]
    # Not inside any repository: there `git apply` would skip, in silence, what lies outside the index's folder.
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    return subprocess.run(command, cwd=tree, check=False, capture_output=True, env=environment).returncode


def main() -> int:
    """Judge the mutants and print a table; 1 if any is not caught."""
    parser = argparse.ArgumentParser(description="Remove one defence at a time and see its tests fail.")
    parser.add_argument("rows", nargs="*", metavar="NN", help="rows of docs/threats.md; all where none is given")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    options = parser.parse_args()
    chosen = patches(options.rows)
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder:
        for verdict in judge_all(chosen, Path(folder), max(1, options.jobs)):
            verdicts.append(verdict)
            word = "caught" if verdict.caught else "MISSED"
            sys.stdout.write(f"{word}  {verdict.name:48} {verdict.seconds:4.0f} s  {verdict.detail}\n")
            sys.stdout.flush()
    missed = {verdict.name for verdict in verdicts if not verdict.caught}
    sys.stdout.write(f"{len(chosen) - len(missed)} of {len(chosen)} caught\n")
    return 1 if missed or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
