"""Which claims a login has after a refresh that brought a new ID token."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

import pytest

from portal.secret import Secret
from portal.sessions.adopted_claims import adopted_claims

HELD = {"sub": "1", "name": "Ada", "roles": ["admin"], "phone_number": "5", "plan": "gold"}
"""Of these, UserInfo said phone_number and plan."""
BEFORE = {"sub": "1", "name": "Ada", "roles": ["admin"], "nonce": "n"}


def token(claims: Mapping[str, object]) -> Secret:
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return Secret(f"e30.{part}.c2ln")


@pytest.mark.parametrize(
    ("new", "stored"),
    [
        ({"sub": "1", "name": "Ada B", "roles": ["sales"]}, {"name": "Ada B", "roles": ["sales"]}),
        ({"sub": "1", "name": "Ada"}, {"name": "Ada"}),
        ({"sub": "1", "roles": ["admin"]}, {"name": "Ada", "roles": ["admin"]}),
        ({"sub": "1", "plan": "free", "sid": "s"}, {"name": "Ada", "plan": "free"}),
    ],
)
def test_new_claims_win_withdrawn_ones_go_and_those_of_userinfo_stay(
    new: Mapping[str, object], stored: Mapping[str, object]
) -> None:
    expected = {"sub": "1", "phone_number": "5", "plan": "gold", **stored}
    assert adopted_claims(HELD, token(BEFORE), new) == expected


@pytest.mark.parametrize("previous", [None, Secret("not a token"), Secret("a.b.c")])
def test_without_the_token_before_only_the_new_one_counts(previous: Secret | None) -> None:
    assert adopted_claims(HELD, previous, {"sub": "1"}) == {"sub": "1", "name": "Ada"}
