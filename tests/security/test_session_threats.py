"""THREATS S1 and S2: cross-site requests and malformed cookies."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from tornado.ioloop import IOLoop

from portal.sessions.credentials import SessionCookie
from tests.kit.raw import ask, cookies, stored, until
from tests.kit.samples import sample_login, sample_session, sample_tokens
from tests.kit.world import World
from tests.kit.world import world as make_world

# --- S1: cross-site requests

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
    await until(lambda: stored(world)["events"], "the sign-in is not recorded")
    before = await _everything(world)
    for path in ("/logout", "/t/acme/logout", "/t/acme/", "/t/acme/api/orders", "/account"):
        for body, kind in (("method=DELETE&path=/orders/A-1001", FORM), ('{"a": 1}', "text/plain")):
            response = await browser.fetch(
                world.at(path), "POST", body=body, site=None, csrf=False,
                headers={**headers, "Content-Type": kind},
            )  # fmt: skip
            assert response.status == 403, path
    for method in ("GET", "HEAD", "OPTIONS", *METHODS):
        for csrf in (False, True):
            response = await browser.fetch(
                world.at("/t/acme/api/orders"), method, site=None, csrf=csrf, headers=headers
            )
            assert response.status == 403, method
            assert not [name for name in response.headers if name.lower().startswith("access-control")]
    assert await _everything(world) == before
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test
async def test_S1_repeated_site_headers_are_refused(world: World) -> None:
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
            response = await ask(world, head.encode())
            assert response is not None
            assert response.status == 403, headers
    assert await world.login_of(browser, "acme") is not None
    assert world.acme_api.calls.total() == 0


@pytest.mark.parametrize("value", ["", "0", "true", "1, 1", "2", "１"])
@pytest.mark.gen_test
async def test_S1_an_api_call_without_the_csrf_header_is_refused(world: World, value: str) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    headers = {"X-Portal-CSRF": value.encode().decode("latin-1")} if value else {}
    response = await browser.fetch(world.at("/t/acme/api/orders"), headers=headers, csrf=False)
    assert response.status == 403
    assert json.loads(response.body)["code"] == "cross_site_request"
    assert world.acme_api.calls.total() == 0


@pytest.mark.gen_test
async def test_S1_a_form_of_an_old_browser_is_accepted_only_with_its_xsrf_token(world: World) -> None:
    browser, other = world.browser(), world.browser()
    home = await world.quick_sign_in(browser, "acme")
    foreign = await other.open(world.at("/"))
    other_token = other.cookie("localhost", "portal-xsrf")
    assert foreign.status == 200
    for token in ("", "x", "2|aa|bb|1", other_token or "", "2|zzzzzzzz|" + "0" * 32 + "|1"):
        response = await browser.fetch(
            world.at("/t/acme/logout"), "POST", body=urlencode({"_xsrf": token}), site=None, csrf=False
        )
        assert response.status == 403
    assert await world.login_of(browser, "acme") is not None
    fields = urlencode(home.form("/t/acme/logout").fields)
    response = await browser.fetch(world.at("/t/acme/logout"), "POST", body=fields, site=None, csrf=False)
    assert response.status == 303
    assert await world.login_of(browser, "acme") is None


STATE_CHANGING = ("/logout", "/t/acme/logout")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "FOO", "TRACE"])
@pytest.mark.gen_test
async def test_S1_only_post_signs_out(world: World, method: str) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    for path in STATE_CHANGING:
        response = await browser.fetch(
            world.at(f"{path}?_method=POST"), method, headers={"X-HTTP-Method-Override": "POST"}
        )
        assert response.status == 405, path
    assert await world.login_of(browser, "acme") is not None
    assert world.acme.requests["revocation"] == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "FOO"])
@pytest.mark.gen_test
async def test_S1_only_get_begins_and_finishes_a_login(world: World, method: str) -> None:
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    before = stored(world)
    for url in (world.at("/t/acme/login"), callback):
        response = await browser.fetch(url, method)
        if method == "POST" and url == callback:  # posted responses arrive here; this one has no parameters
            assert response.status == 400
            continue
        assert response.status == 405
        assert "Page not found" in response.text or "does not support that method" in response.text
    assert stored(world) == before
    assert world.acme.requests["token"] == 0


# --- S2: cookies


@pytest.mark.gen_test
async def test_S2_an_invalid_cookie_is_no_login_and_no_error(world: World) -> None:
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
            response = await ask(world, head.encode("latin-1"))
            assert response is not None
            assert response.status in {200, 400}, case
            assert "Alice" not in response.text
        head = (
            f"GET /t/acme/api/orders HTTP/1.1\r\nHost: x\r\nCookie: {case}\r\n"
            "Sec-Fetch-Site: same-origin\r\nX-Portal-CSRF: 1\r\n\r\n"
        )
        response = await ask(world, head.encode("latin-1"))
        assert response is not None
        assert response.status == 401, case
    assert world.acme_api.calls.total() == 0
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test
async def test_S2_several_cookie_headers_are_read_as_one(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    own = browser.cookie("localhost", "portal")
    rest = "Sec-Fetch-Site: same-origin\r\nX-Portal-CSRF: 1\r\n\r\n"
    for lines, status in (
        (f"Cookie: a=b\r\nCookie: portal={own}\r\n", 200),
        (f"Cookie: portal={own}\r\nCookie: portal={own}\r\n", 401),
        (f"Cookie: a=b, portal={own}\r\n", 401),
    ):
        response = await ask(world, f"GET /t/acme/api/orders HTTP/1.1\r\nHost: x\r\n{lines}{rest}".encode())
        assert response is not None
        assert response.status == status


@pytest.mark.gen_test
async def test_S2_scripts_and_other_sites_cannot_access_the_session_cookie(world: World) -> None:
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    response = await browser.step(callback, site="cross-site")
    (made,) = [one for one in response.headers.get_list("Set-Cookie") if one.startswith("portal=")]
    attributes = {part.strip().lower() for part in made.split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/"} <= attributes
    assert not any(attribute.startswith(("domain", "max-age", "expires")) for attribute in attributes)


@pytest.fixture
def world_behind_https(io_loop: IOLoop, tmp_path: Path, log_lines: io.StringIO) -> Iterator[World]:
    """A portal with an https public URL; the tests connect to it without the proxy."""
    manager = make_world(tmp_path, public_url="https://portal.example")
    made = io_loop.run_sync(manager.__aenter__, timeout=30)
    try:
        yield made
    finally:
        io_loop.run_sync(lambda: manager.__aexit__(None, None, None), timeout=60)


async def _make_login(world: World) -> str:
    """Store a session with a login at acme; return the value of its cookie."""
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
async def test_S2_over_https_no_other_host_can_set_a_cookie_of_the_portal(world_behind_https: World) -> None:
    world = world_behind_https
    response = await ask(world, b"GET /t/acme/login HTTP/1.1\r\nHost: portal.example\r\n\r\n")
    page = await ask(world, b"GET / HTTP/1.1\r\nHost: portal.example\r\nAccept: text/html\r\n\r\n")
    assert response is not None
    assert page is not None
    made = [*response.all("Set-Cookie"), *page.all("Set-Cookie")]
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
