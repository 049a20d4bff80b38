"""The claims of a login after a refresh that returned a new ID token."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

import pytest

from portal.secret import Secret
from portal.sessions.adopted_claims import adopted_claims

STORED = {"sub": "1", "name": "Ada", "roles": ["admin"], "phone_number": "5", "plan": "gold"}
"""UserInfo returned phone_number and plan."""
PREVIOUS = {"sub": "1", "name": "Ada", "roles": ["admin"], "nonce": "n"}


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
def test_new_claims_replace_stored_ones_and_withdrawn_claims_are_removed_but_not_userinfo_claims(
    new: Mapping[str, object], stored: Mapping[str, object]
) -> None:
    expected = {"sub": "1", "phone_number": "5", "plan": "gold", **stored}
    assert adopted_claims(STORED, token(PREVIOUS), new) == expected


@pytest.mark.parametrize("previous", [None, Secret("not a token"), Secret("a.b.c")])
def test_without_the_previous_id_token_only_the_new_claims_are_used(previous: Secret | None) -> None:
    assert adopted_claims(STORED, previous, {"sub": "1"}) == {"sub": "1", "name": "Ada"}
