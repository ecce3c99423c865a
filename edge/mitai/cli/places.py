"""Where the command line keeps knowledge bases, and how a name becomes a folder."""

from __future__ import annotations

import re
from pathlib import Path

import platformdirs

from mitai.errors import KnowledgeBaseNotFound

_NAME = re.compile(r"[\w][\w .-]{0,63}")


def knowledge_base_root() -> Path:
    """Return the folder that holds knowledge bases called by name."""
    return Path(platformdirs.user_data_dir("mitai")) / "kb"


def knowledge_base_path(name_or_path: str) -> Path:
    """Return the folder of a knowledge base: a bare name lives under `knowledge_base_root()`, else it is a path.

    Raises:
        KnowledgeBaseNotFound: The text is neither a usable name nor a path.
    """
    if "/" in name_or_path or name_or_path in {".", ".."} or name_or_path.startswith("~"):
        return Path(name_or_path).expanduser()
    if not _NAME.fullmatch(name_or_path):
        raise KnowledgeBaseNotFound(
            f"{name_or_path!r} cannot name a knowledge base",
            hint="Use up to 64 letters (of any script), digits, spaces, dots and hyphens; or give a path with a slash.",
        )
    return knowledge_base_root() / name_or_path
