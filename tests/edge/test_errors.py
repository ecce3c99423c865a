from __future__ import annotations

import inspect
import re
import subprocess
import sys

import mitai.models.errors
import mitai_ingest.errors
from mitai import errors
from mitai_crypto import errors as crypto_errors


def _tree() -> list[type[errors.MitaiError]]:
    found, waiting = [], [errors.MitaiError]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting += kind.__subclasses__()
    return found


def test_exports_are_sorted_and_exist() -> None:
    assert sorted(errors.__all__) == errors.__all__
    assert all(issubclass(getattr(errors, name), errors.MitaiError) for name in errors.__all__)


def test_docstring_draws_every_exported_error_under_its_parent() -> None:
    lines = [line for line in (errors.__doc__ or "").splitlines() if "──" in line or line.strip() == "MitaiError"]
    parents: list[str] = []
    drawn: dict[str, str] = {}
    for line in lines:
        match = re.match(r"^\s{4}([│├└─ ]*)(\w+)", line)
        assert match is not None, line
        depth = len(match.group(1)) // 4
        parents[depth:] = [match.group(2)]
        drawn[match.group(2)] = parents[depth - 1] if depth else ""
    assert set(drawn) == set(errors.__all__)
    for name, parent in drawn.items():
        if parent:
            assert getattr(errors, name).__base__.__name__ == parent


def test_errors_of_the_lower_packages_are_the_same_classes() -> None:
    for module in (crypto_errors, mitai_ingest.errors, mitai.models.errors):
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, errors.MitaiError):
                assert getattr(errors, name) is kind


def test_every_error_of_the_device_has_a_way_on() -> None:
    abstract = {errors.KnowledgeBaseError, errors.EnclaveRefused}
    own = [kind for kind in _tree() if kind.__module__ == "mitai.errors" and kind not in abstract]
    assert len(own) > 12
    assert all(kind.default_hint for kind in own)


def test_refusal_carries_its_status_and_a_hint_of_its_own() -> None:
    error = errors.EnclaveRefused("unknown token", status=401, hint="Ask the administrator for a token.")
    assert (error.status, str(error), error.hint) == (401, "unknown token", "Ask the administrator for a token.")


def test_import_loads_nothing_heavy() -> None:
    code = "import sys, mitai.errors; print([m for m in ('numpy', 'torch', 'faiss', 'sqlcipher3') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
