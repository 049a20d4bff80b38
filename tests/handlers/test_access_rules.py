"""Access rules: at a sign-in, at a refresh, when the tenant changes, and for paths of the API."""

from __future__ import annotations

import asyncio
import functools
import io
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from portal.demo.compact import JsonObject
from portal.errors import LoginRequired
from portal.web.api_proxy import live_calls
from tests.kit.browser import Browser, Response
from tests.kit.raw import PATIENCE, api_head, change_tenant, connected, signed_in, stored, until
from tests.kit.world import World

ADMINS = {"require": [{"claim": "roles", "contains": "admin"}]}
"""alice is an admin, bob is not."""
BY_EMAIL = {"require": [{"claim": "email", "ends_with": "@acme.example", "verified_by": "email_verified"}]}


async def try_to_sign_in(world: World, browser: Browser, user: str, query: str = "") -> Response:
    world.acme.automatic_user = user
    try:
        return await browser.open(world.at(f"/t/acme/login{query}"))
    finally:
        world.acme.automatic_user = None


def events(log_lines: io.StringIO, event: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    return [line for line in lines if line["event"] == event]


def nothing_is_stored(world: World) -> bool:
    tables = stored(world)
    return not any(tables[name] for name in ("attempts", "logouts", "sessions", "logins"))


# --- at a sign-in


@pytest.mark.gen_test
async def test_an_account_that_the_rules_reject_gets_a_page_and_nothing_is_stored(
    world: World, log_lines: io.StringIO
) -> None:
    change_tenant(world, "acme", access=ADMINS | {"contact": "IT desk, help@acme.example <b>"})
    browser = world.browser()
    page = await try_to_sign_in(world, browser, "bob")
    assert page.status == 403
    for text in ("Acme Corporation", "Bob Baker", "bob@acme.example", "IT desk, help@acme.example &lt;b&gt;"):
        assert text in page.text
    assert "admin" not in page.text.replace("administrator", "")  # the rule is for the log
    assert browser.cookie("localhost", "portal") is None
    assert nothing_is_stored(world)
    assert world.acme.requests["revocation"] == 1
    (line,) = events(log_lines, "request_failed")
    assert (line["code"], line["tenant"], line["provider"]) == ("sign_in_not_allowed", "acme", "default")
    assert line["rule"] == 'roles must be a list with "admin"'
    assert line["detail"] == "found a list of 1 without it"
    assert "bob" not in log_lines.getvalue()
    assert "warehouse" not in log_lines.getvalue()


@pytest.mark.gen_test
async def test_an_account_that_satisfies_every_rule_signs_in(world: World) -> None:
    change_tenant(world, "acme", access={"require": [*ADMINS["require"], *BY_EMAIL["require"]]})
    await world.quick_sign_in(world.browser(), "acme")


@pytest.mark.gen_test
async def test_the_page_offers_another_account_and_a_sign_out_at_the_provider(world: World) -> None:
    change_tenant(world, "acme", access=ADMINS)
    browser = world.browser()
    page = await try_to_sign_in(world, browser, "bob")
    (again,) = [link for link in page.links if "select_account" in link]
    page = await browser.click(again)
    assert page.url.startswith(world.acme.issuer), "the provider shows its account selection"
    page = await try_to_sign_in(world, browser, "bob")
    left = await browser.submit(page.form("/t/acme/logout"))
    assert left.status == 200
    assert world.acme.requests["end_session"] == 1


@pytest.mark.gen_test
async def test_a_program_gets_json(world: World) -> None:
    change_tenant(world, "acme", access=ADMINS)
    world.acme.automatic_user = "bob"
    browser = world.browser()
    redirect = await browser.step(world.at("/t/acme/login"))
    responded = await browser.step(redirect.headers["Location"], site="cross-site")
    refused = await browser.fetch(
        responded.headers["Location"], site="cross-site", headers={"Accept": "application/json"}
    )
    assert refused.status == 403
    assert json.loads(refused.body)["code"] == "sign_in_not_allowed"


@pytest.mark.gen_test
async def test_a_refused_account_does_not_end_the_existing_login(world: World) -> None:
    change_tenant(world, "acme", access=ADMINS)
    browser = await signed_in(world)
    assert (await try_to_sign_in(world, browser, "bob", "?prompt=login")).status == 403
    login = await world.login_of(browser, "acme")
    assert login is not None
    assert login.subject == "acme-001"


@pytest.mark.gen_test
async def test_a_refused_silent_sign_in_is_not_repeated(world: World) -> None:
    change_tenant(world, "acme", access=ADMINS)
    browser = world.browser()
    await try_to_sign_in(world, browser, "bob")
    before = world.acme.requests["authorize"]
    page = await try_to_sign_in(world, browser, "bob", "?prompt=none")
    assert page.status == 403
    assert world.acme.requests["authorize"] == before + 1


@pytest.mark.gen_test
async def test_rules_apply_to_the_claims_of_userinfo_too(world: World) -> None:
    change_tenant(world, "acme", userinfo=True, access={"require": [{"claim": "plan", "equals": "gold"}]})
    world.acme.faults.mutate_userinfo = lambda claims: claims.update(plan="gold")
    browser = await signed_in(world)
    await world.expire_access_token(browser, "acme")
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
    login = await world.login_of(browser, "acme")
    assert login is not None
    assert login.claims["plan"] == "gold", "the claim was lost in a refresh"
    world.acme.faults.clear()
    assert (await try_to_sign_in(world, world.browser(), "alice")).status == 403


# --- hosted_domain


def as_google(world: World) -> None:
    change_tenant(
        world, "acme", preset="google", hosted_domain="acme.example", scopes=["openid", "email", "profile"]
    )


@pytest.mark.gen_test
async def test_hosted_domain_is_enforced_at_a_provider_that_ignores_hd(world: World) -> None:
    as_google(world)
    redirect = await world.browser().step(world.at("/t/acme/login"))
    assert parse_qs(urlsplit(redirect.headers["Location"]).query)["hd"] == ["acme.example"]
    for hd in (None, "other.example", "ACME.example", ["acme.example"], "\u0430cme.example", True):
        world.acme.faults.mutate_id_token = functools.partial(_hosted, hd)
        world.acme.requests.clear()
        assert (await world.sign_in(world.browser(), "acme")).status == 403, hd
        assert world.acme.requests["code"] == 1
        assert not stored(world)["logins"]


def _hosted(hd: object, header: JsonObject, claims: JsonObject) -> None:
    if hd is not None:
        claims["hd"] = hd


@pytest.mark.gen_test
async def test_an_account_of_the_hosted_domain_signs_in(world: World) -> None:
    as_google(world)
    world.acme.faults.mutate_id_token = lambda header, claims: claims.update(hd="acme.example")
    page = await world.sign_in(world.browser(), "acme")
    assert page.url == world.at("/t/acme/")


# --- at a refresh


async def refreshed(world: World, browser: Browser) -> Response:
    await world.expire_access_token(browser, "acme")
    return await browser.fetch(world.at("/t/acme/api/orders"))


@pytest.mark.gen_test
async def test_a_refresh_with_claims_that_violate_a_rule_ends_the_login(
    world: World, log_lines: io.StringIO
) -> None:
    change_tenant(world, "acme", access=ADMINS)
    browser = await signed_in(world)
    world.acme.faults.mutate_id_token = lambda header, claims: claims.update(roles=["sales"])
    response = await refreshed(world, browser)
    assert response.status == 401
    assert json.loads(response.body)["code"] == "login_ended"
    assert await world.login_of(browser, "acme") is None
    assert world.acme.requests["revocation"] == 1
    (line,) = events(log_lines, "login_ended")
    assert "roles must be a list with" in str(line["reason"])


@pytest.mark.parametrize("withdrawn", [True, False])
@pytest.mark.gen_test
async def test_new_claims_are_stored_and_withdrawn_ones_removed(world: World, withdrawn: bool) -> None:
    browser = await signed_in(world)

    def changed(header: JsonObject, claims: JsonObject) -> None:
        if withdrawn:
            del claims["roles"], claims["name"]
        else:
            claims |= {"roles": ["boss"], "floor": 7}

    world.acme.faults.mutate_id_token = changed
    assert (await refreshed(world, browser)).status == 200
    login = await world.login_of(browser, "acme")
    assert login is not None
    assert login.claims["name"] == "Alice Archer"
    assert login.claims.get("roles") == (None if withdrawn else ["boss"])
    assert login.claims.get("floor") == (None if withdrawn else 7)
    assert "sid" not in login.claims


@pytest.mark.gen_test
async def test_claims_of_an_invalid_id_token_are_not_stored(world: World) -> None:
    browser = await signed_in(world)
    world.acme.faults.mutate_id_token = lambda header, claims: claims.update(roles=["boss"], exp=1)
    assert (await refreshed(world, browser)).status == 200
    login = await world.login_of(browser, "acme")
    assert login is not None
    assert login.claims["roles"] == ["sales", "admin"]


# --- when the tenant changes


@pytest.mark.gen_test
async def test_a_login_that_new_rules_forbid_is_rejected_at_once_and_ended(
    world: World, log_lines: io.StringIO
) -> None:
    browser = await signed_in(world)
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
    change_tenant(world, "acme", access={"require": [{"claim": "roles", "contains": "boss"}]})
    calls = world.acme_api.calls["orders"]
    response = await browser.fetch(world.at("/t/acme/api/orders"))
    assert response.status == 401
    assert json.loads(response.body)["code"] == "login_required"
    assert world.acme_api.calls["orders"] == calls
    assert json.loads((await browser.fetch(world.at("/session"))).body)["tenants"] == []
    await until(lambda: world.acme.requests["revocation"], "the tokens were not revoked")
    assert await world.login_of(browser, "acme") is None
    assert len(events(log_lines, "login_no_longer_allowed")) == 1


@pytest.mark.gen_test
async def test_a_login_that_new_rules_allow_continues(world: World) -> None:
    browser = await signed_in(world)
    change_tenant(world, "acme", access=ADMINS)
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


# --- paths of the API


PATH_RULES = {
    "paths": [
        {"path": "/orders/", "require": [{"claim": "roles", "contains": "boss"}]},
        {"path": "/orders/A-1001", "require": [{"claim": "roles", "contains": "sales"}]},
    ]
}


@pytest.mark.gen_test
async def test_path_rules_apply_and_the_longest_path_wins(world: World, log_lines: io.StringIO) -> None:
    change_tenant(world, "acme", access=PATH_RULES)
    browser = await signed_in(world)
    for path, status in (("/orders", 403), ("/orders/", 403), ("/orders/A-1001", 200), ("/echo", 200)):
        response = await browser.fetch(world.at(f"/t/acme/api{path}"))
        assert response.status == status, path
    refused = await browser.fetch(world.at("/t/acme/api/orders"))
    problem = json.loads(refused.body)
    assert problem["code"] == "access_denied"
    assert problem["title"] == "Your account may not use this part of the API"
    assert refused.headers["X-Portal-Problem"] == "1"
    assert "boss" not in refused.text
    assert "login_url" not in problem
    line = events(log_lines, "request_failed")[-1]
    assert line["rule"] == '/orders/: roles must be a list with "boss"'
    assert line["detail"] == "found a list of 2 without it, for an account of acme/default"


SPELLINGS = [
    *(
        "/orders?x=1",
        "/Orders",
        "/%6frders",
        "/%6Frders/A-1002",
        "/%256frders",
        "/orders%3bx=1",
        "/orders%3Fx",
    ),
    *("/orders.json", "/orders%20", "/ORDERS/a-1001", "/%EF%BD%8Frders", "/orders%2e", "/orders(1)"),
    *(
        "/orders%E2%80%8B",
        "/%20orders/A-1001",
        "/orders%00",
        "//orders",
        "/x/../orders",
        "/x%2f..%2forders",
    ),
    *("/orders%2FA-1001", "/orders;x"),
]


@pytest.mark.gen_test
async def test_no_spelling_of_a_path_bypasses_its_rule(world: World) -> None:
    change_tenant(world, "acme", access=PATH_RULES)
    browser = await signed_in(world)
    before = sum(world.acme_api.calls.values())
    for path in SPELLINGS:
        async with connected(world) as connection:
            await connection.send(api_head(world, browser, f"/t/acme/api{path}"))
            response = await connection.read_response()
        assert response is not None
        assert response.status in {400, 403}, path
        assert sum(world.acme_api.calls.values()) == before


@pytest.mark.gen_test
async def test_claims_from_a_refresh_are_checked_before_the_call_is_made(world: World) -> None:
    change_tenant(world, "acme", access={"paths": [{"path": "/orders", **ADMINS}]})
    browser = await signed_in(world)
    assert (await refreshed(world, browser)).status == 200
    calls = world.acme_api.calls["orders"]
    world.acme.faults.mutate_id_token = lambda header, claims: claims.update(roles=["sales"])
    assert (await refreshed(world, browser)).status == 403
    assert world.acme_api.calls["orders"] == calls
    assert await world.login_of(browser, "acme") is not None


@pytest.mark.gen_test
async def test_the_explorer_enforces_path_rules(world: World) -> None:
    change_tenant(world, "acme", access=PATH_RULES)
    browser = await signed_in(world)
    page = await browser.open(world.at("/t/acme/developer"))
    form = next(form for form in page.forms if "body" in dict(form.fields))
    page = await browser.submit(form, {"method": "GET", "path": "/orders"})
    assert "Your account may not use this part of the API" in page.text
    assert not world.acme_api.calls["orders"]


@pytest.mark.parametrize("end", ["rules", "path", "claims"])
@pytest.mark.gen_test
async def test_a_stream_ends_when_its_user_is_no_longer_allowed(
    world: World, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(live_calls, "_LEAST_AGE", 0.0)
    monkeypatch.setattr(live_calls, "CHECK_SECONDS", 3600.0)
    change_tenant(world, "acme", access={"paths": [{"path": "/stream", **ADMINS}]})
    browser = await signed_in(world)
    async with connected(world) as connection:
        await connection.send(api_head(world, browser, "/t/acme/api/stream?interval=0.05"))
        await asyncio.wait_for(connection.reader.readuntil(b'"tick"'), PATIENCE)
        await world.running.portal.live_calls.check()
        assert world.acme_api.open_streams == 1
        if end == "rules":
            change_tenant(world, "acme", access={"require": [{"claim": "roles", "contains": "boss"}]})
        elif end == "path":
            boss = {"path": "/stream", "require": [{"claim": "roles", "contains": "boss"}]}
            change_tenant(world, "acme", access={"paths": [boss]})
        else:
            world.acme.faults.mutate_id_token = lambda header, claims: claims.update(roles=["sales"])
            assert (await refreshed(world, browser)).status == 200
        await world.running.portal.live_calls.check()
        await connection.ended()
        await until(lambda: not world.acme_api.open_streams, "the stream continues")


@pytest.mark.gen_test
async def test_a_call_does_not_continue_with_the_claims_of_another_user_of_the_same_session(
    world: World,
) -> None:
    browser, sessions = world.browser(), world.running.portal.sessions
    await try_to_sign_in(world, browser, "alice")
    alice = await world.login_of(browser, "acme")
    assert alice is not None
    assert (await sessions.read_again(alice)).subject == alice.subject
    assert (await try_to_sign_in(world, browser, "bob")).status == 200
    with pytest.raises(LoginRequired):
        await sessions.read_again(alice)
    bob = await world.login_of(browser, "acme")
    assert bob is not None
    change_tenant(world, "acme", access=ADMINS)
    with pytest.raises(LoginRequired):
        await sessions.read_again(bob)


@pytest.mark.gen_test
async def test_the_roles_that_the_tenant_names_are_shown(world: World) -> None:
    browser = world.browser()
    page = await world.quick_sign_in(browser, "acme")
    assert '<li class="chip"><bdi>sales</bdi></li><li class="chip"><bdi>admin</bdi></li>' in page.text
