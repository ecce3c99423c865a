"""What an engine with tools and guided decoding says, by rule: values that fit the schema, taken from the prompt."""

from __future__ import annotations

import json
import re
from typing import cast

Json = dict[str, object]


def reply(request: Json) -> Json:
    """Make the assistant's message: calls where tools are due, JSON where a format is asked for, else text."""
    messages = cast("list[Json]", request["messages"])
    prompt = str(messages[-1].get("content") or "")
    tools = cast("list[Json]", request.get("tools") or [])
    if tool := _due(tools, request.get("tool_choice"), messages):
        function = cast("Json", tool["function"])
        arguments = json.dumps(_value(cast("Json", function["parameters"]), prompt), ensure_ascii=False)
        call = {"id": "call-1", "type": "function", "function": {"name": function["name"], "arguments": arguments}}
        return {"content": None, "tool_calls": [call]}
    wanted = cast("Json", request.get("response_format") or {})
    if wanted.get("type") == "json_schema":
        schema = cast("Json", cast("Json", wanted["json_schema"])["schema"])
        return {"content": json.dumps(_value(schema, prompt), ensure_ascii=False)}
    if wanted.get("type") == "json_object":
        keys = re.findall(r"'(\w+)'", prompt)
        return {"content": json.dumps(dict.fromkeys(keys, "a cat"))}
    return {"content": _until(f"Hello from the enclave, {len(messages)} messages. 你好。", request.get("stop"))}


def _due(tools: list[Json], choice: object, messages: list[Json]) -> Json | None:
    named = cast("Json", choice["function"])["name"] if isinstance(choice, dict) else None
    for tool in tools:
        if cast("Json", tool["function"])["name"] == named:
            return tool
    asked = messages[-1]["role"] == "user" and choice in {None, "auto"}
    return tools[0] if tools and (choice == "required" or asked) else None


def _value(schema: Json, prompt: str) -> object:
    """Return a value of a JSON schema, with numbers and quoted words from the prompt where it has any."""
    kind = schema.get("type")
    if "anyOf" in schema:
        return _value(cast("list[Json]", schema["anyOf"])[0], prompt)
    if kind == "object" or "properties" in schema:
        properties = cast("dict[str, Json]", schema.get("properties") or {})
        return {name: _value(entry, prompt) for name, entry in properties.items()}
    if kind in {"integer", "number"}:
        return int((re.findall(r"\d+", prompt) or ["1"])[0])
    if kind == "array":
        return []
    if kind == "boolean":
        return True
    quoted = re.findall(r"'([^']+)'", prompt)
    return quoted[0] if quoted else "Pirate"


def _until(text: str, stop: object) -> str:
    for end in stop if isinstance(stop, list) else []:
        text = text.split(end, maxsplit=1)[0]
    return text
