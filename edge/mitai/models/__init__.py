"""The models that Mitai is shown and tested with: pinned by digest, fetched once, kept as plain data.

    >>> from mitai.models import locate
    >>> locate("multilingual-e5-small")  # doctest: +SKIP
    PosixPath('/home/me/.local/share/mitai/models/multilingual-e5-small')

`python -m mitai.models fetch` brings them to this machine. Nothing here looks at the network on its own, and a model
of one's own is simply a directory that is given by its path. Format and rules: `docs/spec/models.md`.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from mitai.models.errors import ModelMissing, UnknownModel
from mitai.models.lock import LockedModel, ModelKind, load_lock

__all__ = ["LockedModel", "ModelKind", "known_models", "locate", "locked_model", "models_directory"]

ENVIRONMENT_VARIABLE = "MITAI_MODELS_DIR"


def models_directory() -> Path:
    """Return the directory that holds one directory a model; it need not exist yet."""
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_data_dir("mitai")) / "models"


def known_models() -> tuple[LockedModel, ...]:
    """Return the models of the lock file, in its order."""
    return load_lock()


def locked_model(name: str) -> LockedModel:
    """Return what the lock file says about the model `name`.

    Raises:
        UnknownModel: The lock file has no such model.
    """
    for model in known_models():
        if model.name == name:
            return model
    names = ", ".join(model.name for model in known_models())
    raise UnknownModel(f"no pinned model is called {name!r}; there are: {names}")


def locate(name: str) -> Path:
    """Return the directory of the pinned model `name` without reading its files.

    `mitai.models.install.verify_model` compares every byte with the lock file.

    Raises:
        UnknownModel: The lock file has no such model.
        ModelMissing: It is not on this machine yet.
    """
    path = models_directory() / locked_model(name).name
    if not path.is_dir():
        raise ModelMissing(f"the model {name} is not on this machine")
    return path
