"""What exactly is about to run? (`docs/spec/simulated_tee.md` §2)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mitai_crypto.simulated_log import Event
from mitai_sim.command import PRIVATE_FOLDER, interpreter_options
from mitai_sim.errors import MeasureError
from mitai_sim.surroundings import ask_interpreter
from mitai_sim.trees import CACHE, files_below, hash_file, hash_text, hash_tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mitai_sim.command import Command
    from mitai_sim.surroundings import Surroundings

PLATFORM: Final = 0
DISTRIBUTIONS: Final = 1
OWN_FILES: Final = 2
LAUNCH: Final = 3
_NOT_STDLIB: Final = frozenset({CACHE, "site-packages", "dist-packages", "test", "tests", "idlelib", "turtledemo"})
_HOOKS: Final = frozenset({"sitecustomize.py", "usercustomize.py"})
_INSTALLED: Final = (".dist-info", ".egg-info")


def measure(command: Command, inputs: Sequence[str], bytecode: Path) -> tuple[Event, ...]:
    """Measure the platform, the installed code, our own files and the launch.

    Args:
        command: What would be launched.
        inputs: Files and folders that are measured by content, as given.
        bytecode: The fresh private folder for bytecode.

    Raises:
        MeasureError: Something cannot be read, so nothing may be launched.
    """
    surroundings = ask_interpreter(command, bytecode)
    return (
        *_measure_platform(surroundings),
        *_measure_distributions(surroundings.path),
        *_measure_own_files(surroundings),
        *_measure_launch(command, inputs),
    )


def _measure_platform(surroundings: Surroundings) -> Iterator[Event]:
    interpreter = {
        "binary": hash_file(surroundings.binary),
        "flags": hash_text(json.dumps(interpreter_options(PRIVATE_FOLDER))),
        "stdlib": hash_tree(surroundings.stdlib, without=_NOT_STDLIB),
        "version": hash_text(surroundings.version),
    }
    if surroundings.library is not None:
        interpreter["library"] = hash_file(surroundings.library)
    if (surroundings.prefix / "pyvenv.cfg").exists():
        interpreter["pyvenv.cfg"] = hash_file(surroundings.prefix / "pyvenv.cfg")
    for name, digest in sorted(interpreter.items()):
        yield Event(PLATFORM, "interpreter", name, digest)
    system = os.uname()
    described = json.dumps([system.sysname, system.release, system.version, system.machine])
    yield Event(PLATFORM, "system", "platform", hash_text(described))


def _measure_distributions(path: Sequence[Path]) -> Iterator[Event]:
    folders = [(str(position), folder) for position, folder in enumerate(path)]
    for position, folder in folders:
        yield Event(DISTRIBUTIONS, "path", position, hash_text(str(folder)))
    for position, folder in folders:
        if folder.is_file():  # a zip of modules
            yield Event(DISTRIBUTIONS, "listing", position, hash_file(folder))
        elif folder.is_dir():
            yield Event(DISTRIBUTIONS, "listing", position, hash_text(json.dumps(_names(folder))))
    found = [folder / name for _, folder in folders if folder.is_dir() for name in _names(folder)]
    found.sort(key=lambda item: (item.name, str(item)))
    for item in found:
        if item.suffix == ".pth" or item.name in _HOOKS:
            yield Event(DISTRIBUTIONS, "hook", item.name, hash_file(item))
    for item in found:
        if item.suffix in _INSTALLED:
            yield Event(DISTRIBUTIONS, "distribution", item.stem, _hash_installed(item))


def _hash_installed(item: Path) -> str:
    if (item / "RECORD").is_file():
        return hash_file(item / "RECORD")
    return hash_tree(item) if item.is_dir() else hash_file(item)


def _measure_own_files(surroundings: Surroundings) -> Iterator[Event]:
    for package, folder in sorted(surroundings.packages.items()):
        for path in files_below(folder, without=(CACHE,)):
            name = f"{package}/{path.relative_to(folder).as_posix()}"
            yield Event(OWN_FILES, "file", name, hash_file(path))


def _measure_launch(command: Command, inputs: Iterable[str]) -> Iterator[Event]:
    for position, argument in enumerate(command.given):
        yield Event(LAUNCH, "argv", str(position), hash_text(argument))
    for name, value in sorted(command.environment.items()):
        yield Event(LAUNCH, "env", name, hash_text(value))
    for given in sorted(set(inputs)):
        hash_text(given)  # the name goes into evidence, so it must be text
        path = Path(given)
        yield Event(LAUNCH, "input", given, hash_tree(path) if path.is_dir() else hash_file(path))


def _names(folder: Path) -> list[str]:
    try:
        return sorted(item.name for item in folder.iterdir() if item.name != CACHE)
    except OSError as error:
        raise MeasureError(f"cannot read {folder}: {error.strerror}") from error
