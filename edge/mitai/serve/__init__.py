"""A local OpenAI-compatible endpoint in front of the sealed channel; `mitai serve` runs it.

From the door inwards: `listening` (where), `access` (who), `guard` (one request from its first byte to its log line),
`app` (routes), `forward` (plain requests) and `knowledge` (chats with a knowledge base) over one `upstream`.
Needs the extra `serve`. Spec: `docs/spec/serve.md`.
"""
