from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mitai_crypto.policy import KeySuite
from mitai_enclave import config
from mitai_enclave.address import LoopbackAddress, UnixAddress
from mitai_enclave.config import Limits, Settings, configuration_digest
from mitai_enclave.engine_command import EngineOptions
from mitai_enclave.errors import ConfigurationError
from mitai_enclave.tokens import TokenTable
from support.sidecar import TOKENS


@pytest.fixture(autouse=True)
def cpu_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "runs_on_cpu", lambda: True)


BASE = Settings(served_name="m", tokens=TOKENS, model="/models/m")


@pytest.mark.parametrize(
    "change",
    [
        {"served_name": "n"},
        {"tokens": TokenTable(TOKENS.tokens[:1])},
        {"model": None, "upstream": UnixAddress(Path("/run/x"))},
        {"engine": EngineOptions(max_model_len=100)},
        {"limits": Limits(replay_capacity=7)},
        {"limits": Limits(rotation_seconds=60)},
        {"limits": Limits(send_seconds=7)},
        {"suites": (KeySuite.X25519,)},
    ],
)
def test_what_changes_behaviour_changes_the_digest(change: dict[str, object]) -> None:
    assert configuration_digest(dataclasses.replace(BASE, **change)) != configuration_digest(BASE)


def test_the_kind_of_upstream_is_attested_and_its_place_is_not() -> None:
    def digest(upstream: UnixAddress | LoopbackAddress) -> str:
        return configuration_digest(dataclasses.replace(BASE, model=None, upstream=upstream))

    assert digest(UnixAddress(Path("/a"))) == digest(UnixAddress(Path("/b")))
    assert digest(UnixAddress(Path("/a"))) != digest(LoopbackAddress("127.0.0.1", 1))


@pytest.mark.parametrize(
    "change",
    [
        {"model": "/elsewhere/m"},
        {"host": "::1"},
        {"port": 8443},
        {"metrics_port": 9000},
        {"runtime_dir": Path("/run/mitai")},
        {"workers": 4},
        {"key_prefix": "3"},
        {"engine": EngineOptions(kv_cache_gib=4, threads=1)},
    ],
)
def test_paths_ports_and_the_machines_share_are_not_in_it(change: dict[str, object]) -> None:
    assert configuration_digest(dataclasses.replace(BASE, **change)) == configuration_digest(BASE)


@pytest.mark.parametrize(
    "change",
    [
        {"model": None},
        {"upstream": UnixAddress(Path("/run/x"))},
        {"served_name": ""},
        {"served_name": "a b"},
        {"served_name": "m\n"},
        {"served_name": "m" * 201},
        {"suites": ()},
        {"suites": (KeySuite.X25519, KeySuite.X25519)},
        {"port": 70_000},
        {"port": -1},
        {"workers": 0},
        {"workers": 65},
        {"key_prefix": "g"},
        {"key_prefix": "A"},
        {"key_prefix": "012"},
        {"key_prefix": "0\n"},
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        dataclasses.replace(BASE, **change)


@pytest.mark.parametrize(
    "limits", [{"running": 0}, {"rotation_seconds": 3601}, {"request_bytes": 2**30}, {"response_bytes": 2**30}]
)
def test_limits_stay_inside_the_protocol(limits: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        Limits(**limits)


def test_no_token_hash_shows_in_a_repr() -> None:
    assert TOKENS.tokens[0].sha256.hex() not in repr(BASE)
    assert "principal" not in repr(BASE)
