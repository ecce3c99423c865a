"""What would the launched interpreter see: its folders, its version, our packages?"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mitai_crypto.fields import Fields
from mitai_crypto.strict_json import parse_object
from mitai_sim.command import OWN_PACKAGES, interpreter_options
from mitai_sim.errors import MeasureError

if TYPE_CHECKING:
    from mitai_sim.command import Command

_MAX_ANSWER_BYTES: Final = 1024 * 1024
_MAX_PATHS: Final = 256
_TIMEOUT_SECONDS: Final = 60

# Asked of the interpreter itself: only it knows what `-I`, `*.pth` files and `pyvenv.cfg` make of its path.
_QUESTION: Final = """
import importlib.util, json, os, sys, sysconfig
library = os.path.join(sysconfig.get_config_var("LIBDIR") or "", sysconfig.get_config_var("INSTSONAME") or "")
def folders(name):
    spec = importlib.util.find_spec(name)
    return list(spec.submodule_search_locations or []) if spec else []
print(json.dumps({
    "version": sys.version,
    "binary": os.path.realpath(sys.executable),
    "library": os.path.realpath(library) if sysconfig.get_config_var("Py_ENABLE_SHARED") else "",
    "prefix": sys.prefix,
    "stdlib": sysconfig.get_path("stdlib"),
    "dynload": sysconfig.get_config_var("DESTSHARED") or "",
    "path": sys.path,
    "packages": {name: folders(name) for name in sys.argv[1:]},
}))
"""


@dataclass(frozen=True)
class Surroundings:
    """What an interpreter says about itself.

    Attributes:
        version: `sys.version`.
        binary: The executable, links resolved.
        library: The shared library of Python; None where the executable holds it all.
        prefix: `sys.prefix`, where `pyvenv.cfg` may be.
        stdlib: Folder of the standard library.
        path: `sys.path` without what belongs to the standard library.
        packages: Our package → its folder.
    """

    version: str
    binary: Path
    library: Path | None
    prefix: Path
    stdlib: Path
    path: tuple[Path, ...]
    packages: dict[str, Path]


def ask_interpreter(command: Command, bytecode: Path) -> Surroundings:
    """Start the interpreter as it would be launched and let it describe itself.

    Args:
        command: Gives interpreter and environment.
        bytecode: The fresh private folder of `interpreter_options`.

    Raises:
        MeasureError: It cannot be started, or one of our packages is not installed there.
    """
    argv = [command.interpreter, *interpreter_options(bytecode), "-c", _QUESTION, *OWN_PACKAGES]
    try:
        done = subprocess.run(
            argv, env=dict(command.environment), capture_output=True, check=True, timeout=_TIMEOUT_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise MeasureError(f"cannot ask the interpreter {command.interpreter} about itself: {error}") from error
    fields = Fields(
        parse_object(done.stdout, max_bytes=_MAX_ANSWER_BYTES, error=MeasureError),
        where="interpreter",
        error=MeasureError,
    )
    stdlib, dynload = Path(fields.text("stdlib")), fields.text("dynload")
    found = [Path(str(item)) for item in fields.array("path", most=_MAX_PATHS)]
    library = fields.text("library")
    return Surroundings(
        version=fields.text("version"),
        binary=Path(fields.text("binary")),
        library=Path(library) if library else None,
        prefix=Path(fields.text("prefix")),
        stdlib=stdlib,
        path=tuple(item for item in found if item not in {stdlib, Path(dynload)}),
        packages=_only_folders(fields.inner("packages")),
    )


def _only_folders(packages: Fields) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name in OWN_PACKAGES:
        folders = packages.array(name, least=0, most=_MAX_PATHS)
        if len(folders) != 1:
            raise MeasureError(f"the package {name} is not installed, or is spread over several folders")
        found[name] = Path(str(folders[0]))
    return found
