"""How does an answer get the shape of a schema? (`docs/spec/langchain.md` §2)."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, TypeAlias, cast

from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.runnables import RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_function
from langchain_core.utils.pydantic import is_basemodel_subclass

if TYPE_CHECKING:
    from langchain_core.language_models.base import LanguageModelInput
    from langchain_core.messages import AIMessage
    from langchain_core.runnables import Runnable
    from pydantic import BaseModel

    from mitai.langchain.chat_model import ChatMitai

Parser: TypeAlias = (
    "PydanticOutputParser[BaseModel] | JsonOutputParser | PydanticToolsParser | JsonOutputKeyToolsParser"
)

_METHODS = ("json_schema", "function_calling", "json_mode")


def structured(
    model: ChatMitai, schema: dict[str, object] | type, *, method: str, include_raw: bool, strict: bool | None
) -> Runnable[LanguageModelInput, object]:
    """Return `model` with answers of a schema; arguments as for `ChatMitai.with_structured_output`.

    Raises:
        ValueError: There is no such method, or it knows no `strict`.
    """
    if method not in _METHODS:
        raise ValueError(f"method is {method!r}, and must be one of {', '.join(_METHODS)}")
    if method == "json_mode" and strict is not None:
        raise ValueError("json_mode knows no schema, so it cannot be strict")
    told = {"kwargs": {"method": method, "strict": strict}, "schema": convert_to_json_schema(schema)}
    bound: Runnable[LanguageModelInput, AIMessage]
    if method == "function_calling":
        name = convert_to_openai_function(schema)["name"]
        bound = model.bind_tools([schema], tool_choice=name, strict=strict, ls_structured_output_format=told)
        return _parsed(bound, _tool_parser(schema, name), include_raw=include_raw)
    wanted = {"type": "json_object"} if method == "json_mode" else _schema_format(schema, strict)
    bound = model.bind(response_format=wanted, ls_structured_output_format=told)
    return _parsed(bound, _text_parser(schema), include_raw=include_raw)


def _schema_format(schema: dict[str, object] | type, strict: bool | None) -> dict[str, object]:  # noqa: FBT001 - passed on
    function = convert_to_openai_function(schema, strict=strict)
    wanted = {"name": function["name"], "schema": function["parameters"], "description": function.get("description")}
    if strict is not None:
        wanted["strict"] = strict
    return {"type": "json_schema", "json_schema": {name: value for name, value in wanted.items() if value is not None}}


def _text_parser(schema: dict[str, object] | type) -> Parser:
    if _is_model(schema):
        return PydanticOutputParser(pydantic_object=cast("type[BaseModel]", schema))
    return JsonOutputParser()


def _tool_parser(schema: dict[str, object] | type, name: str) -> Parser:
    if _is_model(schema):
        return PydanticToolsParser(tools=[cast("type[BaseModel]", schema)], first_tool_only=True)
    return JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)


def _is_model(schema: dict[str, object] | type) -> bool:
    return isinstance(schema, type) and is_basemodel_subclass(schema)


def _parsed(
    bound: Runnable[LanguageModelInput, AIMessage], parser: Parser, *, include_raw: bool
) -> Runnable[LanguageModelInput, object]:
    if not include_raw:
        return bound | parser
    parse = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    without = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=bound) | parse.with_fallbacks([without], exception_key="parsing_error")
