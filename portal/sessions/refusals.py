"""Refresh tokens that a provider refused while the access token was still valid."""

from __future__ import annotations

from collections import OrderedDict

from portal.stores.model import Login

ASK_AGAIN_SECONDS = 5.0
"""How long after a refusal the provider is asked a second time, at the earliest."""
_MOST = 4096


class Refusals:
    """Remembers which token sets were refused once, so that a login ends at the second refusal.

    A provider whose servers do not agree yet, or whose database is being repaired, may refuse a good refresh
    token; while the access token is valid, nothing is lost by asking once more. Times are seconds, UTC.
    """

    def __init__(self) -> None:
        self._refused: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def is_repeated(self, login: Login, moment: float) -> bool:
        """Remember a refusal of the token set of a login; whether it was refused before."""
        before = self._refused.pop(login.id, None)
        if before is not None and before[0] == login.tokens:
            return True
        self._refused[login.id] = (login.tokens, moment)
        if len(self._refused) > _MOST:
            self._refused.popitem(last=False)
        return False

    def is_recent(self, login: Login, moment: float) -> bool:
        """Whether the token set of a login was refused a moment ago, so that asking again is of no use
        yet."""
        refused = self._refused.get(login.id)
        return refused is not None and refused[0] == login.tokens and moment < refused[1] + ASK_AGAIN_SECONDS

    def forget(self, login_id: str) -> None:
        """The login has other tokens now, or ended."""
        self._refused.pop(login_id, None)
