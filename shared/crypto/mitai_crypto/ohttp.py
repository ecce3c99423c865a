"""Chunked Oblivious HTTP (RFC 9458, draft-ietf-ohai-chunked-ohttp-08): the envelope of the sealed channel.

    sealed = seal_request(config, bhttp.encode_request(request))         # device
    opener = RequestOpener({config.key_id: (config, private_key)}.get)   # enclave
    opener.feed(sealed.message)
    opened = opener.close()
    answer = opened.sealer.begin() + opened.sealer.seal(b"…") + opened.sealer.finish()
    text = sealed.opener.feed(answer) + sealed.opener.close()            # device

The names with `Plain` are the same exchange in RFC 9458's own format, in one piece; foreign clients use it.

Spec: `docs/spec/ohttp.md`.
"""

from __future__ import annotations

from mitai_crypto.key_config import KeyConfig, encode_key_list, parse_key_config
from mitai_crypto.ohttp_plain import (
    PlainRequestOpener,
    PlainResponseOpener,
    PlainResponseSealer,
    SealedPlainRequest,
    seal_plain_request,
)
from mitai_crypto.ohttp_request import OpenedRequest, RequestOpener, SealedRequest, seal_request
from mitai_crypto.ohttp_response import ResponseOpener, ResponseSealer, Sealer

__all__ = [
    "KeyConfig",
    "OpenedRequest",
    "PlainRequestOpener",
    "PlainResponseOpener",
    "PlainResponseSealer",
    "RequestOpener",
    "ResponseOpener",
    "ResponseSealer",
    "SealedPlainRequest",
    "SealedRequest",
    "Sealer",
    "encode_key_list",
    "parse_key_config",
    "seal_plain_request",
    "seal_request",
]
