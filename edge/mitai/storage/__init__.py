"""What is kept on disk, encrypted: schema, documents, passages, index, vectors, ledger."""
