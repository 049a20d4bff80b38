"""The key ring: the vault keys that encrypt stored values, and the client keys for signing and decryption."""
