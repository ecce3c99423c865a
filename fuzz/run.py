"""Fuzz the parsers, guided by coverage, one after another.

    python fuzz/run.py --seconds 60                  # a minute each
    python fuzz/run.py --seconds 600 policy receipt  # ten minutes for two of them

Needs atheris. Each target runs in a process of its own, bounded in time, memory and length of input; what broke a
promise lies in the folder that is named at the end, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = ["mitai", "mitai_crypto", "mitai_enclave", "mitai_ingest", "mitai_sim"]
_RSS_MEGABYTES: Final = 1024
_ONE_INPUT_SECONDS: Final = 10
_GRACE_SECONDS: Final = 60


def fuzz(name: str, arguments: list[str]) -> None:
    """Fuzz one target in this process until libFuzzer ends it."""
    import atheris  # noqa: PLC0415 - only where fuzzing is asked for

    sys.path[:0] = [str(ROOT / "tests")]
    with atheris.instrument_imports(include=PACKAGES):
        from target import load  # noqa: PLC0415 - imported under instrumentation

        target = load(name)
    atheris.Setup([sys.argv[0], *arguments], target.check)
    atheris.Fuzz()


def fuzz_apart(name: str, seconds: int, folder: Path) -> bool:
    """Fuzz one target in a process of its own; tell whether it kept its promise."""
    sys.path[:0] = [str(ROOT / "tests")]
    from target import load  # noqa: PLC0415 - not before the path is set

    target = load(name)
    corpus, crashes = folder / name / "corpus", folder / name / "crashes"
    corpus.mkdir(parents=True)
    crashes.mkdir()
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    limits = [
        f"-max_total_time={seconds}",
        f"-rss_limit_mb={_RSS_MEGABYTES}",
        f"-max_len={target.max_bytes}",
        f"-timeout={_ONE_INPUT_SECONDS}",
        f"-artifact_prefix={crashes}/",
        "-verbosity=1",
        "-print_final_stats=1",
    ]
    command = [sys.executable, __file__, "--one", name, "--", *limits, str(corpus)]
    with (folder / name / "log").open("wb") as log:
        try:
            ended = subprocess.run(command, check=False, stdout=log, stderr=log, timeout=seconds + _GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return False
    return ended.returncode == 0 and not any(crashes.iterdir())


def _executions(log: Path) -> str:
    for line in log.read_text("utf-8", "replace").splitlines():
        if line.startswith("stat::number_of_executed_units:"):
            return line.rpartition(":")[2].strip()
    return "?"


def main() -> int:
    """Fuzz what was asked for; 1 if anything broke a promise."""
    sys.path[:0] = [str(Path(__file__).resolve().parent)]
    from target import names  # noqa: PLC0415 - not before the path is set

    parser = argparse.ArgumentParser(description="Fuzz the parsers, guided by coverage.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"all where none is given: {', '.join(names())}")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--one", metavar="TARGET", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        fuzz(options.one, options.targets)
        return 0
    if unknown := sorted(set(options.targets) - set(names())):
        parser.error(f"no such target: {', '.join(unknown)}")
    if find_spec("atheris") is None:
        sys.stderr.write("fuzzing needs atheris: pip install atheris\n")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="mitai-fuzz-"))
    broken = 0
    for name in options.targets or names():
        kept = fuzz_apart(name, options.seconds, folder)
        broken += not kept
        found = f"{_executions(folder / name / 'log')} inputs"
        sys.stdout.write(f"{'ok    ' if kept else 'BROKEN'}  {name:24} {found}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{broken} broken; logs, corpora and crashes: {folder}\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
