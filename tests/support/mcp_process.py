"""The real MCP server as a process of its own, with an embedder that needs no model on disk.

What `mitai mcp` runs after it has read its options: `python -m support.mcp_process URL POLICY NAME=KB…`.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

from mitai.cli.mcp import _log_to_stderr
from mitai.enclave import EnclaveClient
from mitai.knowledge_base import KnowledgeBase
from mitai.mcp import serve
from mitai.policy_file import load_policy
from support.embedder import HashingEmbedder
from support.knowledge_bases import PASSPHRASE
from support.sealed_client import TOKEN


def main(url: str, policy: str, *names: str) -> None:
    _log_to_stderr()
    with ExitStack() as stack:
        bases = {
            Path(path).name: stack.enter_context(
                KnowledgeBase.open(Path(path), passphrase=PASSPHRASE, embedder=HashingEmbedder())
            )
            for path in names
        }
        client = stack.enter_context(EnclaveClient(url, policy=load_policy(Path(policy)), token=TOKEN))
        serve(bases, client, max_tokens=64)


if __name__ == "__main__":
    main(*sys.argv[1:])
