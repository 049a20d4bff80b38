"""THREATS L5, L7 and L8 on real sockets: untrusted text and redirect targets.

The pure rules of return_to are in test_return_to_threats.py.
"""

from __future__ import annotations

import asyncio
import io
from html.parser import HTMLParser
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from tests.kit.raw import PATIENCE, RawResponse, ask, change_tenant, connected, cookies, stored
from tests.kit.world import World


def _query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


# --- L5: return_to on real sockets


RETURN_TO = [
    "https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example", "/%2fevil.example",
    "/%5cevil.example", "/%09/evil.example", "/\t/evil.example", "/\r\nLocation: https://evil.example",
    "javascript:alert(1)", "data:text/html,x", "//localhost@evil.example", "/．．/evil", "/" + "a" * 9000,
    "/t/globex/logout", "/t/acme/../globex/", "/logout", "/t/acme/login", "/\0/evil.example",
    "/t/acme/callback?code=x",
]  # fmt: skip


@pytest.mark.gen_test
async def test_L5_a_hostile_return_to_leads_to_the_tenant_home(world: World) -> None:
    browser = world.browser()
    for return_to in RETURN_TO:
        callback = await world.stop_before_callback(
            browser, "acme", f"?return_to={quote(return_to, safe='')}"
        )
        response = await browser.step(callback, site="cross-site")
        assert response.status == 303, return_to
        assert response.headers["Location"] == "/t/acme/", return_to


@pytest.mark.gen_test
async def test_L5_a_repeated_return_to_or_a_list_stays_on_the_portal(world: World) -> None:
    browser = world.browser()
    for query in (
        "?return_to=/account&return_to=https://evil.example/",
        "?return_to[]=https://evil.example/",
        "?return_to=%252f%252fevil.example",
    ):
        callback = await world.stop_before_callback(browser, "acme", query)
        response = await browser.step(callback, site="cross-site")
        assert response.headers["Location"] == "/t/acme/"


@pytest.mark.gen_test
async def test_L5_return_to_a_page_of_the_portal_works_also_when_the_session_is_renewed(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "globex")
    callback = await world.stop_before_callback(browser, "acme", "?return_to=/account")
    response = await browser.step(callback, site="cross-site")
    assert response.headers["Location"] == "/account"


# --- L7: forged host headers


FORGED = [
    ("Host", "evil.example"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Port", "666"),
    ("X-Forwarded-Server", "evil.example"),
    ("X-Forwarded-Prefix", "/evil.example"),
    ("X-Host", "evil.example"),
    ("X-Original-URL", "/t/globex/login"),
    ("X-Rewrite-URL", "/t/globex/login"),
    ("Forwarded", "host=evil.example;proto=https"),
    ("X-Scheme", "https"),
]


@pytest.mark.parametrize(("name", "value"), FORGED)
@pytest.mark.gen_test
async def test_L7_a_forged_host_changes_no_redirect_uri_and_no_link(
    world: World, name: str, value: str
) -> None:
    browser = world.browser()
    headers = {name: value}
    begun = await browser.fetch(world.at("/t/acme/login"), headers=headers, site="none", csrf=False)
    location = begun.headers["Location"]
    assert location.startswith(world.acme.issuer)
    assert _query(location)["redirect_uri"] == world.at("/t/acme/callback")
    assert "Secure" not in "".join(begun.headers.get_list("Set-Cookie"))
    for path in ("/", "/t/acme/", "/t/acme", "/account", "/nothing"):
        page = await browser.fetch(
            world.at(path), headers={**headers, "Accept": "text/html"}, site="none", csrf=False
        )
        assert "evil.example" not in page.text + str(page.headers)


ODD_HOSTS = ["own.example:1:2", "own.example.", "own.example.:1", "own.example:99999999", "own.example:"]


@pytest.mark.parametrize("host", ODD_HOSTS)
@pytest.mark.gen_test
async def test_L7_a_host_that_only_resembles_one_of_the_tenant_changes_no_redirect_uri(
    world: World, host: str
) -> None:
    change_tenant(world, "acme", hosts=["own.example"])

    async def redirect_uri(sent: str) -> str:
        response = await ask(world, f"GET /t/acme/login HTTP/1.1\r\nHost: {sent}\r\n\r\n".encode())
        assert response is not None
        assert response.status == 303
        return _query(response.header("Location") or "")["redirect_uri"]

    port = urlsplit(world.url).port
    assert await redirect_uri(f"own.example:{port}") == f"http://own.example:{port}/t/acme/callback"
    assert await redirect_uri(host) == world.at("/t/acme/callback")


@pytest.mark.gen_test
async def test_L7_a_forged_host_does_not_change_the_logout_redirect(world: World) -> None:
    browser = world.browser()
    home = await world.quick_sign_in(browser, "acme")
    form = home.form("/t/acme/logout")
    response = await browser.fetch(
        world.at("/t/acme/logout"),
        "POST",
        body=urlencode(form.fields),
        headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"},
    )
    assert _query(response.headers["Location"])["post_logout_redirect_uri"] == world.at("/t/acme/signed-out")


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "localhost@evil.example"])
@pytest.mark.gen_test
async def test_L7_the_origin_of_a_post_is_compared_with_the_public_url_not_with_host(
    world: World, host: str
) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    head = (
        f"POST /t/acme/logout HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
        f"Cookie: {cookies(browser)}\r\nContent-Length: 0\r\n\r\n"
    )
    response = await ask(world, head.encode())
    assert response is not None
    assert response.status in {400, 403}
    assert await world.login_of(browser, "acme") is not None


# --- L8: untrusted text


class _Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.inline_scripts = 0
        self.attributes: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inline_scripts += tag == "script" and "src" not in dict(attrs)
        self.attributes += [name for name, _ in attrs]


BIDI = "\u202e\u2066\u2069\u200f\u061c"
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'><svg onload=alert(1)>{{7*7}}{%raw x%}"


def _is_plain(page: str) -> None:
    elements = _Elements(page)
    assert elements.inline_scripts == 0
    assert not [name for name in elements.attributes if name.startswith("on")]
    assert not set(BIDI) & set(page)
    assert ">49<" not in page


@pytest.mark.gen_test
async def test_L8_an_error_description_is_shown_as_bounded_text(world: World) -> None:
    browser = world.browser()
    world.acme.faults.authorization_error = ("access_denied", MARKUP + BIDI + "\0\x1b[31m" + "long " * 2000)
    callback = await world.stop_before_callback(browser, "acme")
    response = await browser.step(callback, site="cross-site")
    assert response.status == 403
    _is_plain(response.text)
    assert "&lt;script&gt;" in response.text
    assert response.text.count("long") < 100
    assert "\x1b" not in response.text
    assert world.acme.requests["token"] == 0


@pytest.mark.gen_test
async def test_L8_an_error_description_of_one_megabyte_is_refused(world: World) -> None:
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    async with connected(world) as connection:
        await connection.send(
            f"GET /t/acme/callback?{urlsplit(callback).query}&error=a&error_description=".encode()
            + b"x" * 1_000_000
            + f" HTTP/1.1\r\nHost: x\r\nCookie: {cookies(browser)}\r\n\r\n".encode()
        )
        response: RawResponse | None = await asyncio.wait_for(connection.read_response(), PATIENCE)
    assert response is None or response.status in {400, 414, 431}
    assert world.acme.requests["token"] == 0
    assert (await browser.step(world.at("/healthz"))).status == 200


@pytest.mark.gen_test
async def test_L8_claims_are_shown_as_bounded_text(world: World) -> None:
    browser = world.browser()
    wild: object = MARKUP + BIDI + "w" * 5_000
    for _ in range(13):
        wild = {MARKUP: [wild]}
    names = {f"{MARKUP}{BIDI}{number}": MARKUP for number in range(80)}
    world.acme.faults.mutate_id_token = lambda header, claims: claims.update(
        name=MARKUP + BIDI + "n" * 5_000, email=MARKUP + BIDI, deep=wild, **names
    )
    home = await world.quick_sign_in(browser, "acme")
    for path in ("/t/acme/", "/t/acme/developer", "/", "/account", "/t/globex/", "/nothing"):
        page = await browser.step(world.at(path))
        _is_plain(page.text)
        assert len(page.text) < 200_000
    assert "&lt;script&gt;" in home.text
    info = await browser.fetch(world.at("/session"))
    assert len(info.body) < 2000


@pytest.mark.parametrize("size", [70_000, 200_000, 1_000_000])
@pytest.mark.gen_test
async def test_L8_claims_too_large_to_store_fail_only_this_login(world: World, size: int) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "globex")
    before = stored(world)["logins"]
    callback = await world.stop_before_callback(browser, "acme")
    world.acme.faults.mutate_id_token = lambda header, claims: claims.update(filler="f" * size)
    response = await browser.step(callback, site="cross-site")
    assert response.status in {400, 502, 503}
    assert stored(world)["logins"] == before
    assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 200


@pytest.mark.gen_test
async def test_L8_tokens_with_a_too_large_total_size_fail_the_login_without_an_error_500(
    world: World, log_lines: io.StringIO
) -> None:
    def inflate(document: dict[str, object]) -> None:
        document["access_token"] = "a" * 65_000
        document["refresh_token"] = "r" * 60_000

    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    world.acme.faults.missing_claims = {"at_hash"}
    world.acme.faults.mutate_token_response = inflate
    response = await browser.step(callback, site="cross-site")
    assert response.status == 502
    assert "too much data" in response.text
    assert "login_too_large" in log_lines.getvalue()
    assert "access token 65000, refresh token 60000" in log_lines.getvalue()


@pytest.mark.gen_test
async def test_L8_a_tenant_name_and_a_search_are_shown_as_text(world: World) -> None:
    browser = world.browser()
    change_tenant(world, "acme", name="<b onclick=alert(1)>Acme</b> {{7*7}}")
    await world.quick_sign_in(browser, "acme")
    query = quote(MARKUP + BIDI)
    for path in ("/", "/account", "/t/acme/", f"/?q={query}", f"/t/acme/?x={query}", f"/nothing/{query}"):
        page = await browser.step(world.at(path))
        _is_plain(page.text)
        assert "<b onclick" not in page.text
