"""A LangChain chain over an encrypted knowledge base and an attested enclave.

    python examples/langchain_rag.py "How many days of annual leave are there?"

Where the enclave is comes from `MITAI_ENCLAVE`, `MITAI_POLICY` and `MITAI_TOKEN_FILE`, as for `mitai ask`.
Needs `pip install 'mitai[langchain,embed]'`.
"""  # noqa: INP001 - a script, not a package

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from mitai import KnowledgeBase, load_policy
from mitai.langchain import ChatMitai, MitaiRetriever

if TYPE_CHECKING:
    from langchain_core.documents import Document

DOCUMENTS = Path(__file__).parent / "documents"
PROMPT = ChatPromptTemplate.from_template("Answer from these passages:\n\n{passages}\n\nQuestion: {question}")


def quoted(documents: list[Document]) -> str:
    """Return passages word for word, so that the ledger knows them again."""
    return "\n\n".join(document.page_content for document in documents)


def main(question: str) -> None:
    """Ask one question and show the answer, its receipt and what left the device."""
    with TemporaryDirectory() as folder:
        # A passphrase of a person's own in earnest; this knowledge base lives as long as this script.
        with KnowledgeBase.create(Path(folder) / "kb", passphrase=secrets.token_hex()) as kb:
            kb.ingest([DOCUMENTS / "employee-handbook.md", DOCUMENTS / "辦公室租約摘要.txt"])
            model = ChatMitai(
                url=os.environ["MITAI_ENCLAVE"],
                policy=load_policy(Path(os.environ["MITAI_POLICY"])),
                token=Path(os.environ["MITAI_TOKEN_FILE"]).read_text(encoding="utf-8").strip(),
                knowledge_base=kb,
                max_tokens=128,
            )
            passages = MitaiRetriever(knowledge_base=kb, k=2) | RunnableLambda(quoted)
            chain = {"passages": passages, "question": RunnablePassthrough()} | PROMPT | model
            answer = chain.invoke(question)
            told = answer.response_metadata["mitai"]
            (row,) = kb.ledger.list_disclosures()
        sys.stdout.write(f"{answer.text}\n\n")
        kind = "SIMULATED, protects nothing" if told["simulated"] else told["tee"]
        sys.stdout.write(f"measurement {told['measurement'][:16]}… ({kind}), finish {told['receipt']['finish']}\n")
        sys.stdout.write(f"ledger row {row.disclosure_id}: {len(row.passage_ids)} passages, {row.outcome.value}\n")


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "How many days of annual leave are there?")
