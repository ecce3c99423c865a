from __future__ import annotations

import tomllib

import pytest

from mitai.models.errors import LockError
from mitai.models.lock import ModelFormat, ModelKind, load_lock, parse_lock

MODEL = {
    "name": '"tiny"',
    "kind": '"embedding"',
    "format": '"e5s1"',
    "requirement": '"tiny-dist==1.0"',
    "wheel": '"tiny_dist-1.0-py3-none-any.whl"',
    "sha256": f'"{"ab" * 32}"',
    "member": '"tiny/weights.bin"',
    "member_size": "12",
    "licence": '"Apache-2.0"',
    "digest": f'"{"cd" * 32}"',
}


def lock(changes: dict[str, str | None] | None = None, head: str = "version = 1", times: int = 1) -> bytes:
    fields = {**MODEL, **(changes or {})}
    table = "[[model]]\n" + "\n".join(f"{key} = {value}" for key, value in fields.items() if value is not None)
    return f"{head}\n{(table + chr(10)) * times}".encode()


def test_a_valid_file_becomes_frozen_values() -> None:
    (model,) = parse_lock(lock())
    assert (model.name, model.kind, model.format) == ("tiny", ModelKind.EMBEDDING, ModelFormat.E5S1)
    assert (model.requirement, model.member_size, model.licence) == ("tiny-dist==1.0", 12, "Apache-2.0")
    with pytest.raises(AttributeError):
        model.name = "other"  # type: ignore[misc] # the point of the test


@pytest.mark.parametrize("field", sorted(MODEL))
def test_every_field_is_needed(field: str) -> None:
    with pytest.raises(LockError, match="exactly the fields"):
        parse_lock(lock({field: None}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("surprise", '"x"'),
        ("name", '"../tiny"'),
        ("name", '".hidden"'),
        ("name", '"a/b"'),
        ("name", '""'),
        ("name", "1"),
        ("kind", '"toaster"'),
        ("kind", "1"),
        ("format", '"pickle"'),
        ("requirement", '"tiny-dist"'),
        ("requirement", '"tiny-dist>=1.0"'),
        ("requirement", '"--index-url=http://evil.test tiny==1"'),
        ("requirement", '"tiny @ http://evil.test/x.whl"'),
        ("wheel", '"tiny-1.0.tar.gz"'),
        ("wheel", '"../tiny-1.0-py3-none-any.whl"'),
        ("sha256", f'"{"AB" * 32}"'),
        ("sha256", f'"{"ab" * 31}"'),
        ("digest", f'"{"ab" * 32} "'),
        ("member", '"../weights.bin"'),
        ("member", '"/etc/passwd"'),
        ("member", '"tiny/../x"'),
        ("member_size", "0"),
        ("member_size", "-1"),
        ("member_size", "true"),
        ("member_size", "1.0"),
        ("member_size", '"12"'),
        ("licence", '"MIT or else"'),
    ],
)
def test_a_field_outside_its_form_is_refused(field: str, value: str) -> None:
    with pytest.raises(LockError) as caught:
        parse_lock(lock({field: value}))
    assert caught.value.hint


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"version = 1\nversion = 1",
        b"",
        b"version = 1",
        b"version = 1\nmodel = 3",
        b"version = 1\nmodel = [3]",
        lock(head="version = 2"),
        lock(head="version = true"),
        lock(head='version = "1"'),
        lock(head="version = 1\nextra = 1"),
        lock(times=2),
    ],
)
def test_a_file_outside_its_form_is_refused(data: bytes) -> None:
    with pytest.raises(LockError):
        parse_lock(data)


def test_the_shipped_file_locks_an_embedding_and_a_chat_model() -> None:
    models = load_lock()
    assert {model.name: model.kind for model in models} == {
        "multilingual-e5-small": ModelKind.EMBEDDING,
        "SmolLM2-135M-Instruct": ModelKind.CHAT,
    }
    assert len({model.sha256 for model in models} | {model.digest for model in models}) == 4
    assert all(model.licence in {"MIT", "Apache-2.0"} for model in models)


def test_the_helper_of_this_file_makes_toml() -> None:
    assert tomllib.loads(lock().decode())["model"][0]["name"] == "tiny"
