"""Proofs of who has the key ring, for `portal doctor`: sealed with it, for a minute (THREATS A9)."""

from __future__ import annotations

from portal.clock import Clock
from portal.errors import VaultError
from portal.keys.vault import Vault

PROOF_HEADER = "X-Portal-Proof"
_SEALED_FOR = "proof of portal doctor"
_SECONDS = 60.0
_LONGEST = 2_000


def new_proof(vault: Vault, *, clock: Clock) -> str:
    """The value of PROOF_HEADER. Raises VaultError."""
    return vault.seal(_SEALED_FOR, repr(clock()))


class Proofs:
    """Checks the proofs of requests. Parameters: clock, of this host."""

    def __init__(self, vault: Vault, *, clock: Clock) -> None:
        self._vault = vault
        self._clock = clock

    def accepts(self, proof: str) -> bool:
        """Whether a proof was made within the last minute, or the next one: clocks differ."""
        if len(proof) > _LONGEST:
            return False
        try:
            made_at = float(self._vault.open_of_browser(_SEALED_FOR, proof))
        except (VaultError, ValueError):
            return False
        return abs(self._clock() - made_at) <= _SECONDS
