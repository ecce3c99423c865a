"""Every number and label of a knowledge base on disk (`docs/spec/knowledge_base.md`)."""

from __future__ import annotations

from typing import Final

# -- §1 layout
KEYSLOTS_FILE: Final = "keyslots.json"
DATABASE_FILE: Final = "kb.db"
FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600

# -- §2 key slots
KEYSLOTS_FORMAT_PREFIX: Final = "mitai-keyslots/"
KEYSLOTS_FORMAT_VERSION: Final = 1
MAX_KEYSLOTS_BYTES: Final = 65_536
MAX_SLOTS: Final = 32
KB_ID_BYTES: Final = 16
SLOT_ID_BYTES: Final = 8
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
SALT_BYTES: Final = 16
ARGON2_VERSION: Final = 19  # 0x13, RFC 9106
ARGON2_MIN_MEMORY_KIB: Final = 64 * 1024
ARGON2_MAX_MEMORY_KIB: Final = 1024 * 1024
ARGON2_TIME_COST: Final = 3
ARGON2_PARALLELISM: Final = 4
ARGON2_TIME_COST_RANGE: Final = range(3, 17)
ARGON2_PARALLELISM_RANGE: Final = range(1, 17)
ARGON2_TARGET_SECONDS: Final = 0.5  # memory doubles until a derivation takes at least this long
MAX_PASSPHRASE_BYTES: Final = 4096
KEYCHAIN_SERVICE: Final = "mitai"
DATABASE_KEY_LABEL: Final = b"mitai/kb/database/v1"
CONTENT_HASH_LABEL: Final = b"mitai/kb/content-hash/v1"

# -- §4 the database connection
PAGE_SIZE: Final = 16_384
HMAC_ALGORITHM: Final = "HMAC_SHA256"
BUSY_TIMEOUT_SECONDS: Final = 5.0
VERIFY_ON_OPEN_BYTES: Final = 512 * 1024 * 1024  # a larger file is verified page by page, as it is read

# -- §5 schema
SCHEMA_VERSION: Final = 3
TEXT_FOLDER: Final = "texts"  # relative, where the paths of files are absolute: the two never meet
MAX_TEXT_KEY_CHARACTERS: Final = 512
MAX_METADATA_BYTES: Final = 65_536
MAX_CLIENT_CHARACTERS: Final = 100  # of what an MCP client calls itself

# -- §8 tokeniser
TOKENISER_VERSION: Final = 1
MAX_TERM_LENGTH: Final = 64
MAX_QUERY_TERMS: Final = 128

# -- §9 retrieval
CANDIDATES: Final = 50  # of each list
RANK_OFFSET: Final = 60  # Cormack, Clarke and Büttcher, SIGIR 2009
DENSE_WEIGHT: Final = 1.0
LEXICAL_WEIGHT: Final = 1.0
LEXICAL_WEIGHT_ACROSS_SCRIPTS: Final = 0.25
HAN_SHARE: Final = 0.7  # at least this share of units: written in Han
LATIN_SHARE: Final = 0.3  # at most this share

# -- §6 ingest (ADR 0046)
WINDOW_PASSAGES: Final = 128  # passages that are embedded together
HEADING_TOKENS: Final = 64  # of what the model takes, kept free for title and headings
