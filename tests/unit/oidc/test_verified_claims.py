"""A verified value stays verified only as long as it is the same value (OIDC Core 5.1)."""

from __future__ import annotations

from typing import Any

import pytest

from portal.oidc.verified_claims import merge_claims

ADA = {"email": "ada@acme.example", "email_verified": True}
EVE = {"email": "eve@acme.example"}


@pytest.mark.parametrize(
    ("newer", "older", "merged"),
    [
        ({}, ADA, ADA),
        ({"name": "Ada"}, ADA, {**ADA, "name": "Ada"}),
        ({"email": "ada@acme.example"}, ADA, ADA),
        (EVE, ADA, EVE),
        ({**EVE, "email_verified": False}, ADA, {**EVE, "email_verified": False}),
        (EVE, {"email_verified": True}, {**EVE, "email_verified": True}),
        (EVE, {**ADA, "phone_number_verified": True}, {**EVE, "phone_number_verified": True}),
        (EVE, {**ADA, "name": "Ada"}, {**EVE, "name": "Ada"}),
    ],
)
def test_a_remark_about_another_value_is_dropped(
    newer: dict[str, Any], older: dict[str, Any], merged: dict[str, Any]
) -> None:
    assert merge_claims(newer, older) == merged
