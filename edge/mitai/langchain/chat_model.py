"""A chat model of LangChain: one verified enclave through the sealed channel (`docs/spec/langchain.md` §2)."""

from __future__ import annotations

import json
from collections.abc import Callable  # noqa: TC003 - pydantic reads annotations at run time
from typing import TYPE_CHECKING, Final, NoReturn, cast

from langchain_core.caches import BaseCache  # noqa: TC002 - the same
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import AliasChoices, ConfigDict, Field, InstanceOf, PrivateAttr, SecretStr

from mitai.answering.prompt import estimate_tokens
from mitai.disclosure import Outgoing  # noqa: TC001 - the same
from mitai.enclave import DEFAULT_TIMEOUT_SECONDS
from mitai.errors import IncompleteAnswer
from mitai.knowledge_base import KnowledgeBase  # noqa: TC001 - the same
from mitai.langchain.channel import Channel, events, whole
from mitai.langchain.messages import chunk_from_wire, finish_of, from_wire, to_wire, usage_of
from mitai.langchain.recording import Recording
from mitai.langchain.structured import structured
from mitai.langchain.tracing import refuse_tracing
from mitai.transport.event_stream import EventReader
from mitai.transport.wire import run_now
from mitai_crypto.policy import TrustPolicy  # noqa: TC001 - the same

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models.base import LangSmithParams, LanguageModelInput
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.runnables import Runnable

    from mitai.langchain.messages import Json
    from mitai.transport.sending import SealedAnswer

_PROVIDER: Final = "mitai"
_ENGINE_FAILED: Final = "error"  # `finish` of a receipt, `docs/spec/http.md` §5


class ChatMitai(BaseChatModel):
    """A chat model in an attested enclave.

        model = ChatMitai(url="https://enclave.example", policy=load_policy(path), token=token, knowledge_base=kb)
        model.invoke("How long is the notice period?")

    Errors of the channel pass as Mitai's own. Nothing is retried, cached or traced, and the model cannot be pickled.

    Attributes:
        url: Where the enclave answers.
        policy: What it must prove.
        token: The access token; `api_key` is another name for it.
        model: A served name; the attested model if none is given.
        temperature: 0 for the likeliest answer; None leaves it to the engine.
        max_tokens: The longest answer.
        stop: Texts at which an answer ends.
        timeout: Seconds of silence after which an answer counts as broken off.
        knowledge_base: Its ledger is written before anything leaves; None keeps no ledger.
        before_send: Is shown everything before it leaves; if it raises, nothing leaves.
        allow_tracing: Whether LangSmith may be told everything in the clear.

    Raises:
        EnclaveUnreachable: `url` is not a usable address.
        TracingRefused: Tracing is on.
    """

    model_config = ConfigDict(extra="forbid", frozen=False, hide_input_in_errors=True)

    url: str
    policy: InstanceOf[TrustPolicy] = Field(exclude=True, repr=False)
    token: SecretStr = Field(validation_alias=AliasChoices("token", "api_key"), exclude=True, repr=False)
    model: str | None = None
    temperature: float | None = 0.0
    max_tokens: int | None = Field(default=None, ge=1)
    stop: list[str] | None = None
    timeout: float = Field(default=DEFAULT_TIMEOUT_SECONDS, gt=0)
    streaming: bool = False
    max_retries: int = Field(default=0, ge=0, description="For LangChain's sake: a request is never sealed again here.")
    knowledge_base: InstanceOf[KnowledgeBase] | None = Field(default=None, exclude=True, repr=False)
    before_send: Callable[[Outgoing], None] | None = Field(default=None, exclude=True, repr=False)
    allow_tracing: bool = False
    cache: BaseCache | bool | None = Field(default=False, exclude=True)  # a cache of LangChain is plaintext on a disk

    _channel: Channel = PrivateAttr()

    def model_post_init(self, context: object, /) -> None:
        """Prepare the channel; nothing is sent."""
        super().model_post_init(context)
        refuse_tracing(allowed=self.allow_tracing)
        self._channel = Channel(self.url, self.policy, self.token.get_secret_value(), self.timeout)

    def __getstate__(self) -> NoReturn:
        raise TypeError("a ChatMitai holds a token and is never written down")

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Tell LangChain that this is never written down."""
        return False

    @property
    def _llm_type(self) -> str:
        return _PROVIDER

    @property
    def _identifying_params(self) -> dict[str, object]:
        return {"model": self.model, "temperature": self.temperature, "max_tokens": self.max_tokens}

    def get_num_tokens(self, text: str) -> int:
        """Estimate the tokens of a text; the stock way fetches a tokeniser from a hub."""
        return estimate_tokens(text)

    def bind_tools(
        self, tools: Sequence[object], *, tool_choice: str | bool | Json | None = None, **kwargs: object
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return this model with tools that it may call.

        Args:
            tools: Functions, tools, pydantic classes or schemas.
            tool_choice: ``auto``, ``none``, ``any`` (or True), the name of a tool, or OpenAI's object.
            kwargs: Fields of the request; `strict` goes into the tools.
        """
        strict = kwargs.pop("strict", None)
        kwargs["tools"] = [convert_to_openai_tool(tool, strict=cast("bool | None", strict)) for tool in tools]  # type: ignore[arg-type] # any tool that LangChain knows
        if (choice := _tool_choice(tool_choice)) is not None:
            kwargs["tool_choice"] = choice
        return self.bind(**kwargs)

    def with_structured_output(  # type: ignore[override] # names the method where the base takes any keyword
        self,
        schema: dict[str, object] | type,
        *,
        method: str = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
    ) -> Runnable[LanguageModelInput, object]:
        """Return this model with answers of a schema.

        Args:
            schema: A pydantic class, a typed dict or a JSON schema.
            method: ``json_schema`` (the engine can write nothing else), ``function_calling`` or ``json_mode``.
            include_raw: Return `raw`, `parsed` and `parsing_error` instead of raising where parsing fails.
            strict: What the engine is told; its default where None.
        """
        return structured(self, schema, method=method, include_raw=include_raw, strict=strict)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> ChatResult:
        del run_manager  # LangChain itself tells it of a whole answer
        with self._recording() as recording:
            return run_now(self._complete(recording, self._body(messages, stop, kwargs), asynchronous=False))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> ChatResult:
        del run_manager
        with self._recording() as recording:
            return await self._complete(recording, self._body(messages, stop, kwargs), asynchronous=True)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> Iterator[ChatGenerationChunk]:
        del run_manager
        body, sender, parts = self._streamed_body(messages, stop, kwargs), self._channel.sync_sender(), _Parts()
        with self._recording() as recording:
            answer = run_now(self._channel.begin(sender, body, recording))
            try:
                while piece := run_now(answer.read()):
                    yield from parts.feed(piece)
                yield parts.last(answer, body)
            finally:
                run_now(answer.close())

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> AsyncIterator[ChatGenerationChunk]:
        del run_manager
        body, sender, parts = self._streamed_body(messages, stop, kwargs), self._channel.async_sender(), _Parts()
        with self._recording() as recording:
            answer = await self._channel.begin(sender, body, recording)
            try:
                while piece := await answer.read():
                    for chunk in parts.feed(piece):
                        yield chunk
                yield parts.last(answer, body)
            finally:
                await answer.close()

    async def _complete(self, recording: Recording, body: Json, *, asynchronous: bool) -> ChatResult:
        sender = self._channel.async_sender() if asynchronous else self._channel.sync_sender()
        answer = await self._channel.begin(sender, body, recording)
        try:
            message = from_wire(await whole(answer))
        finally:
            await answer.close()
        _refuse_failure(answer)
        message.response_metadata |= metadata_of(answer, body)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _recording(self) -> Recording:
        return Recording(self.knowledge_base, self.before_send)

    def _body(self, messages: list[BaseMessage], stop: list[str] | None, more: dict[str, object]) -> Json:
        told: Json = {
            "model": self.model,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "stop": stop or self.stop or None,
            **more,
        }
        return {name: value for name, value in told.items() if value is not None} | {"messages": to_wire(messages)}

    def _streamed_body(self, messages: list[BaseMessage], stop: list[str] | None, more: dict[str, object]) -> Json:
        more = {name: value for name, value in more.items() if name != "stream_usage"}
        return self._body(messages, stop, more) | {"stream": True, "stream_options": {"include_usage": True}}

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: object) -> dict[str, object]:
        # LangChain asks for these before it tells any tracer of a call: the last moment at which nothing has left.
        refuse_tracing(allowed=self.allow_tracing)
        return super()._get_invocation_params(stop, **kwargs)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: object) -> LangSmithParams:
        params = super()._get_ls_params(stop, **kwargs)
        params["ls_provider"] = _PROVIDER
        params["ls_model_name"] = str(kwargs.get("model") or self.model or "attested")
        return params


class _Parts:
    """What of a stream waits until the stream is proven whole."""

    def __init__(self) -> None:
        self._reader = EventReader()
        self._finish: str | None = None
        self._usage: object = None

    def feed(self, piece: bytes) -> Iterator[ChatGenerationChunk]:
        """Yield the chunks that the next bytes complete."""
        for event in events(self._reader, piece):
            self._usage = event.get("usage") or self._usage
            self._finish = finish_of(event) or self._finish
            if (chunk := chunk_from_wire(event)) is not None:
                yield ChatGenerationChunk(message=chunk)

    def last(self, answer: SealedAnswer, body: Json) -> ChatGenerationChunk:
        """Return what is known once the answer is whole."""
        _refuse_failure(answer)
        told = {"finish_reason": self._finish, **metadata_of(answer, body)}
        usage = usage_of(self._usage)
        message = AIMessageChunk(content="", response_metadata=told, usage_metadata=usage, chunk_position="last")
        return ChatGenerationChunk(message=message)


def metadata_of(answer: SealedAnswer, body: Json) -> dict[str, object]:
    """Return what is told beside a whole answer: model, receipt, measurement, and whether the TEE is simulated."""
    attestation, receipt = answer.attestation, answer.receipt
    return {
        "model_name": body.get("model") or attestation.material.model_name,
        "model_provider": _PROVIDER,
        "mitai": {
            "measurement": attestation.measurement,
            "tee": attestation.tee.value,
            "simulated": attestation.simulated,
            "receipt": None if receipt is None else json.loads(receipt.encode()),
            "signed_receipt": answer.signed_receipt.decode("ascii"),
        },
    }


def _refuse_failure(answer: SealedAnswer) -> None:
    if answer.receipt is None or answer.receipt.finish == _ENGINE_FAILED:
        raise IncompleteAnswer("The engine broke off while it was answering.")


def _tool_choice(choice: str | bool | Json | None) -> str | Json | None:  # noqa: FBT001 - LangChain's own interface
    if choice is None or choice is False:
        return None
    if choice is True or choice == "any":
        return "required"
    if isinstance(choice, str) and choice not in {"auto", "none", "required"}:
        return {"type": "function", "function": {"name": choice}}
    return choice
