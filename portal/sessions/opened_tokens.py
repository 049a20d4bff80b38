"""Token sets that this process has opened, so that a call does not decrypt the same one again."""

from __future__ import annotations

from dataclasses import dataclass

from portal.bounded_cache import ByteBoundedCache
from portal.keys.vault import Vault
from portal.oidc.provider import TokenSet
from portal.stores.model import Login

_CACHE_BYTES = 64_000_000


@dataclass(frozen=True, slots=True, repr=False)
class _Opened:
    """A token set in memory, with the sealed text that it came from."""

    sealed: str
    tokens: TokenSet
    refreshed_at: float = 0.0


class OpenedTokens:
    """Opens the token sets of logins; the last used ones stay in memory."""

    def __init__(self, vault: Vault, *, cache_bytes: int = _CACHE_BYTES) -> None:
        self._vault = vault
        self._opened: ByteBoundedCache[str, _Opened] = ByteBoundedCache(cache_bytes)

    def open(self, login: Login) -> TokenSet:
        """Open the token set of a login as it is stored. Raises VaultError."""
        known = self._opened.get(login.id)
        if known is not None and known.sealed == login.tokens:
            return known.tokens
        tokens = self._vault.open_tokens(login.id, login.tokens)
        self._remember(login, _Opened(login.tokens, tokens))
        return tokens

    def remember(self, login: Login, sealed: str, tokens: TokenSet, *, refreshed_at: float) -> None:
        """Remember a token set that this process received and sealed; `refreshed_at` in seconds, UTC."""
        self._remember(login, _Opened(sealed, tokens, refreshed_at))

    def refreshed_at(self, login: Login) -> float:
        """When this process last refreshed the token set in memory: seconds, UTC; 0 when it has not."""
        known = self._opened.get(login.id)
        return known.refreshed_at if known is not None else 0.0

    def forget(self, login_id: str) -> None:
        """Drop an opened token set from memory."""
        self._opened.discard(login_id)

    def _remember(self, login: Login, opened: _Opened) -> None:
        """An opened token set takes about as much memory again as its sealed text."""
        self._opened.put(login.id, opened, size=2 * len(opened.sealed), owner=login.tenant)
