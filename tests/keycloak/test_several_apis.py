"""Several APIs of a tenant at a real Keycloak: standard token exchange (RFC 8693)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.keycloak.clients import EXCHANGING, POSTED
from tests.keycloak.conftest import KeycloakWorld
from tests.kit.several_apis import NAMES, RecordingApis, recording_apis, write_apis

CALLS = 100


def use(realms: KeycloakWorld, folder: Path, slug: str, apis: RecordingApis) -> None:
    entries = {name: {"base_url": f"{apis.url}/{name}", "audience": name} for name in NAMES}
    write_apis(folder / "tenants", entries, tenant=slug)
    realms.portal.running.portal.registry.load()


@pytest.mark.gen_test(timeout=120)
async def test_one_login_has_three_audiences_by_token_exchange(realms: KeycloakWorld, tmp_path: Path) -> None:
    async with recording_apis() as apis:
        use(realms, tmp_path, EXCHANGING.slug, apis)
        browser = realms.portal.browser()
        await realms.sign_in(browser, EXCHANGING.slug)
        before = await realms.portal.tokens_of(browser, EXCHANGING.slug)
        at = f"/t/{EXCHANGING.slug}/apis"
        urls = [realms.portal.at(f"{at}/{name}/x") for name in NAMES for _ in range(CALLS)]
        responses = await asyncio.gather(*map(browser.fetch, urls))
        assert {response.status for response in responses} == {200}
        for name in NAMES:
            assert {tuple(call.audiences) for call in apis.of(name)} == {(name,)}
            assert len({call.token for call in apis.of(name)}) == 1, "more than one token request"
        after = await realms.portal.tokens_of(browser, EXCHANGING.slug)
        assert after.refresh_token == before.refresh_token
        assert len(after.api_tokens) == len(NAMES)


@pytest.mark.gen_test(timeout=120)
async def test_a_client_without_token_exchange_needs_one_more_login_which_keycloak_answers_for_another_api(
    realms: KeycloakWorld, tmp_path: Path
) -> None:
    async with recording_apis() as apis:
        use(realms, tmp_path, POSTED.slug, apis)
        browser = realms.portal.browser()
        await realms.sign_in(browser, POSTED.slug)
        refused = await browser.fetch(realms.portal.at(f"/t/{POSTED.slug}/apis/billing/x"))
        assert refused.status == 401
        assert b"api_login_required" in refused.body
        page = await browser.open(realms.portal.at(f"/t/{POSTED.slug}/login?api=billing&prompt=none"))
        page = await realms.complete_sign_in(browser, page, POSTED.slug)
        assert page.status == 502
        assert "The sign-in service gave access to another API" in page.text
        assert not apis.calls
