from __future__ import annotations

import json

import pytest

from mitai_crypto.labels import PROBLEM_OHTTP_KEY
from mitai_enclave import problems
from mitai_enclave.problems import Problem

ALL = [value for value in vars(problems).values() if isinstance(value, Problem)]


async def sent(problem: Problem) -> tuple[dict[str, object], bytes]:
    messages: list[dict[str, object]] = []

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        messages.append(message)

    await problem.send(send)
    start, body = messages
    assert isinstance(body["body"], bytes)
    return start, body["body"]


@pytest.mark.parametrize("problem", ALL, ids=lambda problem: f"{problem.status}-{problem.title[:20]}")
async def test_every_problem_is_a_constant_document(problem: Problem) -> None:
    start, body = await sent(problem)
    assert (await sent(problem)) == (start, body)
    assert start["status"] == problem.status
    assert json.loads(body) == {"type": problem.kind, "title": problem.title}
    headers = start["headers"]
    assert isinstance(headers, list)
    assert (b"cache-control", b"no-store") in headers
    assert (b"content-type", b"application/problem+json") in headers
    assert (b"content-length", str(len(body)).encode()) in headers


def test_only_the_constant_400_names_the_key() -> None:
    assert [problem.status for problem in ALL if problem.kind == PROBLEM_OHTTP_KEY] == [400]
