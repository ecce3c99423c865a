from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from mitai_enclave.errors import ConfigurationError, RequestRefused
from mitai_enclave.tokens import load_tokens, parse_tokens

if TYPE_CHECKING:
    from pathlib import Path


def digest(token: bytes) -> str:
    return hashlib.sha256(token).hexdigest()


def entry(principal: str, sha256: str) -> str:
    return f'[[token]]\nprincipal = "{principal}"\nsha256 = "{sha256}"\n'


def test_a_token_belongs_to_its_principal() -> None:
    table = parse_tokens((entry("alice", digest(b"a")) + entry("bob", digest(b"b"))).encode())
    assert table.principal_of(b"a") == "alice"
    assert table.principal_of(b"b") == "bob"


@pytest.mark.parametrize("presented", [b"", b"c", b"A", b"a ", b"a\0", digest(b"a").encode()])
def test_everything_else_belongs_to_nobody(presented: bytes) -> None:
    table = parse_tokens(entry("alice", digest(b"a")).encode())
    with pytest.raises(RequestRefused) as caught:
        table.principal_of(presented)
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "token = 1",
        "[[token]]\n",
        entry("alice", "abc"),
        entry("alice", digest(b"a").upper()),
        entry("a b", digest(b"a")),
        entry("", digest(b"a")),
        entry("alice", digest(b"a")) + 'admin = "yes"\n',
        "top = 1\n" + entry("alice", digest(b"a")),
        entry("alice", digest(b"a")) + entry("bob", digest(b"a")),
        "[[token]\n",
        "token = " + "[" * 100_000,
        "\ufeff\ud7ff".encode("utf-16").decode("latin-1"),
    ],
)
def test_a_file_of_another_shape_is_refused_with_the_way_on(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_tokens(text.encode())
    assert caught.value.hint


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_tokens(tmp_path / "missing.toml")
    (tmp_path / "huge.toml").write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(ConfigurationError, match="larger"):
        load_tokens(tmp_path / "huge.toml")


def test_the_description_does_not_depend_on_the_order_of_the_file() -> None:
    one = parse_tokens((entry("alice", digest(b"a")) + entry("bob", digest(b"b"))).encode())
    two = parse_tokens((entry("bob", digest(b"b")) + entry("alice", digest(b"a"))).encode())
    assert one.describe() == two.describe()
