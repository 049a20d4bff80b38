"""The user interaction that an authorization request asks the provider for.

OIDC Core 3.1.2.1: `prompt=login` and `max_age` require the user to sign in at the provider, and `auth_time`
of the ID token is the time when they did. It is required if `max_age` was sent, and always checked if
present.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from portal.oidc.step_up import StepUp


@dataclass(frozen=True, slots=True)
class Interaction:
    """The interaction of one request.

    `requested_at` is in seconds since the epoch, UTC; `max_age` is in seconds, None when it was not sent;
    `login` and `select_account` tell whether `prompt` contains these values.
    """

    requested_at: float
    max_age: int | None = None
    login: bool = False
    select_account: bool = False
    step_up: StepUp | None = None
    """What an API requires of the login; None when the login was not asked for a step-up."""

    @classmethod
    def of(
        cls,
        parameters: Iterable[tuple[str, str]],
        *,
        requested_at: float,
        step_up: StepUp | None = None,
    ) -> Interaction:
        """Read it from the parameters of a request. Parameters: step_up, as the attribute."""
        sent: Mapping[str, str] = dict(parameters)
        prompt = sent.get("prompt", "").split()
        return cls(
            requested_at,
            int(sent["max_age"]) if "max_age" in sent else None,
            "login" in prompt,
            "select_account" in prompt,
            step_up,
        )

    @property
    def earliest_sign_in(self) -> float | None:
        """The earliest acceptable `auth_time`; None for any."""
        if self.login:
            return self.requested_at
        return None if self.max_age is None else self.requested_at - self.max_age
