"""Texts of a program in an encrypted knowledge base, through LangChain: `python examples/vector_store.py`.

Nothing leaves the device. Needs `pip install 'mitai[langchain,embed]'`.
"""  # noqa: INP001 - a script, not a package

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from mitai import KnowledgeBase
from mitai.langchain import MitaiVectorStore

NOTES = {
    "lease/7": (
        "The office lease ends on 30 June; notice is due six months earlier.",
        {"source": "lease", "year": 2026},
    ),
    "报销/3": ("差旅报销须在返回后十个工作日内提交。", {"source": "报销制度", "year": 2026}),
    "保固/1": ("本產品的保固期限為三十個月，自交付之日起計算。", {"source": "保固條款", "year": 2025}),
}
QUESTIONS = ("When does the lease end?", "报销要在几天内提交？", "保固期限多長？")


def main() -> None:
    """Add, find, replace and remove."""
    # A passphrase of a person's own in earnest; this knowledge base lives as long as this script.
    with (
        TemporaryDirectory() as folder,
        KnowledgeBase.create(Path(folder) / "notes", passphrase=secrets.token_hex()) as kb,
    ):
        store = MitaiVectorStore(kb)
        texts, metadatas = [text for text, _ in NOTES.values()], [told for _, told in NOTES.values()]
        store.add_texts(texts, metadatas, ids=list(NOTES))
        for question in QUESTIONS:
            ((found, cosine),) = store.similarity_search_with_score(question, k=1)
            sys.stdout.write(
                f"{question}\n  {found.id} ({cosine:.2f}) {found.metadata['source']}: {found.page_content}\n"
            )
        store.add_texts(["The office lease was prolonged to 31 December."], [{"source": "lease"}], ids=["lease/7"])
        store.delete(["报销/3", "保固/1"])
        (left,) = store.get_by_ids(list(NOTES))
        sys.stdout.write(f"left: {left.id}: {left.page_content}\n")


if __name__ == "__main__":
    main()
