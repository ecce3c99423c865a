"""The official OpenAI client, sealed to an attested enclave by one argument: `python examples/openai_client.py`.

`MITAI_ENCLAVE`, `MITAI_POLICY` and `MITAI_TOKEN_FILE` say where it is, what it must prove, and who asks; `env.sh` of
`mitai demo --keep` sets them.
"""  # noqa: INP001 - a script
# ruff: noqa: T201 - an example prints

import asyncio
import os
from pathlib import Path

import openai

import mitai

URL = os.environ["MITAI_ENCLAVE"]
POLICY = mitai.load_policy(os.environ["MITAI_POLICY"])
TOKEN = Path(os.environ["MITAI_TOKEN_FILE"]).read_text(encoding="utf-8").strip()


def chat() -> str:
    """Ask once, whole and streamed; return the model's name."""
    with mitai.sealed_client(URL, policy=POLICY, token=TOKEN) as http_client:
        client = openai.OpenAI(http_client=http_client, api_key="unused")
        model = client.models.list().data[0].id
        answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "你好"}])
        print("whole:   ", answer.choices[0].message.content)
        stream = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Say hello."}], stream=True
        )
        print("streamed:", end=" ")
        for event in stream:  # whole when it ends without an error
            if event.choices:
                print(event.choices[0].delta.content or "", end="", flush=True)
        print()
        return model


async def chat_async(model: str) -> None:
    """Ask asynchronously, streamed."""
    async with mitai.async_sealed_client(URL, policy=POLICY, token=TOKEN) as http_client:
        client = openai.AsyncOpenAI(http_client=http_client, api_key="unused")
        stream = await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "請問今天好嗎？"}], stream=True
        )
        pieces = [event.choices[0].delta.content or "" async for event in stream if event.choices]
        print("async:   ", "".join(pieces))


if __name__ == "__main__":
    asyncio.run(chat_async(chat()))
