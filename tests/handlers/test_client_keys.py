"""`GET /.well-known/jwks.json` and `GET /t/{tenant}/jwks.json`."""

from __future__ import annotations

import json

import pytest

from portal.keys.client_key_ring import load_client_keys
from portal.oidc.keys import parse_key_set
from tests.kit.raw import change_tenant
from tests.kit.world import World

PRIVATE_PARTS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


@pytest.mark.gen_test
async def test_providers_find_the_public_keys_and_nothing_else(world: World) -> None:
    response = await world.browser().open(world.at("/.well-known/jwks.json"))
    assert response.status == 200
    assert response.headers["Content-Type"].partition(";")[0] == "application/json"
    assert response.headers["Cache-Control"] == "public, max-age=300"
    assert "Set-Cookie" not in response.headers
    document = json.loads(response.text)
    assert document.keys() == {"keys"}
    assert {member["kid"].partition(".")[0] for member in document["keys"]} == {
        key.kid for key in load_client_keys(world.settings.keys)
    }
    for member in document["keys"]:
        assert PRIVATE_PARTS.isdisjoint(member)
    assert {member["alg"] for member in parse_key_set(response.text.encode()).members} == {
        "RS256",
        "PS256",
        "ES256",
        "EdDSA",
    }


@pytest.mark.gen_test
async def test_the_response_contains_no_private_key_parameter(world: World) -> None:
    response = await world.browser().open(world.at("/.well-known/jwks.json"))
    entries = json.loads(world.settings.keys.read_text())["keys"]
    private = [str(entry[part]) for entry in entries for part in PRIVATE_PARTS & entry.keys()]
    assert len(private) > 10
    assert not any(part in response.text for part in private)


@pytest.mark.gen_test
async def test_a_provider_finds_the_keys_of_its_registration_at_the_tenant_and_no_key_of_others(
    world: World,
) -> None:
    change_tenant(world, "acme", client={"auth": "private_key_jwt", "signing_key": "own"})
    change_tenant(world, "globex", client={"signing_key": "own"}, request_object="signed")
    browser = world.browser()
    shared = await browser.open(world.at("/.well-known/jwks.json"))
    responses = {slug: await browser.open(world.at(f"/t/{slug}/jwks.json")) for slug in ("acme", "globex")}
    kids = [member["kid"] for member in json.loads(shared.text)["keys"]]
    for response in responses.values():
        assert response.status == 200
        assert response.headers["Cache-Control"] == shared.headers["Cache-Control"]
        assert response.headers["Content-Type"] == shared.headers["Content-Type"]
        (member,) = json.loads(response.text)["keys"]
        assert (member["use"], member["alg"]) == ("sig", "ES256")
        assert PRIVATE_PARTS.isdisjoint(member)
        kids.append(member["kid"])
    assert len(set(kids)) == len(kids)


@pytest.mark.gen_test
async def test_a_tenant_whose_registrations_use_the_shared_key_has_no_key_set(world: World) -> None:
    browser = world.browser()
    for path in ("/t/acme/jwks.json", "/t/nobody/jwks.json"):
        assert (await browser.open(world.at(path))).status == 404
    change_tenant(world, "acme", client={"auth": "private_key_jwt"})
    assert (await browser.open(world.at("/t/acme/jwks.json"))).status == 404
