"""The rules of RFC 6749 5.1 for token responses, written independently of the portal."""

from __future__ import annotations

import re

from tests.hostile.documents import Json, Members, members, number, unreadable, write
from tests.hostile.fault_report import EITHER
from tests.hostile.minting import compact
from tests.hostile.samples import HEADER, SHORT
from tests.hostile.token_oracle import ACCESS_TOKEN

TOKENS = members(
    access_token=ACCESS_TOKEN,
    token_type="Bearer",
    expires_in=3600,
    refresh_token="8xLOxBtZp8",
    scope="openid profile",
    id_token=compact(write(HEADER), write(SHORT)),
    example_parameter="example_value",
)
VSCHARS = re.compile(r"[\x20-\x7e]{1,65536}")  # RFC 6749 A.12 and A.17


def broken_token_response_rule(document: Members) -> str | None:
    """Return the broken rule of RFC 6749 5.1, or None; null counts as a missing member."""
    if why := unreadable(document):
        return why
    for name in ("access_token", "refresh_token", "id_token"):
        token = document.get(name)
        if token is None and name != "access_token":
            continue
        if not isinstance(token, str) or not VSCHARS.fullmatch(token):
            return f"{name} is not a token"
    token_type = document.get("token_type")
    if not isinstance(token_type, str) or token_type.lower() != "bearer":
        return "RFC 6749 7.1: an unknown token type"
    scope = document.get("scope")
    if isinstance(scope, list) and all(isinstance(one, str) for one in scope):
        scope = " ".join(scope)
    if scope is not None and (not isinstance(scope, str) or len(scope) > 20_000):
        return "scope is not a string"
    return _broken_lifetime(document.get("expires_in"))


def _broken_lifetime(value: Json) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return None if len(value) <= 15 else EITHER
    seconds = number(value)
    if seconds is None:
        return "expires_in is not a number"
    return "expires_in is negative" if seconds < 0 else None
