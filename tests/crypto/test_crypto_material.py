from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai_crypto.crypto_material import PublishedKey, parse_crypto_material
from mitai_crypto.errors import EvidenceError
from mitai_crypto.strict_json import encode_canonical
from support.evidence_builder import NOW, build_enclave

MATERIAL = build_enclave().material


def changed(**values: object) -> bytes:
    document = json.loads(MATERIAL.encode())
    for name, value in values.items():
        if value is None:
            del document[name]
        else:
            document[name] = value
    return encode_canonical(document)


def test_round_trip() -> None:
    assert parse_crypto_material(MATERIAL.encode()) == MATERIAL


def test_an_external_engine_has_no_digest() -> None:
    external = replace(MATERIAL, engine="external", model_digest=None, model_name="通义千问")
    assert parse_crypto_material(external.encode()) == external
    for wrong in (replace(external, model_digest="00" * 32), replace(MATERIAL, model_digest=None)):
        with pytest.raises(EvidenceError, match="null exactly when"):
            parse_crypto_material(wrong.encode())


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"v": 2}, "v"),
        ({"extra": 1}, "extra"),
        ({"mode": "debug"}, "mode"),
        ({"mode": None}, "mode"),
        ({"keys": []}, "keys"),
        ({"keys": [{"config": "", "not_before": 0}]}, "not_after"),
        ({"receipt_key": "AAAA"}, "receipt_key"),
        ({"engine": "ollama"}, "engine"),
        ({"model": {"name": "x"}}, "digest"),
        ({"model": {"name": "x", "digest": "00" * 32, "size": 1}}, "size"),
        ({"model": {"name": "a\nb", "digest": "00" * 32}}, "name"),
        ({"configuration": "00"}, "configuration"),
    ],
)
def test_each_field_is_checked(change: dict[str, object], field: str) -> None:
    with pytest.raises(EvidenceError, match=field):
        parse_crypto_material(changed(**change))


def test_white_space_is_refused() -> None:
    with pytest.raises(EvidenceError, match="canonical"):
        parse_crypto_material(MATERIAL.encode().replace(b":", b": ", 1))


def test_a_key_configuration_must_be_one() -> None:
    config = MATERIAL.keys[0].config
    for spoiled in (b"", config[:-1], config + b"\0", b"\0" + config):
        broken = replace(MATERIAL, keys=(PublishedKey(spoiled, NOW, NOW + 1),))
        with pytest.raises(EvidenceError):
            parse_crypto_material(broken.encode())


def test_key_ids_are_distinct_and_keys_are_few() -> None:
    key = MATERIAL.keys[0]
    with pytest.raises(EvidenceError, match="key id twice"):
        parse_crypto_material(replace(MATERIAL, keys=(key, key)).encode())
    with pytest.raises(EvidenceError, match="1 to 8"):
        parse_crypto_material(replace(MATERIAL, keys=(key,) * 9).encode())


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_only_our_error(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        parse_crypto_material(data)


@given(st.integers(0, len(MATERIAL.encode()) - 1), st.integers(1, 255))
def test_a_changed_byte_is_another_value_or_an_error(position: int, change: int) -> None:
    data = bytearray(MATERIAL.encode())
    data[position] ^= change
    try:
        found = parse_crypto_material(bytes(data))
    except EvidenceError:
        return
    assert found != MATERIAL
    assert found.encode() == bytes(data)
