from __future__ import annotations

import os
from pathlib import Path

import pytest

from mitai_enclave import engine_command
from mitai_enclave.engine_command import EngineOptions, engine_environment, runs_on_cpu
from mitai_enclave.errors import ConfigurationError
from mitai_enclave.runtime import RuntimeFolder


def test_the_command_names_the_copy_and_asks_for_no_door() -> None:
    command = engine_command.engine_command(
        EngineOptions(max_model_len=2048), on_cpu=True, name="m", model=Path("/r/model"), socket=Path("/r/s")
    )
    text = " ".join(command)
    assert "-I -m vllm.entrypoints.openai.api_server --model /r/model --served-model-name=m --uds /r/s" in text
    assert "--enforce-eager" in command
    assert "--prefix-caching-hash-algo=sha256" in command
    assert "--disable-uvicorn-access-log" in command
    assert "--max-model-len=2048" in command
    for door in ("trust-remote-code", "lora", "allowed-local-media", "log-requests", "tool-parser-plugin", "otlp"):
        assert door not in text


def test_threat_21_the_engine_process_is_asked_for_no_module_of_ours() -> None:
    command = engine_command.engine_command(
        EngineOptions(), on_cpu=True, name="m", model=Path("/r/model"), socket=Path("/r/s")
    )
    assert not any("mitai" in argument for argument in command[1:])


def test_on_a_gpu_nothing_is_said_of_eagerness() -> None:
    arguments, _ = engine_command.behaviour(EngineOptions(), on_cpu=False)
    assert "--enforce-eager" not in arguments


def test_threat_21_nothing_is_inherited_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LD_PRELOAD", "PYTHONPATH", "VLLM_PLUGINS", "VLLM_SERVER_DEV_MODE", "HTTPS_PROXY", "HF_ENDPOINT"):
        monkeypatch.setenv(name, "/evil")
    runtime = RuntimeFolder(tmp_path)
    runtime.home.mkdir()
    environment = engine_environment(EngineOptions(threads=1), on_cpu=True, runtime=runtime)
    assert "/evil" not in " ".join(environment.values())
    assert environment["VLLM_PLUGINS"] == ""
    assert environment["VLLM_NO_USAGE_STATS"] == "1"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["VLLM_HOST_IP"] == "127.0.0.1"
    assert environment["VLLM_CPU_OMP_THREADS_BIND"] == str(min(os.sched_getaffinity(0)))
    for name in ("HOME", "TMPDIR", "VLLM_CACHE_ROOT", "VLLM_CONFIG_ROOT", "VLLM_RPC_BASE_PATH"):
        assert Path(environment[name]).is_dir()
        assert Path(environment[name]).is_relative_to(tmp_path)


def test_all_cores_are_used_by_default(tmp_path: Path) -> None:
    runtime = RuntimeFolder(tmp_path)
    runtime.home.mkdir()
    environment = engine_environment(EngineOptions(), on_cpu=True, runtime=runtime)
    assert len(environment["VLLM_CPU_OMP_THREADS_BIND"].split(",")) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("options", [{"max_model_len": 0}, {"kv_cache_gib": 0}, {"threads": -1}, {"threads": 100_000}])
def test_options_are_checked(options: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        EngineOptions(**options)


def test_without_vllm_the_way_on_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise engine_command.PackageNotFoundError(name)

    monkeypatch.setattr(engine_command, "distribution", missing)
    with pytest.raises(ConfigurationError) as caught:
        runs_on_cpu()
    assert "upstream" in caught.value.hint


@pytest.mark.parametrize(("installed", "on_cpu"), [("vllm-cpu", True), ("vllm", False)])
def test_the_build_is_known_by_its_distribution(
    monkeypatch: pytest.MonkeyPatch, installed: str, *, on_cpu: bool
) -> None:
    def find(name: str) -> None:
        if name != installed:
            raise engine_command.PackageNotFoundError(name)

    monkeypatch.setattr(engine_command, "distribution", find)
    assert runs_on_cpu() is on_cpu
