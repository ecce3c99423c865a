"""The routes of the local endpoint (`docs/spec/serve.md` §2)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from mitai.answering.answer import DEFAULT_PASSAGES
from mitai.errors import MitaiError
from mitai.serve.access import HEALTH_PATH, Access
from mitai.serve.forward import Forwarder
from mitai.serve.guard import Guard
from mitai.serve.knowledge import PREFIX, KnowledgeBases
from mitai.serve.problems import Problem, bad_value, internal_problem, problem_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from mitai.answering.answer import Corpus, Ledger
    from mitai.serve.log import ServeLog
    from mitai.serve.upstream import Upstream

_OK: Final = 200
_NOT_ALLOWED: Final = 405


@dataclass(frozen=True)
class Endpoint:
    """What one endpoint serves, and to whom.

    Attributes:
        upstream: The enclave.
        token: What local clients must show; None asks for nothing.
        hosts: What a `host` field may say.
        corpora: Knowledge bases by name.
        ledger: Records plain requests.
        passages: How many passages to retrieve for a question.
    """

    upstream: Upstream
    token: str | None = field(repr=False)
    hosts: frozenset[bytes] = frozenset()
    corpora: Mapping[str, Corpus] = field(default_factory=dict)
    ledger: Ledger | None = None
    passages: int = DEFAULT_PASSAGES


def build_app(endpoint: Endpoint, log: ServeLog) -> Guard:
    """Return the ASGI application of an endpoint; it answers nothing that its guard does not let through."""
    routes = _Routes(endpoint)
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", routes.chat, methods=["POST"]),
            Route("/v1/completions", routes.plain, methods=["POST"]),
            Route("/v1/embeddings", routes.plain, methods=["POST"]),
            Route("/v1/models", routes.models, methods=["GET"]),
            Route(HEALTH_PATH, routes.health, methods=["GET"]),
        ],
        exception_handlers={
            HTTPException: _http_error,
            MitaiError: _our_error,
            Problem: _problem,
            Exception: _internal,
        },
    )
    app.router.redirect_slashes = False
    return Guard(app, Access(hosts=endpoint.hosts, token=endpoint.token), log, endpoint.upstream.attested)


class _Routes:
    def __init__(self, endpoint: Endpoint) -> None:
        self._upstream = endpoint.upstream
        self._forward = Forwarder(endpoint.upstream, endpoint.ledger)
        self._knowledge = KnowledgeBases(endpoint.corpora, endpoint.upstream.client, passages=endpoint.passages)

    async def chat(self, request: Request) -> Response:
        body = await _json_body(request)
        if not str(body["model"]).startswith(PREFIX):
            return await self._forward.post(request)
        request.scope["state"]["kind"] = "kb"
        return await self._knowledge.chat(body)

    async def plain(self, request: Request) -> Response:
        body = await _json_body(request)
        if str(body["model"]).startswith(PREFIX):
            raise bad_value("A knowledge base answers chat completions only.", "model")
        return await self._forward.post(request)

    async def models(self, request: Request) -> Response:
        _refuse_query(request)
        answer = await self._forward.models(request)
        if answer.status_code != _OK or not self._knowledge.models:
            return answer
        listed = json.loads(bytes(answer.body))
        own = [{"id": name, "object": "model", "created": 0, "owned_by": "mitai"} for name in self._knowledge.models]
        headers = {name: value for name, value in answer.headers.items() if name.startswith("mitai-")}
        return JSONResponse({**listed, "data": [*listed["data"], *own]}, headers=headers)

    async def health(self, request: Request) -> Response:
        del request
        return JSONResponse({"status": "ok", "tee": self._upstream.attested()["mitai-tee"]})


async def _json_body(request: Request) -> dict[str, object]:
    """Return the JSON of a POST; the bytes themselves are what is passed on.

    Raises:
        Problem: It is no JSON object with a model's name.
    """
    _refuse_query(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" or request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "unsupported_media_type", "The body must be JSON: content-type application/json, not coded.")
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise Problem(400, "invalid_json", "The body is not JSON.") from None
    if not isinstance(body, dict):
        raise Problem(400, "invalid_json", "The body is not a JSON object.")
    if not isinstance(body.get("model"), str):
        raise bad_value("model must be the name of a model; GET /v1/models lists them.", "model")
    return body


def _refuse_query(request: Request) -> None:
    if request.scope["query_string"]:
        raise Problem(404, "unknown_url", "There is no such route: no route has a query.")


async def _http_error(request: Request, error: Exception) -> Response:
    del request
    status = error.status_code if isinstance(error, HTTPException) else _NOT_ALLOWED
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if status == _NOT_ALLOWED:
        return Problem(status, "method_not_allowed", "This route has another method.", headers=headers).response()
    return Problem(404, "unknown_url", "There is no such route.", hint="base_url ends in /v1.").response()


async def _our_error(request: Request, error: Exception) -> Response:
    del request
    if not isinstance(error, MitaiError):
        raise error
    return problem_of(error).response()


async def _internal(request: Request, error: Exception) -> Response:
    del request, error  # the guard logs its class
    return internal_problem().response()


async def _problem(request: Request, error: Exception) -> Response:
    del request
    if not isinstance(error, Problem):
        raise error
    return error.response()
