"""Limits the size of a stored login: its claims and tokens together (THREATS D5)."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from portal.oidc.errors import LoginTooLarge
from portal.oidc.id_token import Claims
from portal.oidc.provider import TokenSet
from portal.secret import Secret
from portal.stores.claims_codec import encode_claims

MAX_LOGIN_BYTES = 96 * 1024
"""Enough for users in hundreds of groups; see docs/decisions/027."""


def check_login_size(claims: Claims, tokens: TokenSet) -> None:
    """Raise LoginTooLarge when claims and tokens have more than MAX_LOGIN_BYTES together.

    The detail of the error lists the bytes of each part.
    """
    sizes = {
        "claims": len(encode_claims(claims)),
        "ID token": _length(tokens.id_token),
        "access token": _length(tokens.access_token),
        "refresh token": _length(tokens.refresh_token),
        "access tokens for further APIs": sum(
            _length(one.access_token) for one in tokens.api_tokens.values()
        ),
    }
    total = sum(sizes.values())
    if total > MAX_LOGIN_BYTES:
        parts = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise LoginTooLarge(f"the login has {total} bytes, at most {MAX_LOGIN_BYTES} are stored: {parts}")


def fitting(claims: Claims, tokens: TokenSet, *, added: str | None = None) -> TokenSet:
    """Return the token set without the API tokens that make it too large.

    Those can be requested again: first the added one is left out, then all of them.
    Parameters: added, key of the API token that was just added, if one was.
    Raises: LoginTooLarge, when the login is too large without any.
    """
    choices = [tokens, replace(tokens, api_tokens={})]
    if added is not None:
        others = {key: one for key, one in tokens.api_tokens.items() if key != added}
        choices.insert(1, replace(tokens, api_tokens=others))
    for smaller in choices[:-1]:
        with contextlib.suppress(LoginTooLarge):
            check_login_size(claims, smaller)
            return smaller
    check_login_size(claims, choices[-1])
    return choices[-1]


def _length(token: Secret | None) -> int:
    return 0 if token is None else len(token.reveal())
