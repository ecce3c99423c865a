from __future__ import annotations

import pytest

from mitai.models import errors
from mitai_crypto.errors import MitaiError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ModelError)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not errors.ModelError])
def test_every_error_of_a_model_is_ours_and_says_what_to_do(kind: type[errors.ModelError]) -> None:
    assert issubclass(kind, MitaiError)
    assert kind("what happened").hint


def test_the_tree_is_drawn_where_it_is_defined() -> None:
    assert errors.__doc__ is not None
    assert all(f"{kind.__name__} " in errors.__doc__ for kind in KINDS)
