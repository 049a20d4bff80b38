"""A cache of decrypted token sets, so that a call does not decrypt the same one again."""

from __future__ import annotations

from dataclasses import dataclass

from portal.bounded_cache import ByteBoundedCache
from portal.keys.vault import Vault
from portal.oidc.provider import TokenSet
from portal.stores.model import Login

_CACHE_BYTES = 128_000_000


@dataclass(frozen=True, slots=True, repr=False)
class _Opened:
    """A decrypted token set and the sealed text that it was decrypted from."""

    sealed: str
    tokens: TokenSet
    sign_in: object
    refreshed_at: float = 0.0


class OpenedTokens:
    """Decrypts the token sets of logins and caches the last used ones."""

    def __init__(self, vault: Vault, *, cache_bytes: int = _CACHE_BYTES) -> None:
        self._vault = vault
        self._opened: ByteBoundedCache[str, _Opened] = ByteBoundedCache(cache_bytes)

    def open(self, login: Login) -> TokenSet:
        """Decrypt the stored token set of a login. Raises VaultError.

        A call may still have the login as it was before a refresh: that of the same sign-in is remembered.
        """
        cached = self._opened.get(login.id)
        if cached is not None and cached.sealed == login.tokens:
            return cached.tokens
        tokens = self._vault.open_tokens(login.id, login.tokens)
        refreshed_at = self.refreshed_at(login)
        self._cache(login, _Opened(login.tokens, tokens, login.sign_in, refreshed_at))
        return tokens

    def remember(self, login: Login, sealed: str, tokens: TokenSet, *, refreshed_at: float) -> None:
        """Cache a token set that this process received and sealed; `refreshed_at` is in seconds, UTC.

        It stays as it was when the access token did: only a token for one of the APIs was added.
        """
        cached = self._opened.get(login.id)
        if cached is not None and cached.tokens.access_token == tokens.access_token:
            refreshed_at = cached.refreshed_at
        self._cache(login, _Opened(sealed, tokens, login.sign_in, refreshed_at))

    def refreshed_at(self, login: Login) -> float:
        """When this process last refreshed the tokens of this sign-in, in seconds, UTC; 0 when it did not."""
        cached = self._opened.get(login.id)
        return cached.refreshed_at if cached is not None and cached.sign_in == login.sign_in else 0.0

    def forget(self, login_id: str) -> None:
        """Remove the token set of a login from the cache."""
        self._opened.discard(login_id)

    def _cache(self, login: Login, opened: _Opened) -> None:
        """Cache a token set. It takes about as much memory as its sealed text, so its size counts twice."""
        self._opened.put(login.id, opened, size=2 * len(opened.sealed), owner=login.tenant)
