"""What does the operator choose, and which of it is attested?

`Settings` is everything; `configuration_digest` covers what changes how requests are treated
(`docs/spec/http.md` §10).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

from mitai_crypto.labels import (
    MAX_KEY_LIFETIME_SECONDS,
    MAX_NAME_CHARACTERS,
    MAX_REQUEST_BYTES,
    MAX_RESPONSE_BYTES,
)
from mitai_crypto.policy import KeySuite
from mitai_crypto.strict_json import encode_canonical
from mitai_enclave.engine_command import HARMFUL_ON_CPU, EngineOptions, behaviour, runs_on_cpu
from mitai_enclave.errors import ConfigurationError
from mitai_enclave.tee.select import TeeChoice

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mitai_crypto.kem import Kem
    from mitai_crypto.policy import EngineKind
    from mitai_crypto.strict_json import JsonObject
    from mitai_enclave.address import EngineAddress
    from mitai_enclave.tokens import TokenTable

CONFIGURATION_VERSION: Final = 1
DEFAULT_SUITES: Final = (KeySuite.MLKEM768_X25519, KeySuite.X25519)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*")
_MAX_PORT: Final = 65_535
_MAX_WORKERS: Final = 64
_PREFIX: Final = re.compile("[0-9a-f]{0,2}")  # each digit makes a key sixteen times dearer


@dataclass(frozen=True, slots=True)
class Limits:
    """Every cap of `docs/spec/http.md` §8, by its name in the configuration digest.

    Attributes:
        request_bytes: A whole sealed request.
        request_seconds: To read one.
        send_seconds: That a client may leave an answer unread, once every buffer is full.
        reading: Requests that are being read at one time.
        running: Requests that are at the engine at one time.
        engine_silence_seconds: Without a byte from the engine.
        collected_bytes: An answer that is not streamed.
        response_bytes: An answer in all.
        replay_capacity: Admitted requests of one epoch.
        attestations_per_second: Evidence requests, on average.
        attestations_burst: Evidence requests at once.
        rotation_seconds: That a key is current.
    """

    request_bytes: int = MAX_REQUEST_BYTES
    request_seconds: int = 30
    send_seconds: int = 60
    reading: int = 64
    running: int = 256
    engine_silence_seconds: int = 600
    collected_bytes: int = 16 * 1024 * 1024
    response_bytes: int = MAX_RESPONSE_BYTES
    replay_capacity: int = 262_144
    attestations_per_second: int = 20
    attestations_burst: int = 40
    rotation_seconds: int = MAX_KEY_LIFETIME_SECONDS // 2

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise ConfigurationError(f"The limit {name} must be at least 1.")
        if self.rotation_seconds > MAX_KEY_LIFETIME_SECONDS // 2:
            raise ConfigurationError(
                f"Keys must rotate at least every {MAX_KEY_LIFETIME_SECONDS // 2} seconds.",
                hint="A key opens for one further rotation, and no device accepts a lifetime over two hours.",
            )
        if self.request_bytes > MAX_REQUEST_BYTES or self.response_bytes > MAX_RESPONSE_BYTES:
            raise ConfigurationError("A limit is larger than the protocol allows.")


@dataclass(frozen=True, slots=True)
class Settings:
    """One start of the sidecar.

    Attributes:
        served_name: The model name that requests carry.
        tokens: Who may ask.
        model: Folder or hub id of the model; None with `upstream`.
        upstream: Another engine in the same TEE; None for our own.
        tee: Where quotes come from.
        engine: The operator's choices about our own engine.
        limits: The caps.
        suites: The key suites on offer, the preferred first.
        host: Where the gateway listens; the metrics listener is always on loopback.
        port: The gateway's port; 0 for any.
        metrics_port: The same for the metrics listener.
        otlp: OTLP/HTTP collector in the same TEE that gets traces; None for no traces.
        runtime_dir: Parent of the private folder; None for one in memory.
        workers: Processes that serve requests; 1 for this one alone.
        key_prefix: What this replica's key fingerprints begin with, in hex digits.
    """

    served_name: str
    tokens: TokenTable = field(repr=False)
    model: str | None = None
    upstream: EngineAddress | None = None
    tee: TeeChoice = TeeChoice.AUTO
    engine: EngineOptions = field(default_factory=EngineOptions)
    limits: Limits = field(default_factory=Limits)
    suites: tuple[KeySuite, ...] = DEFAULT_SUITES
    host: str = "127.0.0.1"
    port: int = 0
    metrics_port: int = 0
    otlp: str | None = None
    runtime_dir: Path | None = None
    workers: int = 1
    key_prefix: str = ""

    def __post_init__(self) -> None:
        if (self.model is None) == (self.upstream is None):
            raise ConfigurationError("Give either --model or --upstream.")
        if not _NAME.fullmatch(self.served_name) or len(self.served_name) > MAX_NAME_CHARACTERS:
            raise ConfigurationError("The served name is letters, digits and . _ : / @ + - only.")
        if not self.suites or len(set(self.suites)) != len(self.suites):
            raise ConfigurationError("Name at least one key suite, each once.")
        if not all(0 <= port <= _MAX_PORT for port in (self.port, self.metrics_port)):
            raise ConfigurationError("A port is a number from 0 to 65535.")
        if not 1 <= self.workers <= _MAX_WORKERS:
            raise ConfigurationError(f"--workers is a number from 1 to {_MAX_WORKERS}.")
        if not _PREFIX.fullmatch(self.key_prefix):
            raise ConfigurationError("--key-prefix is 1 or 2 lower-case hex digits.")

    @property
    def engine_kind(self) -> EngineKind:
        """What evidence says of the engine."""
        return "vllm" if self.upstream is None else "external"

    @property
    def harmful_fields(self) -> tuple[str, ...]:
        """Body fields that our own engine does not bear on this machine."""
        return HARMFUL_ON_CPU if self.upstream is None and runs_on_cpu() else ()

    @property
    def kems(self) -> tuple[Kem, ...]:
        """The key encapsulations of `suites`."""
        return tuple(suite.kem for suite in self.suites)


def parse_suites(names: Iterable[str]) -> tuple[KeySuite, ...]:
    """Parse the values of `--suite`.

    Raises:
        ConfigurationError: A name is not known.
    """
    try:
        return tuple(KeySuite(name) for name in names)
    except ValueError:
        raise ConfigurationError(f"--suite is one of {', '.join(KeySuite)}.") from None


def describe_configuration(settings: Settings) -> JsonObject:
    """Return the object whose canonical JSON is hashed; hold two of them side by side to see what differs."""
    arguments: list[str] = []
    environment: dict[str, str] = {}
    if settings.upstream is None:
        arguments, environment = behaviour(settings.engine, on_cpu=runs_on_cpu())
    return {
        "v": CONFIGURATION_VERSION,
        "served_name": settings.served_name,
        "engine": settings.engine_kind,
        "upstream_kind": None if settings.upstream is None else settings.upstream.kind,
        "engine_arguments": list(arguments),
        "engine_environment": dict(environment),
        "suites": [suite.value for suite in settings.suites],
        "limits": asdict(settings.limits),
        "traced": settings.otlp is not None,
        "harmful_fields": list(settings.harmful_fields),
        "tokens": [dict(entry) for entry in settings.tokens.describe()],
    }


def configuration_digest(settings: Settings) -> str:
    """Return the configuration digest, hex."""
    return hashlib.sha256(encode_canonical(describe_configuration(settings))).hexdigest()
