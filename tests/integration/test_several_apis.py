"""Several APIs of a tenant with the certified npm package `oidc-provider`: resource indicators (RFC 8707)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.integration.certified import ACME, AUDIENCE, FURTHER_AUDIENCES
from tests.integration.conftest import CertifiedWorld
from tests.kit.several_apis import NAMES, audience, recording_apis, write_apis

CALLS = 100


@pytest.mark.gen_test(timeout=60)
async def test_one_login_has_three_audiences_with_one_token_request_each(
    certified: CertifiedWorld, tmp_path: Path
) -> None:
    assert tuple(map(audience, NAMES)) == FURTHER_AUDIENCES
    async with recording_apis() as apis:
        entries = {
            name: {"base_url": f"{apis.url}/{name}", "resource": audience(name), "scopes": ["read:orders"]}
            for name in NAMES
        }
        write_apis(tmp_path / "tenants", entries)
        certified.portal.running.portal.registry.load()
        browser = certified.portal.browser()
        await certified.sign_in(browser, ACME)
        urls = [certified.portal.at(f"/t/acme/apis/{name}/x") for name in NAMES for _ in range(CALLS)]
        responses = await asyncio.gather(*map(browser.fetch, urls))
        assert {response.status for response in responses} == {200}
        assert await certified.provider.count("grant.success", grant="refresh_token") == len(NAMES)
        for name in NAMES:
            assert {tuple(call.audiences) for call in apis.of(name)} == {(audience(name),)}
        assert (await certified.portal.call(browser, "acme")).status == 200
        tokens = await certified.portal.tokens_of(browser, "acme")
        assert len(tokens.api_tokens) == len(NAMES)
        assert await certified.provider.count("grant.success", grant="refresh_token") == len(NAMES)


@pytest.mark.gen_test(timeout=60)
async def test_an_api_that_was_not_part_of_the_login_is_added_by_one_more(
    certified: CertifiedWorld, tmp_path: Path
) -> None:
    async with recording_apis() as apis:
        browser = certified.portal.browser()
        await certified.sign_in(browser, ACME)
        entry = {
            "base_url": f"{apis.url}/billing",
            "resource": audience("billing"),
            "scopes": ["read:orders"],
        }
        write_apis(tmp_path / "tenants", {"billing": entry})
        certified.portal.running.portal.registry.load()
        url = certified.portal.at("/t/acme/apis/billing/x")
        refused = await browser.fetch(url)
        assert refused.status == 401
        assert b"api_login_required" in refused.body
        page = await browser.open(certified.portal.at("/t/acme/login?api=billing&prompt=none"))
        page = await certified.provider.complete_sign_in(browser, page, "ada")
        assert page.url == certified.portal.at("/t/acme/")
        assert (await browser.fetch(url)).status == 200
        assert apis.calls[-1].audiences == [audience("billing")]
        assert (await certified.portal.call(browser, "acme")).status == 200
        assert AUDIENCE not in apis.calls[-1].audiences
