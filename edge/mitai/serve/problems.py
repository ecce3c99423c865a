"""What a local client is told when something fails, in the shape of the OpenAI API (`docs/spec/serve.md` §6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse

from mitai import errors

if TYPE_CHECKING:
    from starlette.responses import Response

BAD_REQUEST: Final = 400
INTERNAL: Final = 500
_BAD_GATEWAY: Final = 502
_UNAVAILABLE: Final = 503
NO_RESEND: Final = {"x-should-retry": "false"}  # the official clients obey it


class Problem(Exception):
    """A request that is answered with an error.

    Args:
        status: The HTTP status.
        code: A constant of `docs/spec/serve.md`.
        message: What happened; never text of a request.
        param: The member of the body that is wrong.
        hint: What to do about it.
        headers: Fields of the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        hint: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status: Final = status
        self.code: Final = code
        self.param: Final = param
        self.hint: Final = hint
        self.headers: Final = headers or {}

    def document(self) -> dict[str, object]:
        """Return the error's JSON."""
        kind = "invalid_request_error" if self.status < INTERNAL else "server_error"
        error = {"message": str(self), "type": kind, "param": self.param, "code": self.code, "hint": self.hint}
        return {"error": error}

    def response(self) -> Response:
        """Return the error as an answer."""
        return JSONResponse(self.document(), self.status, self.headers)


def bad_value(message: str, param: str, *, code: str = "invalid_value") -> Problem:
    """Return the problem of a member of the body."""
    return Problem(BAD_REQUEST, code, message, param=param)


_BY_ERROR: Final[tuple[tuple[type[errors.MitaiError], int, str, dict[str, str]], ...]] = (
    (errors.VerificationFailed, _BAD_GATEWAY, "enclave_not_verified", NO_RESEND),
    (errors.AttestationError, _BAD_GATEWAY, "enclave_not_verified", NO_RESEND),
    (errors.DeliveryUnknown, _BAD_GATEWAY, "delivery_unknown", NO_RESEND),
    (errors.EnclaveUnreachable, _UNAVAILABLE, "enclave_unreachable", {}),
    (errors.PlaintextRefused, _BAD_GATEWAY, "answer_not_sealed", NO_RESEND),
    (errors.IncompleteAnswer, _BAD_GATEWAY, "incomplete_answer", NO_RESEND),
    (errors.ContextTooLong, BAD_REQUEST, "context_length_exceeded", {}),
    (errors.MessageTooLarge, 413, "request_too_large", {}),
    (errors.BhttpError, BAD_REQUEST, "invalid_request", {}),
    (errors.ChannelError, _BAD_GATEWAY, "channel_failed", NO_RESEND),
    (errors.ReceiptError, _BAD_GATEWAY, "incomplete_answer", NO_RESEND),
    (errors.KnowledgeBaseBusy, _UNAVAILABLE, "knowledge_base_busy", {}),
    (errors.KnowledgeBaseError, INTERNAL, "knowledge_base_failed", NO_RESEND),
    (errors.ModelError, INTERNAL, "knowledge_base_failed", NO_RESEND),
)


def problem_of(error: errors.MitaiError) -> Problem:
    """Return what a local client is told of an error of ours: the first class in the table that it belongs to."""
    if isinstance(error, errors.EnclaveRefused):
        return Problem(error.status, "enclave_refused", str(error), hint=error.hint)
    for kind, status, code, headers in _BY_ERROR:
        if isinstance(error, kind):
            return Problem(status, code, str(error), hint=error.hint, headers=dict(headers))
    return internal_problem()


def internal_problem() -> Problem:
    """Return the problem for what should not happen; its cause is not told, for it could quote a request."""
    return Problem(INTERNAL, "internal_error", "The local endpoint failed.", headers=dict(NO_RESEND))
