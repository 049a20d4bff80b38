"""What an authorization request asked the provider to do with the user, and whether it did it.

OIDC Core 3.1.2.1: `prompt=login` and `max_age` ask for a sign-in at the provider, and `auth_time` of the ID
token says when there was one. It is required where `max_age` was sent, and compared wherever it is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interaction:
    """What one request asked for.

    `requested_at` is in seconds since the epoch, UTC; `max_age` in seconds, None when it was not sent;
    `login` and `select_account` are whether `prompt` has these values.
    """

    requested_at: float
    max_age: int | None = None
    login: bool = False
    select_account: bool = False

    @classmethod
    def of(cls, parameters: Iterable[tuple[str, str]], *, requested_at: float) -> Interaction:
        """What a request with these parameters asks for."""
        sent: Mapping[str, str] = dict(parameters)
        prompt = sent.get("prompt", "").split()
        return cls(
            requested_at,
            int(sent["max_age"]) if "max_age" in sent else None,
            "login" in prompt,
            "select_account" in prompt,
        )

    @property
    def earliest_sign_in(self) -> float | None:
        """When the user must have signed in at the provider at the earliest; None for any time."""
        if self.login:
            return self.requested_at
        return None if self.max_age is None else self.requested_at - self.max_age
