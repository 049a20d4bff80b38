"""THREATS S1, S2, S6, S7, S8, S12 and S13: sessions, on real sockets."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from tornado.ioloop import IOLoop

from portal.demo.endpoint_faults import Answer as Canned
from portal.demo.endpoint_faults import EndpointFault
from portal.sessions.credentials import SessionCookie
from portal.sessions.keyring import KeyRing
from tests.kit.browser import Browser
from tests.kit.raw import PATIENCE, ask, change_tenant, cookies, stored, until
from tests.kit.samples import sample_login, sample_session, sample_tokens
from tests.kit.world import World
from tests.kit.world import world as make_world

# --- S1: what another site can make a browser send

FORM = "application/x-www-form-urlencoded"
CROSS_SITE: dict[str, dict[str, str]] = {
    "form of another site": {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    "sibling subdomain": {"Sec-Fetch-Site": "same-site", "Origin": "https://evil.portal.example"},
    "typed or bookmarked": {"Sec-Fetch-Site": "none"},
    "old browser, other origin": {"Origin": "https://evil.example"},
    "old browser, sandboxed frame": {"Origin": "null"},
    "old browser, other port": {"Origin": "http://localhost:1"},
    "old browser, other scheme": {"Origin": "https://localhost"},
    "old browser, image": {"Referer": "https://evil.example/"},
    "neither header": {},
    "capital letters": {"Sec-Fetch-Site": "Same-Origin", "Origin": "https://evil.example"},
    "empty": {"Sec-Fetch-Site": "", "Origin": ""},
    "list": {"Sec-Fetch-Site": "same-origin, cross-site"},
    "same site claimed twice": {"Sec-Fetch-Site": "cross-site, same-origin"},
}
METHODS = ("POST", "PUT", "PATCH", "DELETE")


async def _everything(world: World) -> tuple[object, ...]:
    return (
        {name: rows for name, rows in stored(world).items() if name != "attempts"},
        world.acme_api.calls.total(),
        world.globex_api.calls.total(),
        world.acme.requests["token"],
        world.acme.requests["revocation"],
    )


@pytest.mark.parametrize("case", CROSS_SITE)
@pytest.mark.gen_test
async def test_S1_a_request_of_another_site_has_no_effect(world: World, case: str) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    headers = CROSS_SITE[case]
    before = await _everything(world)
    for path in ("/logout", "/t/acme/logout", "/t/acme/", "/t/acme/api/orders", "/account"):
        for body, kind in (("method=DELETE&path=/orders/A-1001", FORM), ('{"a": 1}', "text/plain")):
            answer = await browser.fetch(
                world.at(path), "POST", body=body, site=None, csrf=False,
                headers={**headers, "Content-Type": kind},
            )  # fmt: skip
            assert answer.status == 403, path
    for method in ("GET", "HEAD", "OPTIONS", *METHODS):
        for csrf in (False, True):
            answer = await browser.fetch(
                world.at("/t/acme/api/orders"), method, site=None, csrf=csrf, headers=headers
            )
            assert answer.status == 403, method
            assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert await _everything(world) == before
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test
async def test_S1_headers_sent_twice_are_not_the_portals_own(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    for headers in (
        "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Site: same-origin",
        f"Origin: {world.url}\r\nOrigin: https://evil.example",
        f"Origin: https://evil.example\r\nOrigin: {world.url}",
        f"Origin: {world.url}, https://evil.example",
    ):
        for path in ("/t/acme/logout", "/t/acme/api/orders"):
            head = (
                f"POST {path} HTTP/1.1\r\nHost: x\r\nCookie: {cookies(browser)}\r\nX-Portal-CSRF: 1\r\n"
                f"{headers}\r\nContent-Length: 0\r\n\r\n"
            )
            answer = await ask(world, head.encode())
            assert answer is not None
            assert answer.status == 403, headers
    assert await world.login_of(browser, "acme") is not None
    assert world.acme_api.calls.total() == 0


@pytest.mark.parametrize("value", ["", "0", "true", "1, 1", "2", "１"])
@pytest.mark.gen_test
async def test_S1_an_api_call_without_the_csrf_header_is_refused(world: World, value: str) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    headers = {"X-Portal-CSRF": value.encode().decode("latin-1")} if value else {}
    answer = await browser.fetch(world.at("/t/acme/api/orders"), headers=headers, csrf=False)
    assert answer.status == 403
    assert json.loads(answer.body)["code"] == "cross_site_request"
    assert world.acme_api.calls.total() == 0


@pytest.mark.gen_test
async def test_S1_a_form_of_an_old_browser_passes_with_its_token_alone(world: World) -> None:
    browser, stranger = world.browser(), world.browser()
    home = await world.quick_sign_in(browser, "acme")
    foreign = await stranger.open(world.at("/"))
    stranger_token = stranger.cookie("localhost", "portal-xsrf")
    assert foreign.status == 200
    for token in ("", "x", "2|aa|bb|1", stranger_token or "", "2|zzzzzzzz|" + "0" * 32 + "|1"):
        answer = await browser.fetch(
            world.at("/t/acme/logout"), "POST", body=urlencode({"_xsrf": token}), site=None, csrf=False
        )
        assert answer.status == 403
    assert await world.login_of(browser, "acme") is not None
    fields = urlencode(home.form("/t/acme/logout").fields)
    answer = await browser.fetch(world.at("/t/acme/logout"), "POST", body=fields, site=None, csrf=False)
    assert answer.status == 303
    assert await world.login_of(browser, "acme") is None


STATE_CHANGING = ("/logout", "/t/acme/logout")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "FOO", "TRACE"])
@pytest.mark.gen_test
async def test_S1_only_post_signs_out(world: World, method: str) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    for path in STATE_CHANGING:
        answer = await browser.fetch(
            world.at(f"{path}?_method=POST"), method, headers={"X-HTTP-Method-Override": "POST"}
        )
        assert answer.status == 405, path
    assert await world.login_of(browser, "acme") is not None
    assert world.acme.requests["revocation"] == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "FOO"])
@pytest.mark.gen_test
async def test_S1_only_get_begins_and_finishes_a_login(world: World, method: str) -> None:
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    before = stored(world)
    for url in (world.at("/t/acme/login"), callback):
        answer = await browser.fetch(url, method)
        assert answer.status == 405
        assert "There is nothing" in answer.text or "That cannot be done" in answer.text
    assert stored(world) == before
    assert world.acme.requests["token"] == 0


# --- S2: cookies


@pytest.mark.gen_test
async def test_S2_a_strange_cookie_is_no_login_and_no_error(world: World) -> None:
    browser, other = world.browser(), world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(other, "acme")
    own, foreign = browser.cookie("localhost", "portal"), other.cookie("localhost", "portal")
    assert own is not None
    assert foreign is not None
    session_id, secret = own.split(".")
    cases = [
        f"portal={own}; portal={own}",
        f"portal={own}; portal={foreign}",
        f"portal={foreign}; portal={own}",
        f"portal={own}; portal=",
        f"portal={session_id}.{foreign.split('.')[1]}",
        f"portal={session_id}",
        f"portal={session_id}.",
        f"portal=.{secret}",
        f"portal={own}.{secret}",
        f"portal={own}A",
        f"portal={own.swapcase()}",
        f'portal="{own}"',
        f"portal={quote(own.replace('.', '%2e'), safe='')}",
        f"PORTAL={own}",
        f"portal[]={own}",
        f"__Host-portal={own}",
        "portal=" + "A" * 22 + "." + "B" * 43,
        "portal=" + "A" * 8192,
        "portal=" + "\xe9" * 66,
        "portal={$ne:1}.x",
        "portal=' OR 1=1 --",
        "; ; =; portal; ;",
        "portal-xsrf=2|zz|zz|99999999999999999999; portal-attempt=" + "C" * 4000,
        "; ".join(f"c{number}=x" for number in range(2000)),
    ]
    for case in cases:
        for path in ("/t/acme/", "/", "/account", "/session", "/t/acme/callback?code=a&state=b"):
            head = f"GET {path} HTTP/1.1\r\nHost: x\r\nCookie: {case}\r\nAccept: text/html\r\n\r\n"
            answer = await ask(world, head.encode("latin-1"))
            assert answer is not None
            assert answer.status in {200, 400}, case
            assert "Alice" not in answer.text
        head = (
            f"GET /t/acme/api/orders HTTP/1.1\r\nHost: x\r\nCookie: {case}\r\n"
            "Sec-Fetch-Site: same-origin\r\nX-Portal-CSRF: 1\r\n\r\n"
        )
        answer = await ask(world, head.encode("latin-1"))
        assert answer is not None
        assert answer.status == 401, case
    assert world.acme_api.calls.total() == 0
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test
async def test_S2_cookies_spread_over_several_headers_are_read_as_one(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    own = browser.cookie("localhost", "portal")
    rest = "Sec-Fetch-Site: same-origin\r\nX-Portal-CSRF: 1\r\n\r\n"
    for lines, status in (
        (f"Cookie: a=b\r\nCookie: portal={own}\r\n", 200),
        (f"Cookie: portal={own}\r\nCookie: portal={own}\r\n", 401),
        (f"Cookie: a=b, portal={own}\r\n", 401),
    ):
        answer = await ask(world, f"GET /t/acme/api/orders HTTP/1.1\r\nHost: x\r\n{lines}{rest}".encode())
        assert answer is not None
        assert answer.status == status


@pytest.mark.gen_test
async def test_S2_the_session_cookie_is_out_of_the_reach_of_scripts_and_other_sites(world: World) -> None:
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    answer = await browser.step(callback, site="cross-site")
    (made,) = [one for one in answer.headers.get_list("Set-Cookie") if one.startswith("portal=")]
    attributes = {part.strip().lower() for part in made.split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/"} <= attributes
    assert not any(attribute.startswith(("domain", "max-age", "expires")) for attribute in attributes)


@pytest.fixture
def world_behind_https(io_loop: IOLoop, tmp_path: Path, log_lines: io.StringIO) -> Iterator[World]:
    """A portal that browsers reach over https, through a proxy that is not there."""
    manager = make_world(tmp_path, public_url="https://portal.example")
    made = io_loop.run_sync(manager.__aenter__, timeout=30)
    try:
        yield made
    finally:
        io_loop.run_sync(lambda: manager.__aexit__(None, None, None), timeout=60)


async def _make_login(world: World) -> str:
    """Put a session with a login at acme into the store; the value of its cookie."""
    provider = world.running.portal.registry.get("acme").default_provider  # type: ignore[union-attr]
    cookie, now = SessionCookie.new(), world.clock()
    session = sample_session(
        id=cookie.session_id, secret_hash=cookie.secret_hash, last_seen_at=now,
        idle_expires_at=now + 3600, absolute_expires_at=now + 3600,
    )  # fmt: skip
    login = sample_login(
        session=cookie.session_id, registration=provider.registration, issuer=provider.issuer,
        expires_at=now + 3600,
    )  # fmt: skip
    sealed = world.running.vault.seal_tokens(login.id, sample_tokens(expires_at=now + 3600))
    await world.running.portal.store.add_session(session)
    await world.running.portal.store.put_login(replace(login, tokens=sealed))
    return cookie.value


@pytest.mark.gen_test
async def test_S2_over_https_no_other_host_can_plant_a_cookie(world_behind_https: World) -> None:
    world = world_behind_https
    answer = await ask(world, b"GET /t/acme/login HTTP/1.1\r\nHost: portal.example\r\n\r\n")
    page = await ask(world, b"GET / HTTP/1.1\r\nHost: portal.example\r\nAccept: text/html\r\n\r\n")
    assert answer is not None
    assert page is not None
    made = [*answer.all("Set-Cookie"), *page.all("Set-Cookie")]
    assert len(made) >= 2
    for cookie in made:
        assert cookie.startswith("__Host-")
        assert {"secure", "path=/"} <= {part.strip().lower() for part in cookie.split(";")}
        assert "domain" not in cookie.lower()
    assert page.header("Strict-Transport-Security")
    value = await _make_login(world)
    for name, tenants in (("__Host-portal", 1), ("portal", 0), ("__Secure-portal", 0), ("__host-portal", 0)):
        head = f"GET /session HTTP/1.1\r\nHost: portal.example\r\nCookie: {name}={value}\r\n\r\n"
        session = await ask(world, head.encode())
        assert session is not None
        assert len(json.loads(session.body)["tenants"]) == tenants, name


# --- S6: the provider detects that a refresh token was used twice


async def _steal_refresh_token(world: World, browser: Browser) -> None:
    """A thief uses the stored refresh token at the provider."""
    login = await world.login_of(browser, "acme")
    assert login is not None
    token = world.running.tokens.open(login).refresh_token
    assert token is not None
    client = world.acme.settings.clients[0]
    credentials = base64.b64encode(f"{client.client_id}:{client.client_secret}".encode()).decode()
    thief = world.browser()
    answer = await thief.fetch(
        f"{world.acme.issuer}/token",
        "POST",
        body=urlencode({"grant_type": "refresh_token", "refresh_token": token.reveal()}),
        headers={"Authorization": f"Basic {credentials}"},
    )
    assert answer.status == 200


@pytest.mark.gen_test
async def test_S6_reuse_of_a_refresh_token_ends_that_login_alone_and_says_so(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    await world.expire_access_token(browser, "acme")
    await _steal_refresh_token(world, browser)
    answer = await browser.fetch(world.at("/t/acme/api/orders"))
    problem = json.loads(answer.body)
    assert answer.status == 401
    assert problem["code"] == "login_ended"
    assert problem["title"] == "Your sign-in at this organisation has ended"
    assert problem["login_url"].startswith("/t/acme/login")
    assert world.acme_api.calls.total() == 0
    assert await world.login_of(browser, "acme") is None
    assert "Sign in to" in (await browser.step(world.at("/t/acme/"))).text
    assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 200
    again = await browser.fetch(world.at("/t/acme/api/orders"))
    assert json.loads(again.body)["code"] == "login_required"
    assert world.acme.requests["refresh"] == 2, "a spent refresh token was sent once more"
    await world.quick_sign_in(browser, "acme")
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test
async def test_S6_the_explorer_tells_a_user_whose_login_has_ended(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.expire_access_token(browser, "acme")
    world.acme.faults.refresh_error = "invalid_grant"
    body = urlencode({"method": "GET", "path": "/orders"})
    answer = await browser.step(world.at("/t/acme/"), "POST", body, site="same-origin")
    assert "Your sign-in here has ended" in answer.text
    assert world.acme_api.calls.total() == 0


# --- S7: a logout wins over what is in flight


async def _sign_out(world: World, browser: Browser) -> None:
    answer = await browser.step(world.at("/t/acme/logout"), "POST", "", site="same-origin")
    assert answer.status == 303


@pytest.mark.parametrize("revocation_works", [True, False])
@pytest.mark.gen_test
async def test_S7_a_logout_during_a_refresh_wins(world: World, revocation_works: bool) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    await world.expire_access_token(browser, "acme")
    hold = asyncio.Event()
    world.acme.faults.endpoints["refresh"] = EndpointFault(hold=hold)
    if not revocation_works:
        world.acme.faults.endpoints["revocation"] = EndpointFault(answer=Canned(503), remaining=1)
    calls = [asyncio.ensure_future(browser.fetch(world.at("/t/acme/api/orders"))) for _ in range(5)]
    await until(lambda: world.acme.requests["refresh"], "no refresh began")
    await _sign_out(world, browser)
    assert await world.login_of(browser, "acme") is None
    hold.set()
    assert {answer.status for answer in await asyncio.gather(*calls)} == {401}
    assert await world.login_of(browser, "acme") is None
    assert not [row for row in stored(world)["logins"] if row[2] == "acme"]
    assert world.acme_api.calls.total() == 0
    if not revocation_works:
        await until(lambda: world.acme.requests["revocation"] == 2, "the late token set was not revoked")
    assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 200


@pytest.mark.gen_test
async def test_S7_a_logout_during_a_call_wins_also_when_the_api_asks_for_a_new_token(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    hold = asyncio.Event()
    world.acme_api.faults["echo"] = EndpointFault(hold=hold)
    world.acme_api.refuse_next = 1
    call = asyncio.ensure_future(browser.fetch(world.at("/t/acme/api/echo")))
    await until(lambda: world.acme_api.calls["echo"], "the API was not called")
    await _sign_out(world, browser)
    hold.set()
    assert (await call).status == 401
    assert world.acme_api.calls["echo"] == 1
    assert await world.login_of(browser, "acme") is None


@pytest.mark.gen_test
async def test_S7_a_logout_of_everything_wins_over_refreshes_at_every_tenant(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    hold = asyncio.Event()
    for tenant in ("acme", "globex"):
        await world.expire_access_token(browser, tenant)
        world.provider(tenant).faults.endpoints["refresh"] = EndpointFault(hold=hold)
    calls = [
        asyncio.ensure_future(browser.fetch(world.at(f"/t/{path}")))
        for path in ("acme/api/orders", "globex/api/projects")
    ]
    await until(lambda: world.acme.requests["refresh"] and world.globex.requests["refresh"], "no refresh")
    cookie = dict(browser.cookies["localhost"])
    assert (await browser.step(world.at("/logout"), "POST", "", site="same-origin")).status == 303
    hold.set()
    assert {answer.status for answer in await asyncio.gather(*calls)} == {401}
    assert stored(world)["sessions"] == stored(world)["logins"] == []
    browser.cookies["localhost"] = cookie
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 401


@pytest.mark.parametrize("path", ["/t/acme/logout", "/logout"])
@pytest.mark.parametrize("provider", ["down", "without an address for logouts", "slow", "changed"])
@pytest.mark.gen_test
async def test_S7_a_logout_needs_no_help_of_the_provider(world: World, path: str, provider: str) -> None:
    def without_addresses(metadata: dict[str, object]) -> None:
        for name in ("end_session_endpoint", "revocation_endpoint"):
            metadata.pop(name)

    browser = world.browser()
    if provider == "without an address for logouts":
        world.acme.faults.mutate_metadata = without_addresses
    await world.quick_sign_in(browser, "acme")
    if provider == "down":
        for server in world.parts.servers:
            server.stop()
        await world.parts.disconnect()
    elif provider == "slow":
        world.acme.faults.endpoints["revocation"] = EndpointFault(lose_answer=True)
    elif provider == "changed":
        change_tenant(world, "acme", client={"id": "another-client"})
    answer = await browser.step(world.at(path), "POST", "", site="same-origin")
    assert answer.status == 303
    assert stored(world)["logins"] == []
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 401


@pytest.mark.gen_test
async def test_S7_a_logout_where_nobody_is_signed_in_is_no_error(world: World) -> None:
    browser = world.browser()
    for path in ("/t/acme/logout", "/logout"):
        assert (await browser.step(world.at(path), "POST", "", site="same-origin")).status == 303
    await world.quick_sign_in(browser, "globex")
    for _ in range(2):
        answer = await browser.step(world.at("/t/acme/logout"), "POST", "", site="same-origin")
        assert answer.status == 303
        assert answer.headers["Location"] == "/t/acme/signed-out"
    assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 200


@pytest.mark.gen_test
async def test_S7_a_second_login_during_a_refresh_keeps_its_own_tokens(world: World) -> None:
    """Bob signs in where Alice's refresh is under way: her late tokens do not become his, nor his hers."""
    browser = world.browser()
    await world.sign_in(browser, "acme", "alice")
    await world.expire_access_token(browser, "acme")
    hold = asyncio.Event()
    world.acme.faults.endpoints["refresh"] = EndpointFault(hold=hold)
    call = asyncio.ensure_future(browser.fetch(world.at("/t/acme/api/echo")))
    await until(lambda: world.acme.requests["refresh"], "no refresh began")
    browser.cookies["127.0.0.1"] = {}
    await world.sign_in(browser, "acme", "bob")
    hold.set()
    assert (await call).status == 401
    answer = await browser.fetch(world.at("/t/acme/api/echo"))
    assert json.loads(answer.body)["authorization"]["subject"] == "acme-002"


# --- S8: a dump of the database


def _texts(data: bytes) -> Iterator[bytes]:
    """The data itself, and what base64 and hex in it decode to."""
    yield data
    for match in re.finditer(rb"[A-Za-z0-9+/_-]{16,}", data):
        run = match[0].replace(b"-", b"+").replace(b"_", b"/")
        for start in range(4):
            part = run[start:]
            with_padding = part[: len(part) // 4 * 4]
            yield base64.b64decode(with_padding)
    for match in re.finditer(rb"(?:[0-9a-fA-F]{2}){16,}", data):
        yield binascii.unhexlify(match[0])


def _secrets(world: World, browsers: list[Browser]) -> dict[str, str]:
    """Everything that would be of use to a thief, by what it is."""
    found: dict[str, str] = {}
    for provider in (world.acme, world.globex):
        for number, value in enumerate(provider.state.issued):
            found[f"issued {number}"] = value
        for number, request in enumerate(provider.received):
            for name in ("state", "code", "code_verifier", "refresh_token", "client_secret", "token"):
                for value in request.parameters.get(name, ()):
                    found[f"{name} {number}"] = value
        found[f"secret of {provider.settings.id}"] = str(provider.settings.clients[0].client_secret)
    for number, browser in enumerate(browsers):
        for name, value in browser.cookies.get("localhost", {}).items():
            if name != "portal-xsrf":
                found[f"cookie {name} {number}"] = value.split(".")[-1]
    parts = {
        f"{what}, part {number}": part
        for what, value in found.items()
        if value.count(".") == 2
        for number, part in enumerate(value.split(".")[1:], 1)
    }
    return {what: value for what, value in (found | parts).items() if len(value) > 15}


@pytest.mark.gen_test
async def test_S8_a_dump_of_the_database_holds_nothing_of_use(world: World, tmp_path: Path) -> None:
    browser, another, leaving = world.browser(), world.browser(), world.browser()
    for tenant in ("acme", "globex"):
        await world.quick_sign_in(browser, tenant)
        await world.quick_sign_in(leaving, tenant)
        await world.expire_access_token(browser, tenant)
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
    await world.stop_before_callback(another, "acme")
    logout = await leaving.step(world.at("/logout"), "POST", "", site="same-origin")
    state = parse_qs(urlsplit(logout.headers["Location"]).query)["state"][0]
    secrets = _secrets(world, [browser, another, leaving]) | {"state of a logout": state}
    kinds = {re.sub(r" \d+", "", what) for what in secrets}
    assert {"issued", "issued, part", "state", "code", "code_verifier", "refresh_token", "token"} <= kinds
    assert {"cookie portal", "cookie portal-attempt", "secret of acme", "state of a logout"} <= kinds

    rows = stored(world)
    assert all(rows[name] for name in ("attempts", "sessions", "logins", "logouts"))
    dump = json.dumps(rows, default=str).encode()
    for file in sorted(tmp_path.glob("portal.db*")):
        dump += file.read_bytes()
    assert b"acme-001" in dump, "this is not what the portal stores"
    for text in _texts(dump):
        for what, value in secrets.items():
            assert value.encode() not in text, what


@pytest.mark.gen_test
async def test_S8_sealed_values_do_not_open_in_another_row(world: World) -> None:
    """Who can write the database moves Bob's tokens into Alice's login: she is not Bob then."""
    alice, bob = world.browser(), world.browser()
    await world.sign_in(alice, "acme", "alice")
    await world.sign_in(bob, "acme", "bob")
    store = world.running.portal.store
    hers, his = await world.login_of(alice, "acme"), await world.login_of(bob, "acme")
    assert hers is not None
    assert his is not None
    await store.put_login(replace(hers, tokens=his.tokens))
    answer = await alice.fetch(world.at("/t/acme/api/echo"))
    assert answer.status == 401
    assert world.acme_api.calls.total() == 0


@pytest.mark.gen_test
async def test_S8_without_the_key_that_sealed_it_everything_under_way_is_begun_again(world: World) -> None:
    """The key ring was lost or is another host's: users sign in again, and nobody sees an error 500."""
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    callback = await world.stop_before_callback(browser, "acme")
    leaving = world.browser()
    await world.quick_sign_in(leaving, "acme")
    await world.quick_sign_in(leaving, "globex")
    logout = await leaving.step(world.at("/logout"), "POST", "", site="same-origin")
    come_back = await leaving.step(logout.headers["Location"], site="cross-site")
    world.settings.keys.unlink()
    KeyRing.create(world.settings.keys)
    end = asyncio.get_running_loop().time() + PATIENCE
    status = 200
    while status == 200:
        assert asyncio.get_running_loop().time() < end, "the portal did not follow the key ring"
        for tenant in ("acme", "globex"):
            world.running.tokens.forget(f"{world.session_id(browser)}:{tenant}")
        status = (await browser.fetch(world.at("/t/acme/api/orders"))).status
    assert status == 401
    page = await browser.step(world.at("/t/acme/"))
    assert page.status == 200
    assert "Sign in to" in page.text
    explorer = urlencode({"method": "GET", "path": "/projects"})
    page = await browser.step(world.at("/t/globex/"), "POST", explorer, site="same-origin")
    assert page.status == 200
    assert "Sign in to" in page.text
    assert (await browser.step(callback, site="cross-site")).status == 400
    assert (await leaving.step(come_back.headers["Location"], site="cross-site")).status == 303
    assert (await browser.step(world.at("/t/globex/logout"), "POST", "", site="same-origin")).status == 303
    await world.quick_sign_in(browser, "acme")
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


# --- S12: what a page tells the browser


class _Inline(HTMLParser):
    """Collects what a policy without `unsafe-inline` would block."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in given):
            self.found.append(tag)
        self.found += [f"{tag} {name}" for name in given if name.startswith("on") or name == "style"]
        self.found += [
            f"{tag} {name}={value}"
            for name, value in attrs
            if name in {"href", "src", "action"}
            and (value or "").lower().startswith(("javascript:", "data:"))
        ]


PAGES = [
    "/", "/?q=acme", "/?q=%ff", "/account", "/signed-out", "/nothing", "/t/acme/", "/t/acme", "/t/globex/",
    "/t/nobody/", "/t/acme/signed-out", "/t/acme/signed-out?state=x", "/t/acme/login?provider=none",
    "/t/acme/callback", "/t/acme/callback?code=a&state=b", "/t/acme/callback?state=%ff", "/logout",
    "/t/acme/logout", "/static/none.js", "/static/", "/static/portal.css", "/static/%2e%2e/pyproject.toml",
    "/static/logo.svg",
]  # fmt: skip


@pytest.mark.gen_test
async def test_S12_every_page_error_and_file_forbids_framing_sniffing_and_inline_script(
    world: World,
) -> None:
    signed_in, stranger = world.browser(), world.browser()
    await world.quick_sign_in(signed_in, "acme")
    seen = set()
    for browser in (signed_in, stranger):
        for path in PAGES:
            for method in ("GET", "POST", "FOO"):
                answer = await browser.fetch(
                    world.at(path),
                    method,
                    headers={"Accept": "text/html"},
                    body=None if method == "GET" else "",
                )
                seen.add(answer.status)
                where = f"{method} {path}: {answer.status}"
                policy = answer.headers.get("Content-Security-Policy", "")
                directives = dict(
                    part.strip().partition(" ")[::2] for part in policy.split(";") if part.strip()
                )
                assert directives.get("frame-ancestors") == "'none'", where
                assert directives.get("default-src") == "'none'", where
                assert "unsafe" not in policy, where
                assert "*" not in directives.get("script-src", "").split(), where
                assert answer.headers.get("X-Content-Type-Options") == "nosniff", where
                assert answer.status < 500, where
                if answer.headers.get("Content-Type", "").startswith("text/html") and answer.body:
                    assert _Inline(answer.text).found == [], where
                    assert directives.get("base-uri") == "'none'", where
                    assert answer.headers.get("Cache-Control") == "no-store", where
                    assert answer.headers.get("Referrer-Policy") in {"same-origin", "no-referrer"}, where
                if answer.status >= 400:
                    assert answer.body, f"{where}: an error without a word"
    assert {200, 303, 400, 403, 404, 405} <= seen


@pytest.mark.gen_test
async def test_S12_a_page_with_a_code_in_its_address_tells_it_to_nobody(world: World) -> None:
    browser = world.browser()
    for query in ("?code=a&state=b", "?error=access_denied&state=b", "?state=%ff", ""):
        answer = await browser.step(world.at(f"/t/acme/callback{query}"), site="cross-site")
        assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.gen_test
async def test_S12_data_for_scripts_cannot_be_read_by_other_sites(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    for path in ("/session", "/t/acme/api/echo", "/t/acme/api/nothing", "/t/nobody/api/"):
        answer = await browser.fetch(world.at(path), headers={"Origin": "https://evil.example"})
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "no-store" in answer.headers["Cache-Control"]
        assert "Access-Control-Allow-Origin" not in answer.headers


# --- S13: what is not text is not looked up


@pytest.mark.gen_test
async def test_S13_operators_in_parameters_cookies_and_bodies_find_nothing(world: World) -> None:
    browser, attacker = world.browser(), world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.stop_before_callback(browser, "acme")
    before = stored(world)
    operators = ["[$ne]=x", "[$gt]=", "[$regex]=.*", "[]=x", "[0]=x", "%5B%24ne%5D=x", ".$ne=x"]
    binding = "B" * 43
    attacker.cookies["localhost"] = {"portal-attempt": binding, "portal": "A" * 22 + "." + "B" * 43}
    for operator in operators:
        for path in ("/t/acme/callback?code=a&state", "/t/acme/signed-out?state"):
            answer = await attacker.step(world.at(path + operator), site="cross-site")
            assert answer.status in {200, 303, 400}
            assert "Alice" not in answer.text
        answer = await attacker.step(world.at(f"/t/acme/login?provider{operator}&return_to{operator}"))
        assert answer.status in {303, 404}
        answer = await attacker.step(world.at(f"/?q{operator}"))
        assert answer.status == 200
    for tenant in (
        "acme[$ne]",
        "{$ne:null}",
        "%7B%22$ne%22:1%7D",
        "acme%00",
        "$where",
        "..%2facme",
        "%61cme",
    ):
        for rest in ("/", "/login", "/callback", "/api/orders"):
            answer = await browser.fetch(world.at(f"/t/{tenant}{rest}"))
            assert answer.status in {400, 404}, tenant
    for body in ('{"$where": "1"}', '{"session": {"$ne": null}}', '["a"]', '{"_xsrf": {"$gt": ""}}'):
        for path in ("/logout", "/t/acme/logout"):
            answer = await attacker.fetch(
                world.at(path), "POST", body=body, headers={"Content-Type": "application/json"}
            )
            assert answer.status == 303
    after = stored(world)
    assert (after["sessions"], after["logins"]) == (before["sessions"], before["logins"])
    assert {row[0] for row in before["attempts"]} <= {row[0] for row in after["attempts"]}
    assert world.acme.requests["token"] == 1
    assert world.acme_api.calls.total() == 0


# --- bodies that forms do not have


BOMBS: dict[str, tuple[str, bytes]] = {
    "a thousand parts": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n' * 1000 + b"--b--\r\n",
    ),
    "no boundary": ("multipart/form-data", b"--b--"),
    "no end": ("multipart/form-data; boundary=b", b"--b\r\n" * 1000),
    "part with long headers": (
        "multipart/form-data; boundary=b",
        b"--b\r\nX: " + b"y" * 100_000 + b"\r\n\r\nx\r\n--b--\r\n",
    ),
    "fifty thousand fields": (FORM, b"&".join([b"a=b"] * 50_000)),
    "not UTF-8": (FORM, b"_xsrf=%ff%fe&path=%ff"),
    "compressed": (FORM + "\r\nContent-Encoding: gzip", b"\x1f\x8b" + b"\0" * 1000),
    "one megabyte": (FORM, b"a=" + b"b" * 1_000_000),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.gen_test
async def test_S13_a_body_that_no_form_sends_is_answered_and_has_no_effect(world: World, bomb: str) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    kind, body = BOMBS[bomb]
    for path in ("/t/acme/", "/t/acme/logout"):
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nCookie: {cookies(browser)}\r\nAccept: text/html\r\n"
            f"Sec-Fetch-Site: cross-site\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        answer = await ask(world, head.encode() + body)
        assert answer is not None
        assert answer.status in {400, 403, 413}
        assert answer.body, "an error without a word"
    assert await world.login_of(browser, "acme") is not None
    assert world.acme_api.calls.total() == 0
