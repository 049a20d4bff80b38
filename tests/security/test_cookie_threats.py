"""Cookie headers that are long, or that a sibling host has made (THREATS D1 and S2)."""

from __future__ import annotations

from http.cookies import Morsel

import pytest
from tornado.httputil import HTTPServerRequest

from portal.web.cookies import find_cookie
from tests.kit.loop_monitor import Hold, LoopMonitor
from tests.kit.raw import connected
from tests.kit.tracing import untraced
from tests.kit.world import World

MAX_SECONDS = 0.010
"""docs/architecture.md rule 6."""
NAMES = "portal-language=de;portal-organisations=x;portal-setup=x;portal=x;portal-xsrf=2|aaaaaaaa|aaaa|1"
LONG = "".join(f"{number:x}=;" for number in range(6_000))[:31_500] + ";" + NAMES


@pytest.mark.parametrize("path", ["/", "/account", "/t/acme/"])
@pytest.mark.gen_test
async def test_D1_many_cookies_do_not_hold_the_event_loop(world: World, path: str) -> None:
    found: list[Hold] = []
    for _ in range(3):
        async with connected(world) as connection:
            await connection.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await connection.read_response()
            head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nCookie: {LONG}\r\n\r\n"
            with untraced(), LoopMonitor().watching() as monitor:
                await connection.send(head.encode())
                assert await connection.read_response() is not None
        found = [hold for hold in monitor.holds if hold.cpu > MAX_SECONDS]
        if not found:
            return
    pytest.fail("; ".join(map(str, found)))


@pytest.mark.gen_test
async def test_D1_tornado_parses_no_cookies_for_a_page_with_a_form(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    parsed: list[str] = []

    def parse(request: HTTPServerRequest) -> dict[str, Morsel[str]]:
        parsed.append(request.path)
        return {}

    monkeypatch.setattr(HTTPServerRequest, "cookies", property(parse))
    page = await browser.open(world.at("/account"))
    assert page.status == 200
    assert parsed == []


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("portal=x", "x"),
        ("a=b; portal=x ;c=d", "x"),
        ("a=b;\tportal= x", " x"),
        ("portal=", ""),
        ("portal=portal=x", "portal=x"),
        ("xportal=y;portal=x", "x"),
        ("a=portal=y;portal=x", "x"),
        ("portal-xsrf=y; portal=x", "x"),
        ("portal=x;portal=x", None),
        ("portal=x; a=b; portal=y", None),
        ("xportal=y", None),
        ("a=portal=y", None),
        ("", None),
        ("\xa0portal=y", None),
        ("\x85portal=y; portal=x", "x"),
        ("portal=x; \xa0portal=y", "x"),
        ("portal=x\xa0", "x\xa0"),
    ],
)
def test_a_cookie_is_found_by_its_whole_name_and_once(header: str, value: str | None) -> None:
    assert find_cookie([header], "portal") == value


@pytest.mark.parametrize("space", ["\xa0", "\x85"])
@pytest.mark.gen_test
async def test_S2_a_cookie_whose_name_begins_with_a_space_of_unicode_is_another_one(
    world: World, space: str
) -> None:
    """A sibling host can set it for the domain: browsers protect names that begin with __Host- only."""
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    own = browser.cookie("localhost", "portal")

    async def signed_in(cookie: str) -> bool:
        async with connected(world) as connection:
            head = f"GET /session HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n"
            await connection.send(f"{head}Sec-Fetch-Site: same-origin\r\n\r\n".encode("latin-1"))
            response = await connection.read_response()
        assert response is not None
        assert response.status == 200
        return "acme" in response.text

    assert await signed_in(f"portal={own}")
    assert not await signed_in(f"{space}portal={own}"), "nobody else can sign the user in"
    assert await signed_in(f"portal={own}; {space}portal=x"), "nor out"
