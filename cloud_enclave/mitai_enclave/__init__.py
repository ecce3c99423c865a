"""The inference enclave's sidecar: attest, open, check, forward to the engine, seal, sign."""
