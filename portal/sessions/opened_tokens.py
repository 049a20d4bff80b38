"""Token sets that this process has opened, so that a call does not decrypt the same one again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from portal.oidc.provider import TokenSet
from portal.sessions.model import Login
from portal.sessions.vault import Vault


@dataclass(frozen=True, slots=True, repr=False)
class _Opened:
    """A token set in memory, with the sealed text that it came from."""

    sealed: str
    tokens: TokenSet
    refreshed_at: float = 0.0


class OpenedTokens:
    """Opens the token sets of logins; the last used ones stay in memory."""

    def __init__(self, vault: Vault, *, size: int = 4096) -> None:
        self._vault = vault
        self._size = size
        self._opened: OrderedDict[str, _Opened] = OrderedDict()

    def open(self, login: Login) -> TokenSet:
        """Open the token set of a login as it is stored. Raises VaultError."""
        known = self._opened.get(login.id)
        if known is not None and known.sealed == login.tokens:
            self._opened.move_to_end(login.id)
            return known.tokens
        tokens = self._vault.open_tokens(login.id, login.tokens)
        self._remember(login.id, _Opened(login.tokens, tokens))
        return tokens

    def remember(self, login_id: str, sealed: str, tokens: TokenSet, *, refreshed_at: float) -> None:
        """Remember a token set that this process received and sealed; `refreshed_at` in seconds, UTC."""
        self._remember(login_id, _Opened(sealed, tokens, refreshed_at))

    def refreshed_at(self, login_id: str) -> float:
        """When this process last refreshed the token set in memory: seconds, UTC; 0 when it has not."""
        known = self._opened.get(login_id)
        return known.refreshed_at if known is not None else 0.0

    def forget(self, login_id: str) -> None:
        """Drop an opened token set from memory."""
        self._opened.pop(login_id, None)

    def _remember(self, login_id: str, opened: _Opened) -> None:
        self._opened[login_id] = opened
        self._opened.move_to_end(login_id)
        if len(self._opened) > self._size:
            self._opened.popitem(last=False)
