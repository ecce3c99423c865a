"""A simulated TEE: measures what it is about to start, starts it, and answers its requests.

It stands in for hardware on a machine that has none, and protects nothing: who owns the machine owns the
root. Everything that rests on it says `SIMULATED`. Nothing imports this package; it is used by its command:

    mitai-sim run --input tokens.toml -- mitai-enclave serve --tee simulated --tokens tokens.toml …

Specification: `docs/spec/simulated_tee.md`.
"""
