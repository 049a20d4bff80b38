"""The rules of OIDC Core and RFC 8725 for ID tokens, written independently of the portal.

`broken_rule` reads the tree that a case was made from and returns the first broken rule; None means that a
relying party must accept the token.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.hostile.documents import Json, Members, number, unreadable, write
from tests.hostile.minting import KID, half_hash

NOW = 1_800_000_000
ISSUER = "https://login.acme.example/"
CLIENT_ID = "acme-client"
CLIENT_SECRET = "a client secret that is long enough"
API = "https://api.acme.example"
NONCE = "n-0S6_WzA2Mj-of-this-attempt"
CODE = "SplxlOBeZQQYbYS6WxSbIA"
ACCESS_TOKEN = "SlAV32hkKG-access-token"
SUBJECT = "24400320"


@dataclass(frozen=True, slots=True)
class Asked:
    """The parts of the authorization request that an ID token must satisfy."""

    at_login: bool = True
    max_age: int | None = None


LOGIN = Asked()


def broken_rule(header: Members, claims: Members, asked: Asked = LOGIN) -> str | None:
    """Return the rule that a correctly signed token breaks, or None."""
    for part in (header, claims):
        if why := unreadable(part):
            return why
    # the limit against exhaustion; base64url is a third longer, the signature has 256 bytes
    if (len(write(header).encode()) + len(write(claims).encode())) * 4 / 3 > 65_536 - 400:
        return "more than 64 KB"
    return (
        broken_header_rule(header)
        or _identity(claims)
        or _audience(claims)
        or _times(claims, asked)
        or _bindings(claims, asked)
    )


def broken_header_rule(header: Members, *, own_type: str | None = None) -> str | None:
    """Return the rule of RFC 7515 4.1, Core 10.1 or RFC 8725 that a header breaks, or None.

    `own_type`: the accepted `+jwt` type.
    """
    if header.get("alg") != "RS256":
        return "Core 3.1.3.7 step 7: the algorithm is not the registered one"
    if header.has("crit"):
        return "RFC 7515 4.1.11: an unknown extension"
    if header.has("zip"):
        return "a compressed token"
    if header.get("kid") not in (None, KID):
        return "Core 10.1: no such key"
    typ = header.get("typ")
    if typ is None:
        return None
    name = typ.lower().removeprefix("application/") if isinstance(typ, str) else "+jwt"
    is_other = name.endswith("+jwt") and name != own_type
    return "RFC 8725 3.11: a token for another purpose" if is_other else None


def _identity(claims: Members) -> str | None:
    if claims.get("iss") != ISSUER:
        return "Core 3.1.3.7 step 2: another issuer"
    if not is_identifier(claims.get("sub")):
        return "Core 2: sub is not 1 to 2048 ASCII characters"
    return None


def is_identifier(value: Json) -> bool:
    """Whether this is a valid `sub` or `sid`."""
    return (
        isinstance(value, str) and 1 <= len(value) <= 2048 and all(" " <= letter <= "~" for letter in value)
    )


def _audience(claims: Members) -> str | None:
    aud = claims.get("aud")
    audiences = aud if isinstance(aud, list) else [aud]
    if any(not isinstance(audience, str) for audience in audiences) or CLIENT_ID not in audiences:
        return "Core 3.1.3.7 step 3: not for this client"
    if any(audience not in {CLIENT_ID, API} for audience in audiences):
        return "Core 3.1.3.7 step 3: an audience that is not trusted"
    if len(audiences) > 1 and not claims.has("azp"):
        return "Core 3.1.3.7 step 4: azp is missing"
    if claims.has("azp") and claims.get("azp") != CLIENT_ID:
        return "Core 3.1.3.7 step 5: another authorized party"
    return None


def _times(claims: Members, asked: Asked) -> str | None:
    for name in ("exp", "iat", "nbf", "auth_time"):
        if name in {"nbf", "auth_time"} and not claims.has(name):
            continue
        moment = number(claims.get(name))
        if moment is None or not 0 <= moment <= 1e11:
            return f"{name} is not a time in seconds"
    exp, iat = number(claims.get("exp")), number(claims.get("iat"))
    assert exp is not None
    assert iat is not None
    if exp <= NOW - 60:
        return "Core 3.1.3.7 step 9: expired"
    if iat > NOW + 60:
        return "iat is in the future"
    if asked.at_login and NOW - iat > 600:
        return "Core 3.1.3.7 step 10: issued too long ago"
    if claims.has("nbf") and (number(claims.get("nbf")) or 0) > NOW + 60:
        return "RFC 7519 4.1.5: not valid yet"
    if asked.max_age is None:
        return None
    auth_time = number(claims.get("auth_time"))
    if auth_time is None or NOW - auth_time > asked.max_age + 60:
        return "Core 3.1.3.7 step 13: authenticated too long ago, or at an unknown time"
    return None


def _bindings(claims: Members, asked: Asked) -> str | None:
    if asked.at_login and claims.get("nonce") != NONCE:
        return "Core 3.1.3.7 step 11: another nonce"
    if claims.has("at_hash") and claims.get("at_hash") != half_hash(ACCESS_TOKEN):
        return "Core 3.1.3.8: at_hash of another access token"
    if asked.at_login and claims.has("c_hash") and claims.get("c_hash") != half_hash(CODE):
        return "Core 3.3.2.11: c_hash of another code"
    if asked.at_login:
        # sid is stored only at login
        is_sid = not claims.has("sid") or is_identifier(claims.get("sid"))
        return None if is_sid else "Back-Channel Logout 2.1: sid is not 1 to 2048 ASCII characters"
    # Core 12.2: must be unchanged since the login
    if claims.get("sub") != SUBJECT:
        return "Core 12.2: another user"
    aud = claims.get("aud")
    if set(aud if isinstance(aud, list) else [aud]) != {CLIENT_ID}:
        return "Core 12.2: another audience"
    for name, before in (("auth_time", NOW - 30), ("azp", CLIENT_ID), ("nonce", NONCE)):
        if claims.has(name) and not _same(claims.get(name), before):
            if name == "auth_time" and _signed_in_again(claims):
                continue
            return f"Core 12.2: another {name}"
    return None


def _signed_in_again(claims: Members) -> bool:
    """Whether `auth_time` is later than at login, a case that Core 12.2 does not cover (decision 035)."""
    auth_time, iat = number(claims.get("auth_time")), number(claims.get("iat"))
    return auth_time is not None and iat is not None and NOW - 30 < auth_time <= iat + 60


def _same(value: Json, before: Json) -> bool:
    worth = number(value)
    return value == before if worth is None else worth == before
