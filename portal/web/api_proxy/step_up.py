"""What an API's response says about the login: that it needs a step-up (RFC 9470 3, RFC 6750 3.1)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from urllib.parse import urlencode

from portal.display_text import display_text
from portal.errors import PortalError
from portal.oidc.api_target import ApiTarget
from portal.oidc.provider import Provider
from portal.oidc.step_up import StepUp, StepUpMalformed
from portal.stores.model import Login
from portal.tenancy.model import Tenant
from portal.web.api_proxy.challenges import ChallengesMalformed, read_challenges
from portal.web.step_up_errors import (
    AuthenticationRequired,
    PermissionRequired,
    StepUpAuthenticationNotAllowed,
    StepUpNotAccepted,
    StepUpScopeNotAllowed,
)

_ERRORS = MappingProxyType({401: "insufficient_user_authentication", 403: "insufficient_scope"})
"""The error code of a step-up challenge by the status of the response."""
STATUSES = frozenset(_ERRORS)
_SCHEMES = frozenset({"bearer", "dpop"})


def required_step_up(status: int, headers: Iterable[tuple[str, str]]) -> StepUp | None:
    """What the challenge of a response requires; None when it has none, or one that is malformed."""
    try:
        challenges = read_challenges(headers)
    except ChallengesMalformed:
        return None
    for scheme, parameters in challenges:
        if scheme in _SCHEMES and parameters.get("error") == _ERRORS.get(status):
            return _required(parameters, is_scope_error=status == 403)
    return None


def step_up_error(
    status: int,
    headers: Iterable[tuple[str, str]],
    *,
    tenant: Tenant,
    login: Login,
    granted: Collection[str],
    now: float,
    target: ApiTarget | None = None,
) -> PortalError | None:
    """The error to raise in place of a response that requires a step-up; None for any other response.

    Parameters: headers, of the response; login, of the call; granted, the scopes that the login has, or was
    granted for the API; now, seconds since the epoch, UTC; target, of an API that gets access tokens of its
    own; None for an API that gets the login's.
    """
    required = required_step_up(status, headers)
    provider = tenant.providers.get(login.provider)
    if required is None or provider is None:
        return None
    detail = f"the API requires {_text(required)}"
    if required.is_met(login.claims, granted, signed_in_at=login.signed_in_at, now=now):
        return StepUpNotAccepted(f"{detail}, which the login has", status=status)
    acr_values = allowed_acr_values(provider, required.acr_values)
    if required.acr_values and not acr_values:
        return StepUpAuthenticationNotAllowed(f"{detail}; acr_values of the tenant lists none", status=status)
    required = replace(required, acr_values=acr_values)
    if not set(required.scope) <= allowed_scopes(provider, target):
        place = scope_lists(provider, target)
        return StepUpScopeNotAllowed(f"{detail}; {place} does not list such a scope", status=status)
    api = target.name if target is not None else None
    kind = PermissionRequired if status == 403 else AuthenticationRequired
    return kind(detail, status=status, login_url=step_up_url(tenant, provider, required, api=api))


def allowed_scopes(provider: Provider, target: ApiTarget | None) -> frozenset[str]:
    """The scopes that a step-up may request. Parameters: target, as in step_up_error.

    An API that gets access tokens of its own must not collect the permissions of others.
    """
    if target is not None:
        return frozenset((*target.scopes, *target.step_up_scopes))
    return frozenset((*provider.scopes, *provider.step_up_scopes))


def scope_lists(provider: Provider, target: ApiTarget | None) -> str:
    """Names the keys of the tenant file that limit a step-up. Parameters: as for allowed_scopes."""
    place = f"apis.{target.name}" if target is not None and target.name else provider.key
    return f"scopes and step_up_scopes of {place}"


def allowed_acr_values(provider: Provider, acr_values: Sequence[str]) -> tuple[str, ...]:
    """Those of `acr_values` that a step-up may request.

    Where a tenant file lists `acr_values`, they are what its administrator demands of every login: a link or
    a challenge chooses among them, and cannot ask for less.
    """
    return tuple(acr for acr in acr_values if not provider.acr_values or acr in provider.acr_values)


def step_up_url(tenant: Tenant, provider: Provider, required: StepUp, *, api: str | None = None) -> str:
    """The path that asks the provider for a step-up.

    Parameters: api, the name of an API that gets access tokens of its own, empty for the default one; None
    for an API that gets the login's.
    """
    named = [("provider", provider.id)] if len(tenant.providers) > 1 else []
    of_api = [("scope_api", api)] if required.scope and api is not None else []
    return f"/t/{tenant.slug}/login?{urlencode([*named, *required.parameters(), *of_api])}"


def _required(parameters: Mapping[str, str], *, is_scope_error: bool) -> StepUp | None:
    try:
        required = StepUp.read(
            acr_values=None if is_scope_error else parameters.get("acr_values"),
            max_age=None if is_scope_error else parameters.get("max_age"),
            scope=parameters.get("scope"),
        )
    except StepUpMalformed:
        return None
    return required or None


def _text(required: StepUp) -> str:
    return display_text(", ".join(f"{name}={value}" for name, value in required.parameters()), limit=300)
