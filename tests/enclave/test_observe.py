from __future__ import annotations

import json

import pytest

from mitai_crypto.receipt import Usage
from mitai_enclave.observe import Observer


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields, ensure_ascii=False).encode() + b"\n\n"


STREAM = (
    event(choices=[{"index": 0, "delta": {"content": "十四天 \n\ndata: {"}, "finish_reason": None}])
    + event(choices=[{"index": 1, "delta": {}, "finish_reason": "length"}])
    + event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
    + event(choices=[], usage={"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11})
    + b"data: [DONE]\n\n"
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_wherever_the_stream_is_cut_the_result_is_the_same(size: int) -> None:
    observer = Observer()
    for start in range(0, len(STREAM), size):
        observer.feed_events(STREAM[start : start + size])
    assert observer.finish == "stop"
    assert observer.usage == Usage(5, 6)


def test_an_error_event_wins() -> None:
    observer = Observer()
    observer.feed_events(event(choices=[{"index": 0, "finish_reason": "stop"}]) + event(error={"message": "x"}))
    assert observer.finish == "error"


@pytest.mark.parametrize(
    "text",
    [
        b"data: \n", b": comment\n", b"event: x\n", b"data: 1\n", b"data: []\n", b"data: {\n", b"\n\n",
        b'data: {"choices":1}\n', b'data: {"choices":[1]}\n', b'data: {"choices":[{"finish_reason":1}]}\n',
        b'data: {"choices":[{"finish_reason":"A B"}]}\n', b'data: {"choices":[{"finish_reason":""}]}\n',
        b'data: {"usage":{"prompt_tokens":-1}}\n', b'data: {"usage":{"prompt_tokens":true}}\n',
        b'data: {"usage":{"prompt_tokens":1e400}}\n', b"data: " + b"[" * 100_000 + b"\n",
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_passed_over(text: bytes) -> None:
    observer = Observer()
    observer.feed_events(text)
    assert observer.finish is None
    assert observer.usage is None


def test_an_endless_line_is_not_kept_and_later_events_count() -> None:
    observer = Observer()
    observer.feed_events(b"data: " + b"x" * 1_100_000)
    observer.feed_events(b"y" * 10)
    assert len(observer._tail) < 100
    observer.feed_events(b"\n" + event(choices=[{"index": 0, "finish_reason": "stop"}]))
    assert observer.finish == "stop"


def test_a_whole_document() -> None:
    observer = Observer()
    observer.feed_document(b'{"choices":[{"index":0,"finish_reason":"length"}],"usage":{"prompt_tokens":4}}')
    assert (observer.finish, observer.usage) == ("length", Usage(4, 0))
