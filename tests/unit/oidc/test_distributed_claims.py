"""Claims that an ID token only points to."""

from __future__ import annotations

import pytest

from portal.oidc.distributed_claims import claims_held_elsewhere


@pytest.mark.parametrize(
    ("claims", "names"),
    [
        ({}, ()),
        ({"groups": ["a"]}, ()),
        ({"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "x"}}}, ("groups",)),
        ({"_claim_names": {"groups": "src1", "address": "src2"}, "hasgroups": True}, ("groups", "address")),
        ({"_claim_names": {"groups": "src1"}, "groups": []}, ()),
        ({"hasgroups": True}, ("groups",)),
        ({"hasgroups": True, "groups": ["a"]}, ()),
        ({"hasgroups": "true"}, ()),
        ({"hasgroups": 1}, ()),
        ({"_claim_names": ["groups"]}, ()),
        ({"_claim_names": "groups"}, ()),
        ({"_claim_names": None}, ()),
    ],
)
def test_claims_are_held_elsewhere_when_the_token_names_them_and_has_them_not(
    claims: dict[str, object], names: tuple[str, ...]
) -> None:
    assert claims_held_elsewhere(claims) == names
