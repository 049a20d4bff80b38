"""THREATS S12 and S13: security headers of pages, and requests that no page sends."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from tests.kit.raw import ask, cookies, stored
from tests.kit.world import World

FORM = "application/x-www-form-urlencoded"

# --- S12: security headers


class _Inline(HTMLParser):
    """Collects the content that a policy without `unsafe-inline` blocks."""

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
    signed_in, signed_out = world.browser(), world.browser()
    await world.quick_sign_in(signed_in, "acme")
    seen = set()
    for browser in (signed_in, signed_out):
        for path in PAGES:
            for method in ("GET", "POST", "FOO"):
                response = await browser.fetch(
                    world.at(path),
                    method,
                    headers={"Accept": "text/html"},
                    body=None if method == "GET" else "",
                )
                seen.add(response.status)
                where = f"{method} {path}: {response.status}"
                policy = response.headers.get("Content-Security-Policy", "")
                directives = dict(
                    part.strip().partition(" ")[::2] for part in policy.split(";") if part.strip()
                )
                assert directives.get("frame-ancestors") == "'none'", where
                assert directives.get("default-src") == "'none'", where
                assert "unsafe" not in policy, where
                assert "*" not in directives.get("script-src", "").split(), where
                assert response.headers.get("X-Content-Type-Options") == "nosniff", where
                assert response.status < 500, where
                if response.headers.get("Content-Type", "").startswith("text/html") and response.body:
                    assert _Inline(response.text).found == [], where
                    assert directives.get("base-uri") == "'none'", where
                    assert response.headers.get("Cache-Control") == "no-store", where
                    assert response.headers.get("Referrer-Policy") in {"same-origin", "no-referrer"}, where
                if response.status >= 400:
                    assert response.body, f"{where}: an error without a body"
    assert {200, 303, 400, 404, 405} <= seen


@pytest.mark.gen_test
async def test_S12_a_page_with_a_code_in_its_url_sends_no_referrer(world: World) -> None:
    browser = world.browser()
    for query in ("?code=a&state=b", "?error=access_denied&state=b", "?state=%ff", ""):
        response = await browser.step(world.at(f"/t/acme/callback{query}"), site="cross-site")
        assert response.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.gen_test
async def test_S12_data_for_scripts_cannot_be_read_by_other_sites(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    for path in ("/session", "/t/acme/api/echo", "/t/acme/api/nothing", "/t/nobody/api/"):
        response = await browser.fetch(world.at(path), headers={"Origin": "https://evil.example"})
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "no-store" in response.headers["Cache-Control"]
        assert "Access-Control-Allow-Origin" not in response.headers


# --- S13: operators instead of text


@pytest.mark.gen_test
async def test_S13_operators_in_parameters_cookies_and_bodies_match_nothing(world: World) -> None:
    browser, attacker = world.browser(), world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.stop_before_callback(browser, "acme")
    before = stored(world)
    operators = ["[$ne]=x", "[$gt]=", "[$regex]=.*", "[]=x", "[0]=x", "%5B%24ne%5D=x", ".$ne=x"]
    binding = "B" * 43
    attacker.cookies["localhost"] = {"portal-attempt": binding, "portal": "A" * 22 + "." + "B" * 43}
    for operator in operators:
        for path in ("/t/acme/callback?code=a&state", "/t/acme/signed-out?state"):
            response = await attacker.step(world.at(path + operator), site="cross-site")
            assert response.status in {200, 303, 400}
            assert "Alice" not in response.text
        response = await attacker.step(world.at(f"/t/acme/login?provider{operator}&return_to{operator}"))
        assert response.status in {303, 404}
        response = await attacker.step(world.at(f"/?q{operator}"))
        assert response.status == 200
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
            response = await browser.fetch(world.at(f"/t/{tenant}{rest}"))
            assert response.status in {400, 404}, tenant
    for body in ('{"$where": "1"}', '{"session": {"$ne": null}}', '["a"]', '{"_xsrf": {"$gt": ""}}'):
        for path in ("/logout", "/t/acme/logout"):
            response = await attacker.fetch(
                world.at(path), "POST", body=body, headers={"Content-Type": "application/json"}
            )
            assert response.status == 303
    after = stored(world)
    assert (after["sessions"], after["logins"]) == (before["sessions"], before["logins"])
    assert {row[0] for row in before["attempts"]} <= {row[0] for row in after["attempts"]}
    assert world.acme.requests["token"] == 1
    assert world.acme_api.calls.total() == 0


# --- bodies that no form sends


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
    "thirty thousand fields": (FORM, b"&".join([b"a=b"] * 30_000)),
    "not UTF-8": (FORM, b"_xsrf=%ff%fe&path=%ff"),
    "compressed": (FORM + "\r\nContent-Encoding: gzip", b"\x1f\x8b" + b"\0" * 1000),
    "the largest body that is read": (FORM, b"a=" + b"b" * 131_000),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.gen_test
async def test_S13_a_body_that_no_form_sends_gets_an_error_and_has_no_effect(world: World, bomb: str) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    kind, body = BOMBS[bomb]
    for path in ("/t/acme/", "/t/acme/logout"):
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nCookie: {cookies(browser)}\r\nAccept: text/html\r\n"
            f"Sec-Fetch-Site: cross-site\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        response = await ask(world, head.encode() + body)
        assert response is not None
        assert response.status in {400, 403, 413}
        assert response.body, "an error without a body"
    assert await world.login_of(browser, "acme") is not None
    assert world.acme_api.calls.total() == 0
