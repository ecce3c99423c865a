"""The enclave's branch of the error tree.

MitaiError
└── EnclaveError
    ├── ConfigurationError      an option or a file that the operator gave cannot be used
    ├── ModelUnavailable        the model's files cannot be found, fetched or read
    ├── ModelChanged            the private copy of the model is not what the evidence names
    ├── EngineStartFailed       the engine did not become healthy; carries its last output
    ├── EngineError             one exchange with the engine went wrong
    │   ├── EngineUnreachable   no connection, so nothing was executed
    │   ├── EngineBroke         the connection broke or spoke no HTTP
    │   ├── EngineTimeout       the engine stayed silent for too long
    │   └── AnswerTooLarge      the engine's answer is over its cap
    ├── ChannelBroken           keeper or worker said something that the other does not accept
    ├── WorkerStartFailed       no worker process became ready
    ├── ClientGone              the client closed its connection
    ├── KeyExpired              the key that opened a request is gone
    ├── PublicRefusal           a request is refused in the clear (`mitai_enclave.problems`)
    └── RequestRefused          an opened request is refused; becomes a sealed answer
"""

from __future__ import annotations

from typing import ClassVar

from mitai_crypto.errors import MitaiError


class EnclaveError(MitaiError):
    """The base of the enclave's errors."""


class ConfigurationError(EnclaveError):
    """An option or a file that the operator gave cannot be used."""


class ModelUnavailable(EnclaveError):
    """The model's files cannot be found, fetched or read."""

    default_hint = "Give --model a folder with a Hugging Face model (config.json, tokenizer, *.safetensors)."


class ModelChanged(EnclaveError):
    """The private copy of the model no longer has the digest that the evidence names."""

    default_hint = "Something wrote into the runtime folder. Find out what before serving from this machine again."


class EngineStartFailed(EnclaveError):
    """The engine did not become healthy.

    Attributes:
        output: The engine's last output lines of this start. It had served no request, so they hold none.
    """

    default_hint = "The engine's last output is above."

    def __init__(self, message: str, *, output: tuple[str, ...] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.output = output


class EngineError(EnclaveError):
    """One exchange with the engine went wrong."""


class EngineUnreachable(EngineError):
    """There is no connection to the engine, so nothing was executed."""


class EngineBroke(EngineError):
    """The connection to the engine broke, or what came over it is no HTTP answer."""


class EngineTimeout(EngineError):
    """The engine stayed silent for too long."""


class AnswerTooLarge(EngineError):
    """The engine's answer is over its cap."""


class ChannelBroken(EnclaveError):
    """What came over the channel between keeper and worker is no message of `docs/spec/replicas.md` §3."""


class WorkerStartFailed(EnclaveError):
    """The worker processes did not become ready in time."""

    default_hint = "The workers' own events are in the log above."


class ClientGone(EnclaveError):
    """The client closed its connection before its answer was complete."""


class KeyExpired(EnclaveError):
    """The key that opened a request was dropped while its body was read."""


class RequestRefused(EnclaveError):
    """An opened request is refused. The texts travel sealed and are never logged.

    Attributes:
        status: HTTP status of the sealed answer.
        code: Machine-readable reason, one of `docs/spec/http.md` §5.
        param: The field at fault, where there is one.
    """

    SERVER_ERROR: ClassVar[int] = 500

    def __init__(self, status: int, code: str, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param

    @property
    def kind(self) -> str:
        """The `type` member of OpenAI's error shape."""
        return "server_error" if self.status >= self.SERVER_ERROR else "invalid_request_error"
