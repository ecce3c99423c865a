from __future__ import annotations

import inspect

import pytest

from mitai_crypto.errors import MitaiError
from mitai_enclave import errors
from mitai_enclave.errors import EnclaveError, EngineError, EngineStartFailed, RequestRefused
from mitai_enclave.problems import PublicRefusal


def test_every_error_hangs_from_the_one_tree_and_is_drawn_in_it() -> None:
    found = [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, MitaiError) and value is not MitaiError
    ]
    assert len(found) > 10
    for error in (*found, PublicRefusal):
        assert issubclass(error, EnclaveError)
        assert error.__name__ in (errors.__doc__ or "")


def test_errors_carry_what_they_promise() -> None:
    assert EngineStartFailed("x", output=("a",)).output == ("a",)
    assert EngineStartFailed("x").hint
    assert issubclass(errors.EngineBroke, EngineError)


@pytest.mark.parametrize(("status", "kind"), [(400, "invalid_request_error"), (503, "server_error")])
def test_a_refusal_has_the_type_of_its_status(status: int, kind: str) -> None:
    assert RequestRefused(status, "code", "text").kind == kind
