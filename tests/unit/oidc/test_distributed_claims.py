"""Distributed claims: an ID token only refers to them."""

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
def test_a_claim_is_distributed_when_the_token_refers_to_it_but_does_not_contain_it(
    claims: dict[str, object], names: tuple[str, ...]
) -> None:
    assert claims_held_elsewhere(claims) == names
