"""What tests of the knowledge base share: values made directly, cheap parameters, and pages decrypted by hand."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from mitai.disclosure import Outgoing
from mitai.formats import PAGE_SIZE
from mitai.keyslots.passphrase import Argon2Parameters
from mitai_crypto.saved_evidence import SavedEvidence
from mitai_ingest.document import Block, Document, Passage
from support.embedder import HashingEmbedder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mitai.storage.records import Change
    from mitai.storage.store import Store

CHEAP = Argon2Parameters()  # the floor
PASSPHRASE = "正確的密碼 correct horse"

_SALT = 16
_IV = 16
_HMAC = 32


def document(path: str | Path, text: str, *, title: str | None = None, heading: str = "") -> Document:
    """Make a document whose lines are paragraphs."""
    path = Path(path)
    heading_path = (heading,) if heading else ()
    blocks, at = [], 0
    for line in text.split("\n"):
        if line.strip():
            blocks.append(Block("paragraph", at, at + len(line), heading_path, None))
        at += len(line) + 1
    digest = hashlib.sha256(text.encode()).digest()
    return Document(path, "text/plain", path.stem if title is None else title, text, tuple(blocks), digest)


def passages(made: Document) -> list[Passage]:
    """Cut a document of `document` into one passage a line."""
    return [
        Passage(number, made.text[block.start : block.end], block.start, block.end, block.heading_path, None, 5)
        for number, block in enumerate(made.blocks)
    ]


def put(store: Store, made: Document, embedder: HashingEmbedder | None = None) -> Change:
    """Store a document of `document` with vectors of a `HashingEmbedder`."""
    embedder = embedder or HashingEmbedder()
    cut = passages(made)
    vectors = embedder.embed_passages([passage.text for passage in cut])
    return store.put_document(made, cut, vectors, model_id=embedder.model_id)


def outgoing(**changes: object) -> Outgoing:
    """Make what leaves the device, with some values changed."""
    values: dict[str, object] = {
        "time": 1_800_000_000,
        "url": "http://127.0.0.1:8000",
        "measurement": "ab" * 32,
        "tee": "simulated",
        "simulated": True,
        "policy_name": "demo",
        "policy_digest": "cd" * 32,
        "request_digest": "ef" * 32,
        "attempt": 1,
        "crypto_material": "12" * 32,
        "evidence": SavedEvidence("http://127.0.0.1:8000", 1_799_999_000, bytes(range(32)), b'{"v": 1}'),
        "text": '{"messages": [{"role": "user", "content": "租约何时到期？ The lease ends in June."}]}',
    }
    return Outgoing(**(values | changes))  # type: ignore[arg-type] # one table of values


def decrypted_pages(path: Path, key: bytes) -> Iterator[bytes]:
    """Decrypt every page of an SQLCipher database by hand: AES-256-CBC, the IV in the page's reserve."""
    data = path.read_bytes()
    for start in range(0, len(data), PAGE_SIZE):
        page = data[start : start + PAGE_SIZE]
        first = _SALT if start == 0 else 0
        body, reserve = page[first : PAGE_SIZE - _IV - _HMAC], page[PAGE_SIZE - _IV - _HMAC :]
        decryptor = Cipher(algorithms.AES(key), modes.CBC(reserve[:_IV])).decryptor()
        yield decryptor.update(body) + decryptor.finalize()
