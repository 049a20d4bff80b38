"""Step-up authentication: what an API requires of a login beyond what the login has (RFC 9470, RFC 6750 3.1).

The values come from an API's challenge or from a link, and are sent to the provider. `read` checks them
against their ABNF before; `require_authentication` and `require_scope` check what the provider has done.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

from portal.oidc.abnf import NQCHAR, one_to
from portal.oidc.quoting import listed, mismatch, quoted_time, utc
from portal.oidc.step_up_errors import AuthenticationTooOld, AuthenticationTooWeak, ScopeNotGranted

LONGEST_LIST = 1_000
"""Characters of `acr_values` or `scope`."""
MOST_VALUES = 20
"""Values of `acr_values` or `scope`."""
LEEWAY = 60.0
"""Allowed clock difference in seconds, as for ID tokens."""
RIGHT_AFTER = 15.0
"""Seconds after a login in which the same challenge can only mean that the API does not accept the login."""

_VALUE = one_to(200, NQCHAR)
_LONGEST_MAX_AGE = 9
"""Digits: 30 years."""

Claims = Mapping[str, object]


class StepUpMalformed(ValueError):
    """A value does not follow its ABNF, or is too long."""


@dataclass(frozen=True, slots=True)
class StepUp:
    """What a login must have. `max_age` is in seconds, None for any age of the user's authentication."""

    acr_values: tuple[str, ...] = ()
    """The accepted authentication context classes; empty for any."""
    max_age: int | None = None
    scope: tuple[str, ...] = ()
    """Scopes that the access token must have."""
    api_key: str = ""
    """`ApiTarget.key` of the API whose own access token needs these scopes; empty for that of the login."""

    NOTHING: ClassVar[StepUp]

    @classmethod
    def read(cls, *, acr_values: str | None, max_age: str | None, scope: str | None) -> StepUp:
        """Read the parameters of a challenge (RFC 9470 3, RFC 6750 3) or of an authorization request.

        None stands for a missing parameter. Raises: StepUpMalformed.
        """
        return cls(_values(acr_values), _seconds(max_age), _values(scope))

    def __bool__(self) -> bool:
        return bool(self.acr_values or self.scope) or self.max_age is not None

    def parameters(self) -> list[tuple[str, str]]:
        """The parameters of a link that asks for it, which `read` accepts."""
        found = [("acr_values", " ".join(self.acr_values))] if self.acr_values else []
        found += [("max_age", str(self.max_age))] if self.max_age is not None else []
        return found + ([("scope", " ".join(self.scope))] if self.scope else [])

    def is_met(self, claims: Claims, granted: Collection[str], *, signed_in_at: float, now: float) -> bool:
        """Whether a login already has what is required, as far as the portal can see.

        A login made in the last `RIGHT_AFTER` seconds is as recent as it can be: another one would not
        satisfy an API that still asks for a more recent one.

        Parameters: claims, of its ID token; granted, the scopes of its access token; signed_in_at and now,
        seconds since the epoch, UTC.
        """
        if self.acr_values and claims.get("acr") not in self.acr_values:
            return False
        if not set(self.scope) <= set(granted):
            return False
        if self.max_age is None:
            return True
        auth_time = claims.get("auth_time")
        if not isinstance(auth_time, int | float) or isinstance(auth_time, bool):
            return False
        is_new = now - signed_in_at <= RIGHT_AFTER
        return auth_time >= (signed_in_at - LEEWAY if is_new else now) - self.max_age


StepUp.NOTHING = StepUp()


def require_authentication(claims: Claims, step_up: StepUp, *, requested_at: float) -> None:
    """Check `acr` and `auth_time` of the ID token of a login that was asked for a step-up (RFC 9470 5).

    Parameters: requested_at, of the authorization request, seconds since the epoch, UTC.
    Raises: AuthenticationTooWeak, AuthenticationTooOld.
    """
    acr = claims.get("acr")
    if step_up.acr_values and (not isinstance(acr, str) or acr not in step_up.acr_values):
        raise AuthenticationTooWeak("acr", mismatch("acr", acr, *step_up.acr_values))
    if step_up.max_age is None:
        return
    auth_time = claims.get("auth_time")
    if isinstance(auth_time, bool) or not isinstance(auth_time, int | float):
        raise AuthenticationTooOld("auth_time", mismatch("auth_time", None, f"max_age {step_up.max_age} s"))
    earliest = requested_at - step_up.max_age
    if not auth_time >= earliest - LEEWAY:
        detail = f"auth_time is {quoted_time(auth_time)}; expected no earlier than {utc(earliest)}"
        raise AuthenticationTooOld("auth_time_too_old", detail)


def require_scope(granted: Collection[str], step_up: StepUp) -> None:
    """Check that the provider has granted the scopes. Raises: ScopeNotGranted."""
    missing = [name for name in step_up.scope if name not in granted]
    if missing:
        detail = f"scope is {listed(list(granted))}; expected also {listed(missing)}"
        raise ScopeNotGranted("scope", detail)


def claims_parameter(registered: str | None, acr_values: Collection[str]) -> str:
    """The `claims` parameter that makes `acr` essential with these values (OIDC Core 5.5.1.1).

    Parameters: registered, the parameter of the registration as JSON; its other members are kept.
    """
    claims = json.loads(registered) if registered is not None else {}
    id_token = {**claims.get("id_token", {}), "acr": {"essential": True, "values": [*acr_values]}}
    return json.dumps({**claims, "id_token": id_token}, separators=(",", ":"))


def _values(text: str | None) -> tuple[str, ...]:
    """The values of a list with single spaces between them (RFC 6749 3.3, OIDC Core 3.1.2.1)."""
    if text is None:
        return ()
    if len(text) > LONGEST_LIST:
        raise StepUpMalformed("the list is too long")
    values = tuple(dict.fromkeys(text.split(" ")))
    if len(values) > MOST_VALUES or not all(map(_VALUE.fullmatch, values)):
        raise StepUpMalformed("the list has too many values, or one with other characters")
    return values


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    if not (1 <= len(text) <= _LONGEST_MAX_AGE and text.isascii() and text.isdecimal()):
        raise StepUpMalformed("max_age is not a number of seconds")
    return int(text)
