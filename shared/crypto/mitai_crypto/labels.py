"""Every wire constant of Mitai in one place, each beside the section that defines it."""

from __future__ import annotations

from typing import Final

# -- Chunked Oblivious HTTP: RFC 9458, draft-ietf-ohai-chunked-ohttp-08, docs/spec/ohttp.md ------------------
REQUEST_LABEL: Final = b"message/bhttp chunked request"
RESPONSE_LABEL: Final = b"message/bhttp chunked response"
PLAIN_REQUEST_LABEL: Final = b"message/bhttp request"  # RFC 9458 §4.3, not chunked; foreign clients only
PLAIN_RESPONSE_LABEL: Final = b"message/bhttp response"  # RFC 9458 §4.4
FINAL_AAD: Final = b"final"
MEDIA_TYPE_REQUEST: Final = "message/ohttp-chunked-req"
MEDIA_TYPE_RESPONSE: Final = "message/ohttp-chunked-res"
MEDIA_TYPE_PLAIN_REQUEST: Final = "message/ohttp-req"
MEDIA_TYPE_PLAIN_RESPONSE: Final = "message/ohttp-res"
MEDIA_TYPE_KEYS: Final = "application/ohttp-keys"  # RFC 9458 §3.2
CHUNK_SIZE: Final = 16_384  # plaintext bytes; every receiver accepts this much
MAX_CHUNK_CIPHERTEXT: Final = CHUNK_SIZE + 16
MAX_CONTENT_PIECES: Final = 16_384  # of an indeterminate-length request, docs/spec/bhttp.md §3
MAX_REQUEST_BYTES: Final = 8 * 1024 * 1024  # a whole sealed request
MAX_RESPONSE_BYTES: Final = 64 * 1024 * 1024  # a whole sealed response
RESPONSE_KEY_INFO: Final = b"key"
RESPONSE_NONCE_INFO: Final = b"nonce"
MAX_CONFIG_SUITES: Final = 16  # (KDF, AEAD) pairs in one key configuration

# -- HPKE: RFC 9180, draft-ietf-hpke-pq, docs/spec/hpke.md ---------------------------------------------------
HPKE_VERSION_LABEL: Final = b"HPKE-v1"
HYBRID_LABEL: Final = b"\\.//^\\"  # the combiner's label of MLKEM768-X25519
AEAD_NONCE_BYTES: Final = 12
AEAD_TAG_BYTES: Final = 16
MAX_SEQUENCE: Final = 2 ** (8 * AEAD_NONCE_BYTES) - 1  # never used as a message or chunk number

# -- Binary HTTP: RFC 9292, docs/spec/bhttp.md ---------------------------------------------------------------
MAX_CONTROL_BYTES: Final = 8_192  # each of method, scheme, authority, path
MAX_SECTION_BYTES: Final = 65_536  # one header or trailer section
MAX_SECTION_LINES: Final = 128
MAX_INFORMATIONAL: Final = 8  # 1xx responses before the final one

# -- Routes and headers: docs/spec/http.md -------------------------------------------------------------------
ATTESTATION_PATH: Final = "/.well-known/mitai/attestation"
GATEWAY_PATH: Final = "/mitai/ohttp"  # a replica's own keys: /mitai/ohttp/<key fingerprint>
FOREIGN_GATEWAY_PATH: Final = "/.well-known/ohttp-gateway"  # RFC 9540; its keys are not verified by anything
HEALTH_PATH: Final = "/healthz"
SCHEME: Final = b"https"
AUTHORITY: Final = b"mitai.invalid"  # routes nothing: a misrouted request reaches no real host
REQUEST_ID_HEADER: Final = b"mitai-request-id"  # 16 random bytes, base64url; names one intended execution
BLIND_HEADER: Final = b"mitai-blind"  # 32 random bytes, base64url; an exported hash confirms no guess
CACHE_SALT_HEADER: Final = b"mitai-cache-salt"  # optional; can only narrow cache sharing
RECEIPT_TRAILER: Final = b"mitai-receipt"
PROBLEM_BASE: Final = "https://iana.org/assignments/http-problem-types"
PROBLEM_OHTTP_KEY: Final = f"{PROBLEM_BASE}#ohttp-key"  # RFC 9458 §5.3
PROBLEM_DATE: Final = f"{PROBLEM_BASE}#date"  # RFC 9458 §6.5.2
DATE_WINDOW_SECONDS: Final = 300

# -- Sizes: docs/spec/sizes.md -------------------------------------------------------------------------------
DEFAULT_REQUEST_BYTES: Final = 16_384  # the class of a request, before sealing
MAX_PADDED_BYTES: Final = 4 * 1024 * 1024  # the largest class that is a power of two
LARGEST_CLASS_BYTES: Final = MAX_REQUEST_BYTES - 16_384  # what the cap leaves after sealing
BYTES_PER_TOKEN: Final = 4
REQUEST_OVERHEAD_BYTES: Final = 1024  # of a request beside its messages: control data, header fields, JSON
FRAME_BYTES: Final = 512  # one chunk of a stream, on the wire
FRAME_CONTENT_BYTES: Final = FRAME_BYTES - 2 - AEAD_TAG_BYTES - 2
FINAL_CHUNK_BYTES: Final = 2048  # the same for its last chunk, without the marker
MIN_ANSWER_BYTES: Final = 2048  # a whole answer, before sealing
PADDING_HEADER: Final = b"mitai-padding"
PADDING_NONE: Final = b"none"
CADENCE_HEADER: Final = b"mitai-cadence"
MIN_CADENCE_MILLISECONDS: Final = 10
MAX_CADENCE_MILLISECONDS: Final = 1000

# -- Evidence: docs/spec/evidence.md -------------------------------------------------------------------------
ATTESTATION_LABEL: Final = b"mitai/attestation/v1"
GPU_LABEL: Final = b"mitai/gpu/v1"
NONCE_BYTES: Final = 32
REPORT_DATA_BYTES: Final = 64
EVIDENCE_VERSION: Final = 1
MAX_BUNDLE_BYTES: Final = 4 * 1024 * 1024
SAVED_EVIDENCE_LABEL: Final = b"mitai/saved-evidence/v1"
SAVED_EVIDENCE_VERSION: Final = 1
MAX_SAVED_EVIDENCE_BYTES: Final = 6 * 1024 * 1024  # a bundle in base64, a nonce, a time, an address
MAX_KEY_LIFETIME_SECONDS: Final = 7200
MEASUREMENT_LABEL: Final = b"mitai/measurement/v1"
CRYPTO_MATERIAL_VERSION: Final = 1
MAX_CRYPTO_MATERIAL_BYTES: Final = 64 * 1024
MAX_PUBLISHED_KEYS: Final = 8
MAX_NAME_CHARACTERS: Final = 200
MAX_TEXT_CHARACTERS: Final = 4096
CLOCK_SKEW_SECONDS: Final = 300  # how far in the future a signed "issued at" may lie
MAX_JSON_DEPTH: Final = 32
MAX_JSON_VALUES: Final = 262_144  # values and names in one document: what checking it may cost
MAX_JSON_INTEGER: Final = 2**53 - 1  # RFC 7493 §2.2, in both directions

# -- Trust policy: docs/spec/policy.md -----------------------------------------------------------------------
POLICY_LABEL: Final = b"mitai/policy/v1"
POLICY_VERSION: Final = 1
MAX_POLICY_BYTES: Final = 256 * 1024
DEFAULT_MAX_AGE_SECONDS: Final = 3600
MAX_MAX_AGE_SECONDS: Final = 86_400

# -- Simulated TEE: docs/spec/simulated_tee.md ---------------------------------------------------------------
SIMULATED_QUOTE_LABEL: Final = b"mitai/simulated-quote/v1"
SIMULATED_EVENT_LABEL: Final = b"mitai/simulated-event/v1"
SIMULATED_TCB_LABEL: Final = b"mitai/simulated-tcb/v1"
SIMULATED_SEALING_LABEL: Final = b"mitai/simulated-sealing/v1"
SIMULATED_TREE_LABEL: Final = b"mitai/simulated-tree/v1"
SIMULATED_VERSION: Final = 1
SIMULATED_ROOT_NAME: Final = "MITAI SIMULATED TEE ROOT - NOT HARDWARE - PROTECTS NOTHING"
SIMULATED_PLATFORM_NAME: Final = "MITAI SIMULATED TEE PLATFORM - NOT HARDWARE"
SIMULATED_TCB_OID: Final = "2.25.148291207417829377283094461718190451"  # a DER INTEGER
SIMULATED_TCB_VERSION: Final = 1  # what mitai_sim claims to be; raised when the launcher's promises change
MAX_SIMULATED_EVENTS: Final = 4096
TEE_SOCKET_VARIABLE: Final = "MITAI_TEE_SOCKET"
MAX_TEE_REQUEST_BYTES: Final = 4096  # one line on the launcher's socket
MAX_TEE_ANSWER_BYTES: Final = 2 * MAX_BUNDLE_BYTES

# -- Receipts and digests: docs/spec/receipt.md --------------------------------------------------------------
RECEIPT_LABEL: Final = b"mitai/receipt/v1"
REQUEST_DIGEST_LABEL: Final = b"mitai/request/v1"
RESPONSE_DIGEST_LABEL: Final = b"mitai/response/v1"
MODEL_DIGEST_LABEL: Final = b"mitai/model/v1"
RECEIPT_VERSION: Final = 1
MAX_RECEIPT_BYTES: Final = 4096
CACHE_SALT_LABEL: Final = b"mitai/cache-salt/v1"
