"""Back-channel logout, end to end (OpenID Connect Back-Channel Logout 1.0)."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest
import yaml

from tests.kit.browser import Browser
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.processes import world_outside
from tests.kit.provider_logout import Provider, calls, refusal, set_claims, set_header, sid_of
from tests.kit.raw import add_second_provider, stored, until
from tests.kit.world import World


@pytest.mark.gen_test
async def test_signing_out_at_the_provider_ends_the_login_in_the_portal(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    front = await browser.open(f"{world.acme.issuer}/")
    done = await browser.submit(front.form("logout"), button="confirm")
    assert "signed out" in done.text
    assert await world.login_of(browser, "acme") is None
    assert await calls(world, browser, "acme") == 401
    assert await calls(world, browser, "globex") == 200
    assert "Sign in to" in (await browser.open(world.at("/t/acme/"))).text


@pytest.mark.gen_test
async def test_an_administrator_of_the_provider_signs_a_user_out_of_every_browser(world: World) -> None:
    browsers = [world.browser() for _ in range(3)]
    for browser, user in zip(browsers, ("alice", "alice", "bob"), strict=True):
        await world.sign_in(browser, "acme", user)
    deliveries = await world.acme.sign_out_user("alice")
    assert [delivery.status for delivery in deliveries] == [200, 200]
    assert [await calls(world, browser) for browser in browsers] == [401, 401, 200]


@pytest.mark.gen_test
async def test_an_accepted_logout_token_gets_an_empty_200_that_is_not_cached(world: World) -> None:
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    response = await provider.tell(provider.token(sid=await sid_of(world, browser)))
    assert (response.status, response.body) == (200, b"")
    assert response.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in response.headers
    assert await calls(world, browser) == 401


@pytest.mark.gen_test
async def test_a_logout_of_an_unknown_session_is_accepted(world: World) -> None:
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    assert (await provider.tell(provider.token(sid="another"))).status == 200
    assert await calls(world, browser) == 200


@pytest.mark.gen_test
async def test_a_token_without_sid_ends_every_login_of_the_subject(world: World) -> None:
    alice, elsewhere, bob = (world.browser() for _ in range(3))
    for browser, user in ((alice, "alice"), (elsewhere, "alice"), (bob, "bob")):
        await world.sign_in(browser, "acme", user)
    provider = Provider(world)
    token = provider.token(sid="-", subject="acme-001", change=set_claims(sid=None))
    assert (await provider.tell(token)).status == 200
    assert [await calls(world, browser) for browser in (alice, elsewhere, bob)] == [401, 401, 200]


@pytest.mark.gen_test
async def test_a_token_with_sid_keeps_the_subjects_other_sessions(world: World) -> None:
    here, there = world.browser(), world.browser()
    for browser in (here, there):
        await world.quick_sign_in(browser, "acme")
    provider = Provider(world)
    assert (await provider.tell(provider.token(sid=await sid_of(world, here)))).status == 200
    assert [await calls(world, browser) for browser in (here, there)] == [401, 200]


@pytest.mark.gen_test
async def test_a_login_without_sid_ends_with_any_logout_of_its_subject(world: World) -> None:
    named, unnamed = world.browser(), world.browser()
    await world.quick_sign_in(named, "acme")
    world.acme.faults.missing_claims = {"sid"}
    await world.quick_sign_in(unnamed, "acme")
    provider = Provider(world)
    assert (await provider.tell(provider.token(sid="a session of alice"))).status == 200
    assert [await calls(world, browser) for browser in (named, unnamed)] == [200, 401]


@pytest.mark.gen_test
async def test_a_token_without_sub_ends_the_session_it_names(world: World) -> None:
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    token = provider.token(sid=await sid_of(world, browser), change=set_claims(sub=None))
    assert (await provider.tell(token)).status == 200
    assert await calls(world, browser) == 401


@pytest.mark.gen_test
async def test_refresh_tokens_are_not_revoked_by_a_logout_of_the_provider(world: World) -> None:
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    assert (await provider.tell(provider.token(sid=await sid_of(world, browser)))).status == 200
    assert world.acme.requests["revocation"] == 0


@pytest.mark.gen_test
async def test_a_logout_during_a_refresh_wins(world: World) -> None:
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    sid = await sid_of(world, browser)
    await world.expire_access_token(browser, "acme")
    hold = asyncio.Event()
    world.acme.faults.endpoints["refresh"] = EndpointFault(hold=hold)
    call = asyncio.ensure_future(browser.fetch(world.at("/t/acme/api/orders")))
    await until(lambda: world.acme.requests["refresh"], "no refresh began")
    assert (await provider.tell(provider.token(sid=sid))).status == 200
    hold.set()
    assert (await call).status == 401
    assert await world.login_of(browser, "acme") is None


@pytest.mark.gen_test
async def test_a_logout_token_signed_with_a_new_key_is_accepted(world: World) -> None:
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    world.acme.rotate_keys()
    assert (await provider.tell(provider.token(sid=await sid_of(world, browser)))).status == 200
    assert await calls(world, browser) == 401


@pytest.mark.gen_test
async def test_a_tenant_with_several_providers_finds_the_sender_of_a_logout_token(world: World) -> None:
    """Acme takes Globex's provider as its second one: each ends its own logins and no others."""
    add_second_provider(world)
    (client,) = world.acme.settings.clients  # one of several providers has a redirect URI of its own
    client = replace(client, redirect_uris=(world.at("/t/acme/callback/staff"),))
    world.acme.settings = replace(world.acme.settings, clients=(client,))
    browser = world.browser()
    world.acme.automatic_user = "alice"
    await browser.open(world.at("/t/acme/login?provider=staff"))
    sid = await sid_of(world, browser)
    other_provider = Provider(world, "globex")
    assert (await other_provider.tell(other_provider.token(sid=sid), tenant="acme")).status == 200
    assert await world.login_of(browser, "acme") is not None, "a sid must count only at its own provider"
    provider = Provider(world)
    assert (await provider.tell(provider.token(sid=sid))).status == 200
    assert await world.login_of(browser, "acme") is None


@pytest.mark.gen_test
async def test_a_logout_ends_logins_of_one_tenant_when_two_share_a_provider(world: World) -> None:
    folder = world.parts.tenants_folder
    twin = yaml.safe_load((folder / "acme.yaml").read_text()) | {"name": "Twin", "email_domains": []}
    (folder / "twin.yaml").write_text(yaml.safe_dump(twin))
    world.running.portal.registry.load()
    assert not world.running.portal.registry.problems
    login_page = await _signed_in_at_twin(world)
    sid = await sid_of(world, login_page, "acme")
    provider = Provider(world)
    token = provider.token(sid=sid)
    assert (await provider.tell(token, tenant="acme")).status == 200
    assert await world.login_of(login_page, "acme") is None
    assert await world.login_of(login_page, "twin") is not None
    assert (await provider.tell(token, tenant="twin")).status == 200, "each tenant gets its own logout"
    assert await world.login_of(login_page, "twin") is None


async def _signed_in_at_twin(world: World) -> Browser:
    """A browser with a login at acme and a copy of it at the tenant twin."""
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    login = await world.login_of(browser, "acme")
    assert login is not None
    sid = world.running.vault.sid_hash("twin", login.issuer, await sid_of(world, browser))
    await world.running.portal.store.put_login(replace(login, tenant="twin", sid=sid))
    return browser


# --- invalid logout requests


FORM = "application/x-www-form-urlencoded"


def _form(token: str) -> str:
    return urlencode({"logout_token": token})


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("", None),
        ("logout_token=", None),
        ("token=x", None),
        ("logout_token={token}&logout_token={token}", None),
        ("logout_token={token}&" + "&".join(f"f{n}=1" for n in range(40)), None),
        ("logout_token={token}\xff", None),
        ('{{"logout_token": "{token}"}}', "application/json"),
        ("logout_token={token}", "text/plain"),
        ("logout_token={token}", ""),
        ("{token}", "application/jwt"),
    ],
)
@pytest.mark.gen_test
async def test_an_invalid_logout_request_gets_400_as_json(
    world: World, body: str, content_type: str | None
) -> None:
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    token = provider.token(sid=await sid_of(world, browser))
    headers = {"Content-Type": FORM if content_type is None else content_type}
    url = world.at("/t/acme/backchannel-logout")
    response = await provider.send(body.format(token=token).encode("latin-1"), url, **headers)
    assert response.status == 400
    assert refusal(response)["error"] == "invalid_request"
    assert await calls(world, browser) == 200


@pytest.mark.gen_test
async def test_a_form_may_name_its_character_set(world: World) -> None:
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    response = await provider.send(
        _form(provider.token(sid=await sid_of(world, browser))),
        world.at("/t/acme/backchannel-logout"),
        **{"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"},
    )
    assert response.status == 200
    assert await calls(world, browser) == 401


@pytest.mark.gen_test
async def test_a_body_above_64_kb_is_refused(world: World) -> None:
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    body = _form(provider.token(sid=await sid_of(world, browser))) + "&pad=" + "x" * 70_000
    response = await provider.send(body, world.at("/t/acme/backchannel-logout"))
    assert response.status == 413
    assert refusal(response)["error"] == "invalid_request"
    assert await calls(world, browser) == 200
    assert (await provider.send(body[:60_000], world.at("/t/acme/backchannel-logout"))).status == 200


@pytest.mark.parametrize(
    "path", ["/t/nobody/backchannel-logout", "/t/nobody/frontchannel-logout?iss=a&sid=b"]
)
@pytest.mark.gen_test
async def test_an_unknown_tenant_has_no_logout_endpoint(world: World, path: str) -> None:
    provider = Provider(world)
    if "back" in path:
        assert (await provider.tell("x", url=world.at(path))).status == 404
    else:
        assert (await provider.caller.fetch(world.at(path), csrf=False, site=None)).status == 404


@pytest.mark.gen_test
async def test_a_backchannel_logout_requires_post(world: World) -> None:
    response = await Provider(world).caller.fetch(world.at("/t/acme/backchannel-logout?logout_token=x"))
    assert response.status == 405


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
@pytest.mark.gen_test
async def test_a_backchannel_logout_ignores_browser_headers_and_cookies(world: World, site: str) -> None:
    """Only the token counts: a proxy may add headers."""
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    sid = await sid_of(world, browser)
    headers = {"Origin": "https://login.example", "Sec-Fetch-Site": site, "Cookie": "portal=x; portal=y"}
    url = world.at("/t/acme/backchannel-logout")
    assert (await provider.send(_form(provider.token(sid=sid)), url, **headers)).status == 200
    assert await calls(world, browser) == 401


@pytest.mark.gen_test
async def test_a_rejected_logout_token_is_logged_in_one_line_with_its_rule_and_no_part_of_the_token(
    world: World, log_lines: io.StringIO
) -> None:
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    token = provider.token(sid=await sid_of(world, browser), change=set_claims(events=None))
    log_lines.truncate(0)
    response = await provider.tell(token)
    error = refusal(response)
    assert error["error_description"].startswith("events: ")
    lines = [json.loads(line) for line in log_lines.getvalue().replace("\0", "").splitlines()]
    (line,) = [line for line in lines if line["level"] == "warning"]
    assert line["event"] == "provider_logout_rejected"
    assert (line["tenant"], line["provider"], line["rule"]) == ("acme", "default", "events")
    assert line["request_id"] == error["request_id"]
    for part in token.split("."):
        assert part not in log_lines.getvalue()
        assert part not in response.text


# --- several processes


@pytest.mark.gen_test(timeout=90)
async def test_a_logout_at_the_provider_ends_the_login_in_every_process(tmp_path: Path) -> None:
    """Two processes on one database; each has just used the login and has it in its cache."""
    async with world_outside(tmp_path, processes=2) as (world, served):
        await until(lambda: len(served.workers) == 2, "two processes did not start")
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        seen = [await calls(world, each) for each in [browser] * 20]
        assert seen == [200] * 20
        await world.acme.sign_out_user("alice")
        responses = await asyncio.gather(*(_fresh_call(world, browser) for _ in range(24)))
        assert responses == [401] * 24


async def _fresh_call(world: World, browser: Browser) -> int:
    """Make a call on a new connection, which any process may accept."""
    caller = world.browser()
    caller.cookies = {host: dict(jar) for host, jar in browser.cookies.items()}
    return await calls(world, caller)


@pytest.mark.gen_test
async def test_only_a_hash_of_the_id_of_a_logout_token_is_stored(world: World) -> None:
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    sid = await sid_of(world, browser)
    token = provider.token(sid=sid, change=set_header(typ="logout+jwt"))
    assert (await provider.tell(token)).status == 200
    ((key, expires_at),) = stored(world)["once"]
    assert isinstance(key, str)
    assert len(key) == 64
    assert isinstance(expires_at, float)
    assert expires_at - world.clock() < 720
