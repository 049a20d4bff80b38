"""Signed authorization responses (JWT Secured Authorization Response Mode, JARM)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from portal.oidc import id_token
from portal.oidc.errors import IdTokenRejected, SignedResponseRejected
from portal.oidc.id_token import LEEWAY, KeyUnknown
from portal.oidc.jose import jws
from portal.oidc.keys import KeySet
from portal.oidc.provider import Provider
from portal.oidc.quoting import kind_of, mismatch
from portal.secret import Secret

_REPEATABLE = ("iss",)
"""Keycloak includes `iss` twice: as the claim of JARM 2.1 and as the parameter of RFC 9207."""
_PARAMETERS = ("code", "state", "iss", "error", "error_description", "error_uri", "session_state")


class ResponseKeyUnknown(SignedResponseRejected):
    """No key of the set matches: the provider may have new ones."""


def unverified_state(response: Secret) -> str:
    """Return `state` of a signed response, to find the login attempt before the signature is verified.

    Raises: SignedResponseRejected.
    """
    try:
        claims = jws.stored_claims(response.reveal(), repeatable=_REPEATABLE)
    except IdTokenRejected as error:
        raise SignedResponseRejected(error.rule, "the signed response cannot be read") from error
    state = claims.get("state")
    if not isinstance(state, str):
        raise SignedResponseRejected("state", f"state is {kind_of(state)}; expected a text")
    return state


def open_response(response: Secret, provider: Provider, keys: KeySet, *, now: float) -> dict[str, list[str]]:
    """Validate a signed response by all rules of JARM 2.4 and return its parameters.

    Parameters: now, seconds since the epoch, UTC.
    Raises: ResponseKeyUnknown when no key matches, else SignedResponseRejected.
    """
    try:
        # JARM 2.4 step 6: signed with a registered algorithm, never `none`
        claims, _, _ = id_token.signed_claims(
            response, _signer(provider), keys, setting="response_algs", repeatable=_REPEATABLE
        )
        _check_times(claims, now)
    except KeyUnknown as error:
        raise ResponseKeyUnknown(error.rule, error.detail.partition(": ")[2]) from error
    except IdTokenRejected as error:
        raise SignedResponseRejected(error.rule, error.detail.partition(": ")[2]) from error
    # JARM 2.4 step 3
    if not provider.accepts_issuer(_text(claims, "iss") if "iss" in claims else ""):
        raise SignedResponseRejected("iss", mismatch("iss", claims.get("iss"), provider.issuer))
    # JARM 2.4 step 4
    if claims.get("aud") not in (provider.client_id, [provider.client_id]):
        raise SignedResponseRejected("aud", mismatch("aud", claims.get("aud"), provider.client_id))
    return {name: [_text(claims, name)] for name in _PARAMETERS if name in claims}


def needs_no_keys(provider: Provider) -> bool:
    """Whether every accepted algorithm is verified with the client secret (JARM 2.2)."""
    return id_token.needs_no_keys(_signer(provider))


def _signer(provider: Provider) -> Provider:
    """Return the provider with `response_algs` in place of `id_token_algs`."""
    return replace(provider, id_token_algs=provider.response_algs)


def _check_times(claims: Mapping[str, object], now: float) -> None:
    # JARM 2.4 step 5
    if now >= id_token.time_of(claims, "exp") + LEEWAY:
        raise IdTokenRejected("exp", id_token.times(claims, "exp", now))
    if "iat" in claims and id_token.time_of(claims, "iat") > now + LEEWAY:
        raise IdTokenRejected("iat_future", id_token.times(claims, "iat", now))
    if "nbf" in claims and id_token.time_of(claims, "nbf") > now + LEEWAY:
        raise IdTokenRejected("nbf", id_token.times(claims, "nbf", now))


def _text(claims: Mapping[str, object], name: str) -> str:
    value = claims[name]
    if not isinstance(value, str):
        raise SignedResponseRejected(name, f"{name} is {kind_of(value)}; expected a text")
    return value
