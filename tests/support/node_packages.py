"""Node with the pinned packages of `tests/interop/node`, installed once into the user's cache folder.

`npm ci` checks every package against the hash in the lock file; where packages come from is npm's own
configuration, and nothing here names a place.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCES = Path(__file__).parents[1] / "interop" / "node"
OLDEST_NODE = (20, 19)  # what the packages ask for
LONGEST_INSTALL = 180
LONGEST_RUN = 60


class NodeUnavailable(Exception):
    """Why the tests with Node are skipped."""


def install() -> Path:
    """Return a folder with the packages, installing them if need be.

    Raises:
        NodeUnavailable: Node or npm is missing or too old, or the packages cannot be had.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise NodeUnavailable("Node and npm are not installed")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST_NODE:
        raise NodeUnavailable(f"Node {version.strip()} is too old for the packages")
    lock = SOURCES / "package-lock.json"
    folder = user_cache_path("mitai-tests") / "node" / hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        _install_into(Path(npm), folder)
    return folder / "node_modules"


def _install_into(npm: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as started:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCES / name, started)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
        try:
            done = subprocess.run(
                command, cwd=started, capture_output=True, text=True, timeout=LONGEST_INSTALL, check=False
            )
        except subprocess.TimeoutExpired:
            raise NodeUnavailable("npm ci took too long") from None
        code = re.search(r"npm error code (\S+)", done.stderr)
        if done.returncode and code and code[1] == "EINTEGRITY":
            raise AssertionError("a package is not the one in package-lock.json")
        if done.returncode:
            raise NodeUnavailable(f"npm ci failed: {code[1] if code else done.returncode}")
        if not folder.is_dir():  # somebody else may have been faster
            os.rename(started, folder)  # noqa: PTH104 - whole, or not at all
            Path(started).mkdir()


def arrange(packages: Path, folder: Path) -> Path:
    """Lay our scripts and the packages side by side in `folder`."""
    for script in SOURCES.glob("*.mjs"):
        shutil.copy(script, folder)
    (folder / "node_modules").symlink_to(packages)
    return folder


async def run_script(folder: Path, name: str, document: Mapping[str, object]) -> dict[str, object]:
    """Run a script: one JSON object in, one out."""
    process = await asyncio.create_subprocess_exec(
        "node",
        name,
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    given = json.dumps(document).encode()
    try:
        out, err = await asyncio.wait_for(process.communicate(given), LONGEST_RUN)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    found: dict[str, object] = json.loads(out)
    return found
