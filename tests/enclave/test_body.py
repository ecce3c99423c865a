from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from mitai_enclave.body import parse_body, wants_stream, write_body
from mitai_enclave.errors import RequestRefused
from mitai_enclave.routes import find_route

if TYPE_CHECKING:
    from mitai_enclave.routes import Route

CHAT = find_route(b"POST", b"/v1/chat/completions")
COMPLETIONS = find_route(b"POST", b"/v1/completions")
EMBEDDINGS = find_route(b"POST", b"/v1/embeddings")


def chat(**fields: object) -> bytes:
    document = {"model": "m", "messages": [{"role": "user", "content": "問題"}], **fields}
    return json.dumps(document).encode()


def refusal(content: bytes, route: Route = CHAT) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        parse_body(route, content, max_bytes=10_000, model="m")
    return caught.value


@pytest.mark.parametrize(
    "field",
    [
        "cache_salt", "chat_template", "chat_template_kwargs", "documents", "kv_transfer_params",
        "ec_transfer_params", "priority", "request_id", "session_id", "mm_processor_kwargs", "media_io_kwargs",
        "vllm_xargs", "structured_outputs", "prompt_embeds", "truncate_prompt_tokens", "add_generation_prompt",
        "continue_final_message", "prompt_logprobs", "return_token_ids", "use_beam_search", "store",
        "logits_processors", "best_of", "Model", "messages ", "__proto__",
    ],
)  # fmt: skip
def test_threat_44_fields_that_open_doors_are_refused_by_name(field: str) -> None:
    found = refusal(chat(**{field: "x"}))
    assert (found.status, found.code, found.param) == (400, "unsupported_parameter", field)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "http://example.com/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "video_url", "video_url": {"url": "file:///etc/passwd"}},
        {"type": "audio_url", "audio_url": {"url": "http://169.254.169.254/"}},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
        {"image_url": "http://example.com/a.png"},
        {"type": "text", "text": "x", "image_url": "http://example.com"},
        {"type": "text", "text": 1},
        {"type": "file", "file": {"file_id": "1"}},
        "text",
        None,
    ],
)
def test_threat_44_media_parts_are_refused(part: object) -> None:
    content = json.dumps({"model": "m", "messages": [{"role": "user", "content": [part]}]}).encode()
    assert refusal(content).param == "messages[0].content[0]"


def test_text_parts_tools_and_formats_pass() -> None:
    content = json.dumps(
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "請用繁體中文"}]},
                {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
                {"role": "tool", "tool_call_id": "1", "content": "14"},
            ],
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}},
            "temperature": 0.2,
            "tools": [],
            "n": 1,
        }
    ).encode()
    assert parse_body(CHAT, content, max_bytes=10_000, model="m")["temperature"] == 0.2


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"stream": "yes"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"continuous_usage_stats": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"n": True}, "n"),
        ({"n": "1"}, "n"),
        ({"response_format": {"type": "structural_tag"}}, "response_format"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {}}, "response_format"),
    ],
)
def test_values_are_checked(fields: dict[str, object], param: str) -> None:
    found = refusal(chat(**fields))
    assert (found.status, found.code, found.param) == (400, "invalid_value", param)


def test_a_message_field_that_is_not_known_is_refused() -> None:
    content = chat(messages=[{"role": "user", "content": "x", "prefix": True}])
    assert refusal(content).param == "messages[0].prefix"


@pytest.mark.parametrize("model", ["other", "", None, 1, "M", ["m"]])
def test_another_model_is_refused_before_the_engine_could_log_it(model: object) -> None:
    found = refusal(chat(model=model))
    assert (found.status, found.code, found.param) == (404, "model_not_found", "model")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b'{"model":"m","model":"m"}',
        b'{"model":NaN}',
        b'{"model":"m","temperature":1e999}',
        b'{"model":"\\ud800"}',
        b"\xff\xfe",
        b'{"model":' + b"[" * 2000 + b"]" * 2000 + b"}",
        b'{"model":"m"} x',
        b'{"model":"' + b"m" * 10_000 + b'"}',
    ],
)
def test_what_is_no_strict_json_object_is_refused(content: bytes) -> None:
    found = refusal(content)
    assert (found.status, found.code) == (400, "invalid_json")


def test_the_engine_gets_a_new_document() -> None:
    body = parse_body(CHAT, chat(stream=True, user="someone", top_p=0.5), max_bytes=10_000, model="m")
    assert wants_stream(body)
    written = json.loads(write_body(body, "salt"))
    assert written["cache_salt"] == "salt"
    assert written["stream_options"] == {"include_usage": True}
    assert "user" not in written
    assert written["messages"] == [{"role": "user", "content": "問題"}]
    assert written["top_p"] == 0.5
    assert "cache_salt" not in body


def test_without_a_stream_there_are_no_stream_options() -> None:
    body = parse_body(CHAT, chat(stream=False, stream_options=None), max_bytes=10_000, model="m")
    written = json.loads(write_body(body, "salt"))
    assert "stream_options" not in written
    assert not wants_stream(body)


@pytest.mark.parametrize("kind", [[], {}, ["text"], {"text": 1}, 1, None, True])
def test_threat_44_a_response_format_whose_type_is_no_text_is_refused(kind: object) -> None:
    found = refusal(chat(response_format={"type": kind}))
    assert (found.status, found.code, found.param) == (400, "invalid_value", "response_format")


_MEDIA = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}]}


@pytest.mark.parametrize(("route", "name"), [(COMPLETIONS, "prompt"), (EMBEDDINGS, "input")])
@pytest.mark.parametrize(
    "value",
    [None, 1, True, 1.5, {}, _MEDIA, [_MEDIA], ["x", _MEDIA], ["x", 1], [1, [1]], [True], [1.5], [["x"]], [[[1]]]],
)
def test_threat_44_only_text_and_tokens_are_an_input(route: Route, name: str, value: object) -> None:
    found = refusal(json.dumps({"model": "m", name: value}).encode(), route)
    assert (found.status, found.code, found.param) == (400, "invalid_value", name)


@pytest.mark.parametrize(("route", "name"), [(COMPLETIONS, "prompt"), (EMBEDDINGS, "input")])
@pytest.mark.parametrize("value", ["密态", ["a", "b"], [1, 2], [[1], [2, 3]]])
def test_text_and_tokens_pass(route: Route, name: str, value: object) -> None:
    content = json.dumps({"model": "m", name: value}).encode()
    assert parse_body(route, content, max_bytes=100, model="m")[name] == value


def test_a_missing_input_is_refused() -> None:
    assert refusal(b'{"model":"m"}', EMBEDDINGS).param == "input"
    assert refusal(b'{"model":"m"}', COMPLETIONS).param == "prompt"


def test_threat_19_completions_and_embeddings_are_salted() -> None:
    body = parse_body(COMPLETIONS, b'{"model":"m","prompt":"x"}', max_bytes=100, model="m")
    assert json.loads(write_body(body, "s"))["cache_salt"] == "s"
    body = parse_body(EMBEDDINGS, b'{"model":"m","input":"x"}', max_bytes=100, model="m")
    assert json.loads(write_body(body, "s"))["cache_salt"] == "s"
    assert refusal(b'{"model":"m","input":"x","stream":true}', EMBEDDINGS).param == "stream"


def test_threat_20_a_field_that_ends_the_engine_is_refused() -> None:
    with pytest.raises(RequestRefused) as caught:
        parse_body(CHAT, chat(seed=7), max_bytes=10_000, model="m", harmful=("seed",))
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "seed")
    assert parse_body(CHAT, chat(seed=7), max_bytes=10_000, model="m")["seed"] == 7
