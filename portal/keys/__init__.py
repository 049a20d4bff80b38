"""The key ring: the vault that seals what is stored, and the keys that the portal signs with as a client."""
