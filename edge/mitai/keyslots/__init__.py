"""Who can open a knowledge base: key slots, passphrases, the keychain."""
