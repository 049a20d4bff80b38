"""`GET /.well-known/jwks.json`."""

from __future__ import annotations

import json

import pytest

from portal.oidc.keys import parse_key_set
from portal.sessions.own_key_ring import load_own_keys
from tests.kit.world import World

PRIVATE_PARTS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


@pytest.mark.gen_test
async def test_providers_find_the_public_keys_and_nothing_else(world: World) -> None:
    answer = await world.browser().open(world.at("/.well-known/jwks.json"))
    assert answer.status == 200
    assert answer.headers["Content-Type"].partition(";")[0] == "application/json"
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    assert "Set-Cookie" not in answer.headers
    document = json.loads(answer.text)
    assert document.keys() == {"keys"}
    assert {member["kid"].partition(".")[0] for member in document["keys"]} == {
        key.kid for key in load_own_keys(world.settings.keys)
    }
    for member in document["keys"]:
        assert PRIVATE_PARTS.isdisjoint(member)
    assert {member["alg"] for member in parse_key_set(answer.text.encode()).members} == {
        "RS256",
        "PS256",
        "ES256",
        "EdDSA",
    }


@pytest.mark.gen_test
async def test_no_private_part_of_a_key_is_in_the_answer(world: World) -> None:
    answer = await world.browser().open(world.at("/.well-known/jwks.json"))
    entries = json.loads(world.settings.keys.read_text())["keys"]
    private = [str(entry[part]) for entry in entries for part in PRIVATE_PARTS & entry.keys()]
    assert len(private) > 10
    assert not any(part in answer.text for part in private)
