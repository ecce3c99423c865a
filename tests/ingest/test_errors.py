from __future__ import annotations

from mitai_crypto.errors import MitaiError
from mitai_ingest import errors


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    classes = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    drawn = {line.split("──")[1].split()[0] for line in (errors.__doc__ or "").splitlines() if "──" in line}
    assert classes == drawn


def test_every_error_is_a_load_error_with_a_hint() -> None:
    for kind in errors.LoadError.__subclasses__():
        assert issubclass(kind, MitaiError)
        assert kind("what").hint
        assert kind("what", hint="how").hint == "how"
