"""LangChain's own suites for chat models, against the real sidecar and an engine that answers by rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from mitai.langchain import ChatMitai
from support.evidence_builder import build_enclave

if TYPE_CHECKING:
    from support.sealed_enclave import SealedEnclave

pytestmark = [
    # The suites bind tools made of pydantic v1 models on purpose.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),
    # pytest-benchmark says under xdist that it does not measure; nothing here is timed.
    pytest.mark.filterwarnings("ignore::pytest_benchmark.logger.PytestBenchmarkWarning"),
]


class _Capabilities:
    """What is the same in both suites. What is not listed is on by default: tools, tool choice, structured output."""

    @property
    def chat_model_class(self) -> type[ChatMitai]:
        return ChatMitai

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return False  # an enclave serves one model, the attested one; another name is refused with 404


class TestUnit(_Capabilities, ChatModelUnitTests):
    @property
    def chat_model_params(self) -> dict[str, object]:
        policy = build_enclave().policy()
        return {"url": "http://127.0.0.1:9", "policy": policy, "api_key": "t0ken", "model": "simulated"}


class TestIntegration(_Capabilities, ChatModelIntegrationTests):
    """Images, sound, PDF and Anthropic's blocks stay off: the channel carries text only (`docs/spec/http.md` §4)."""

    @pytest.fixture(autouse=True)
    def _serve(self, enclave: SealedEnclave) -> None:
        self.enclave = enclave

    @property
    def chat_model_params(self) -> dict[str, object]:
        running = self.enclave
        return {"url": running.url, "policy": running.policy, "token": running.token, "model": running.model}
