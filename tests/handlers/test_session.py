"""`/session`: what scripts of pages learn about the session, and how they keep it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from portal.tenancy.model import ClaimNames
from portal.web.session import claims_for_pages
from tests.kit.browser import Browser, Response
from tests.kit.raw import until
from tests.kit.samples import sample_login, sample_tenant
from tests.kit.world import World, world


async def read(world: World, browser: Browser, **headers: str) -> Response:
    return await browser.fetch(world.at("/session"), headers=headers, csrf=False)


async def facts(world: World, browser: Browser) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((await read(world, browser)).body)
    return loaded


async def change_tenant(world: World, slug: str, **changes: object) -> None:
    """Change keys of a tenant file, and wait until the portal serves it."""
    path = Path(world.settings.tenants) / f"{slug}.yaml"
    file = yaml.safe_load(path.read_text(encoding="utf-8")) | changes
    path.write_text(yaml.safe_dump(file), encoding="utf-8")
    registry = world.running.portal.registry
    before = registry.get(slug)
    await until(lambda: registry.get(slug) is not before, "the tenant was not read again")


@pytest.mark.gen_test
async def test_a_page_learns_who_is_signed_in_and_until_when(world: World) -> None:
    browser = world.browser()
    assert await facts(world, browser) == {"tenants": [], "session": None, "language": "en-GB"}
    await world.quick_sign_in(browser, "acme")
    found = await facts(world, browser)
    (tenant,) = found["tenants"]
    login = await world.login_of(browser, "acme")
    assert login is not None
    assert tenant == {
        "slug": "acme",
        "name": "Acme Corporation",
        "user": "Alice Archer",
        "roles": ["sales", "admin"],
        "claims": {},
        "access_expires_at": login.access_expires_at,
        "signed_in_at": login.signed_in_at,
        "expires_at": login.expires_at,
        "login_url": "/t/acme/login",
        "logout_url": "/t/acme/logout",
    }
    assert found["session"]["expires_at"] - world.clock() == pytest.approx(43_200, abs=30)
    assert found["session"]["idle_expires_at"] - world.clock() == pytest.approx(3_600, abs=30)


@pytest.mark.gen_test
async def test_pages_see_only_the_claims_that_the_tenant_chose(world: World) -> None:
    await change_tenant(world, "acme", claims={"page": ["email", "team", "huge", "missing"]})
    world.acme.faults.mutate_id_token = lambda _, claims: claims.update(
        team={"name": "Sales"}, huge="x" * 5_000, secret="no"
    )
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    (tenant,) = (await facts(world, browser))["tenants"]
    assert tenant["claims"] == {"email": "alice@acme.example", "team": {"name": "Sales"}}


def test_a_number_that_json_cannot_write_is_left_out() -> None:
    tenant = sample_tenant(claims=ClaimNames(page=("big", "team")))
    login = sample_login(claims={"big": float("1e400"), "team": "a", "other": "b"})
    assert claims_for_pages(tenant, login) == {"team": "a"}


@pytest.mark.gen_test
async def test_the_claims_of_one_login_have_a_size(world: World) -> None:
    names = [f"c{number}" for number in range(8)]
    await change_tenant(world, "acme", claims={"page": names})
    world.acme.faults.mutate_id_token = lambda _, claims: claims.update(dict.fromkeys(names, "x" * 4_000))
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    (tenant,) = (await facts(world, browser))["tenants"]
    assert list(tenant["claims"]) == names[:4]


@pytest.mark.gen_test
async def test_an_unchanged_session_is_not_sent_again(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    first = await read(world, browser)
    etag = first.headers["ETag"]
    assert etag.startswith('W/"')
    assert (first.headers["Vary"], first.headers["Cache-Control"]) == ("Accept-Language, Cookie", "no-store")
    assert first.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    for sent in (etag, f'"another", {etag}', etag.removeprefix("W/")):
        again = await read(world, browser, **{"If-None-Match": sent})
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", etag)
    await world.quick_sign_in(browser, "globex")
    changed = await read(world, browser, **{"If-None-Match": etag})
    assert (changed.status, len(json.loads(changed.body)["tenants"])) == (200, 2)


@pytest.mark.gen_test
async def test_reading_the_session_does_not_extend_it(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    before = (await facts(world, browser))["session"]
    world.clock.advance(1_800)
    assert (await facts(world, browser))["session"] == before
    world.clock.advance(1_900)
    assert await facts(world, browser) == {"tenants": [], "session": None, "language": "en-GB"}


@pytest.mark.gen_test
async def test_staying_signed_in_extends_the_session_and_each_login(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        await change_tenant(made, "acme", session={"idle": "30m"})
        browser = made.browser()
        await made.quick_sign_in(browser, "acme")
        await made.quick_sign_in(browser, "globex")
        before = await facts(made, browser)
        made.clock.advance(1_500)
        response = await browser.fetch(made.at("/session"), "POST", body="")
        assert response.status == 200
        extended = json.loads(response.body)
        assert extended == await facts(made, browser)
        moved = extended["session"]["idle_expires_at"] - before["session"]["idle_expires_at"]
        assert moved == pytest.approx(1_500, abs=60)
        assert extended["session"]["expires_at"] == before["session"]["expires_at"]
        acme, globex = extended["tenants"]
        assert acme["expires_at"] - before["tenants"][0]["expires_at"] == pytest.approx(1_500, abs=60)
        assert globex["expires_at"] == before["tenants"][1]["expires_at"]


@pytest.mark.gen_test
async def test_nobody_can_stay_signed_in_without_a_session(world: World) -> None:
    response = await world.browser().fetch(world.at("/session"), "POST", body="")
    assert json.loads(response.body) == {"tenants": [], "session": None, "language": "en-GB"}


@pytest.mark.gen_test
async def test_staying_signed_in_needs_the_portals_own_page(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    for options in (
        {"csrf": False},
        {"site": "cross-site"},
        {"site": "same-site"},
        {"site": None, "csrf": False},
    ):
        refused = await browser.fetch(world.at("/session"), "POST", body="", **options)
        assert refused.status == 403, options
    token = browser.cookie("localhost", "_xsrf") or browser.cookie("localhost", "portal_xsrf")
    form = await browser.fetch(world.at("/session"), "POST", body=f"_xsrf={token}", csrf=False)
    assert form.status == (200 if token else 403)


@pytest.mark.gen_test
async def test_another_site_cannot_ask_who_is_signed_in(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    for path in ("/session", "/session/events"):
        for site in ("cross-site", "same-site"):
            refused = await browser.fetch(world.at(path), site=site, csrf=False)
            assert (refused.status, json.loads(refused.body)["code"]) == (403, "cross_site_request")
        headers = {"Origin": "https://evil.example"}
        refused = await browser.fetch(world.at(path), site=None, headers=headers, csrf=False)
        assert refused.status == 403
    assert (await browser.fetch(world.at("/session"), site="none", csrf=False)).status == 200
    assert (await browser.fetch(world.at("/session"), site=None, csrf=False)).status == 200


@pytest.mark.gen_test
async def test_a_login_ends_with_the_providers_session(world: World) -> None:
    ends_at = int(world.clock()) + 900
    world.acme.faults.mutate_id_token = lambda _, claims: claims.update(session_expiry=ends_at)
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    (tenant,) = (await facts(world, browser))["tenants"]
    assert tenant["expires_at"] == ends_at
    world.clock.advance(901)
    assert (await facts(world, browser))["tenants"] == []
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 401


@pytest.mark.gen_test
async def test_a_session_expiry_in_the_past_or_of_a_wrong_type_is_refused(world: World) -> None:
    for value, rule in (
        (int(world.clock()) - 5, "session_expiry"),
        ("soon", "session_expiry"),
        (True, "session_"),
    ):
        world.acme.faults.mutate_id_token = lambda _, claims, value=value: claims.update(session_expiry=value)
        browser = world.browser()
        world.acme.automatic_user = "alice"
        page = await browser.open(world.at("/t/acme/login"))
        assert page.status == 400, rule
        assert (await facts(world, browser))["tenants"] == []
