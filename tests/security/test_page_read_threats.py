"""THREATS S1, T4 and S4: what a page may read from an API without a script, and how nobody can misuse it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from portal.web.redirects import leads_to_api
from tests.kit.browser import Browser
from tests.kit.raw import change_tenant, connected, cookies, signed_in
from tests.kit.world import World

DATA = ["empty", "image", "audio", "video", "track", "document"]
RUN = ("script", "worker", "sharedworker", "serviceworker", "audioworklet", "paintworklet", "json", "xslt")
SHOWN = ("style", "font", "manifest", "object", "embed", "iframe", "frame", "fencedframe", "report")
UNKNOWN = ("", "Image", "image, script", "something-new", "speculationrules", "dictionary", "webidentity")
CODE = [*RUN, *SHOWN, *UNKNOWN]


async def get(world: World, browser: Browser, *lines: str, method: str = "GET", path: str = "orders") -> Any:
    head = [
        f"{method} /t/acme/api/{path} HTTP/1.1",
        f"Host: {world.url.removeprefix('http://')}",
        f"Cookie: {cookies(browser)}",
        "Connection: close",
        *lines,
    ]
    async with connected(world) as connection:
        await connection.send("\r\n".join([*head, "", ""]).encode())
        response = await connection.read_response(to_head=method == "HEAD")
    assert response is not None
    return response


# --- S1: reads


@pytest.mark.parametrize("destination", DATA)
@pytest.mark.gen_test
async def test_S1_a_page_reads_without_a_script(world: World, destination: str) -> None:
    browser = await signed_in(world)
    own = ("Sec-Fetch-Site: same-origin", f"Sec-Fetch-Dest: {destination}")
    response = await get(world, browser, *own)
    assert response.status == 200
    assert "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'; sandbox" in [
        f"{name}: {value}" for name, value in response.headers
    ]
    for site in ("same-site", "cross-site", "none", "Same-Origin", "same-origin, cross-site", ""):
        other = (f"Sec-Fetch-Site: {site}", f"Sec-Fetch-Dest: {destination}", f"Origin: {world.url}")
        assert (await get(world, browser, *other)).status == 403, site
        assert (await get(world, browser, *other, "X-Portal-CSRF: 1")).status == 403, site
    assert (await get(world, browser, *own, "Sec-Fetch-Site: cross-site")).status == 403, "sent twice"
    assert world.acme_api.calls.total() == 1


@pytest.mark.gen_test
async def test_S1_a_read_that_a_browser_does_not_describe_needs_the_csrf_header(world: World) -> None:
    browser = await signed_in(world)
    for lines in (
        (),
        ("Sec-Fetch-Dest: image",),
        ("Sec-Fetch-Site: same-origin",),
        (f"Origin: {world.url}",),
        (f"Origin: {world.url}", "Sec-Fetch-Dest: image"),
        ("Origin: null", "X-Portal-CSRF: 1"),
        ("X-Portal-CSRF: 1",),
    ):
        assert (await get(world, browser, *lines)).status == 403, lines
    assert world.acme_api.calls.total() == 0
    assert (await get(world, browser, f"Origin: {world.url}", "X-Portal-CSRF: 1")).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.gen_test
async def test_S1_everything_but_reads_needs_the_csrf_header(world: World, method: str) -> None:
    browser = await signed_in(world)
    own = (
        "Sec-Fetch-Site: same-origin",
        "Sec-Fetch-Dest: empty",
        "Content-Length: 0",
        f"Origin: {world.url}",
    )
    assert (await get(world, browser, *own, method=method)).status == 403
    assert world.acme_api.calls.total() == 0
    assert (await get(world, browser, *own, "X-Portal-CSRF: 1", method=method, path="echo")).status == 200


OWN = "https://portal.example"
LEADING = [
    "/t/acme/api/orders",
    "/t/acme/api",
    "/t/acme/api?x=1",
    "/t/acme/apis/billing/x",
    f"{OWN}/t/globex/api/orders",
    "HTTPS://PORTAL.example:443/t/globex/api/orders?client_id=1",
    "https://user@portal.example/t/acme/api/x",
    "//portal.example/t/acme/api/x",
    "\\\\portal.example\\t\\acme\\api\\x",
    "https://%70ortal.example/t/acme/api/x",
    f"{OWN}/x/../t/acme/api/x",
    f"{OWN}/t/acme/api//..",
    f"{OWN}/t/acme/api/x//..//..",
    f"{OWN}//t//acme/api/x",
    f"{OWN}/x/%2e%2e/t/acme/api/x",
    f"{OWN}/t/acme/./api/x",
    f"{OWN}/t/ac\nme/api/x",
    f" {OWN}/t/acme/api/x",
    "https://[portal.example/t/acme/api",
    "https://\uff50ortal.example/t/acme/api/x",
    "https://%EF%BD%90ortal.example/t/acme/api/x",
    "https://por\u00adtal.example/t/acme/api/x",
    "https:///portal.example/t/acme/api/x",
    "///portal.example/t/acme/api/x",
    "https:portal.example/t/acme/api/x",
    "http://127.1/t/acme/api/x",
    "http://0x7f000001/t/acme/api/x",
    "http://[0::1]/t/acme/api/x",
    "https://portal.example:x/t/acme/api",
    "/%ff",
    "/" + "a" * 100_000,
]
HARMLESS = [
    "/t/acme/",
    "/t/acme/apidocs",
    "/t/acme/developer?path=/t/acme/api/orders",
    "/t/acme/#/t/acme/api/orders",
    f"{OWN}/auth/realms/acme",
    "https://provider.example/t/acme/api/orders",
    "http://portal.example/t/acme/api/orders",
    "https://portal.example:8443/t/acme/api/orders",
    "https://pro_vider.example/t/acme/api/orders",
    "http://127.0.0.1/t/acme/api/orders",
    "http://[::1]:8443/t/acme/api/orders",
]


@pytest.mark.parametrize("url", LEADING)
def test_S1_an_address_of_an_api_is_recognised_as_a_browser_would(url: str) -> None:
    assert leads_to_api(url, OWN)


@pytest.mark.parametrize("url", HARMLESS)
def test_S1_other_addresses_are_not_taken_for_an_api(url: str) -> None:
    assert not leads_to_api(url, OWN)


@pytest.mark.gen_test
async def test_S1_no_login_ends_at_an_api(world: World) -> None:
    """A link of another site begins a login; its redirects must not read an API."""
    for target in ("/t/acme/api/orders", "/t/acme/%61pi/orders", "/t/acme/apis/x/y"):
        browser = world.browser()
        callback = await world.stop_before_callback(browser, "acme", f"?return_to={target}")
        done = await browser.step(callback, site="cross-site")
        assert done.headers["Location"] == "/t/acme/", target
    assert world.acme_api.calls.total() == 0


@pytest.mark.parametrize("where", ["authorization", "end_session"])
@pytest.mark.gen_test
async def test_S1_no_provider_sends_the_browser_to_an_api_of_another_tenant(world: World, where: str) -> None:
    """The administrator of a tenant chooses its provider's endpoints; users follow them with a click."""
    browser = await signed_in(world, "globex")
    if where == "end_session":
        await world.quick_sign_in(browser, "acme")
    target = world.at("/t/globex/api/projects/delete-all")
    change_tenant(world, "acme", endpoints={where: target})
    if where == "authorization":
        response = await browser.step(world.at("/t/acme/login"))
    else:
        response = await browser.step(world.at("/t/acme/logout"), "POST", "", site="same-origin")
    assert response.status == 502
    assert "Location" not in response.headers
    assert world.globex_api.calls.total() == 0


# --- T4: nothing that runs


@pytest.mark.parametrize("destination", CODE)
@pytest.mark.gen_test
async def test_T4_a_response_is_no_code_style_or_frame(world: World, destination: str) -> None:
    browser = await signed_in(world)
    own = ("Sec-Fetch-Site: same-origin", f"Sec-Fetch-Dest: {destination}")
    for more in ((), ("X-Portal-CSRF: 1",)):
        response = await get(world, browser, *own, *more)
        assert response.status == 403
        assert json.loads(response.body)["code"] == "cross_site_request"
        assert (await get(world, browser, *own, *more, method="HEAD")).status == 403
    assert world.acme_api.calls.total() == 0


@pytest.mark.gen_test
async def test_T4_a_service_worker_script_is_refused_even_when_a_worker_fetches_it(world: World) -> None:
    browser = await signed_in(world)
    own = ("Sec-Fetch-Site: same-origin", "X-Portal-CSRF: 1", "Sec-Fetch-Dest: empty")
    assert (await get(world, browser, *own)).status == 200
    assert (await get(world, browser, *own, "Service-Worker: script")).status == 403
    assert (await get(world, browser, *own, "Sec-Fetch-Dest: image")).status == 403, "sent twice"


# --- S4: reads keep what a page needs of the headers


@pytest.mark.gen_test
async def test_S4_a_download_keeps_its_name_and_ranges(world: World) -> None:
    browser = await signed_in(world)
    own = ("Sec-Fetch-Site: same-origin", "Sec-Fetch-Dest: document")
    response = await get(world, browser, *own, path="download?mb=0.001")
    assert response.status == 200
    assert response.header("Content-Disposition") == 'attachment; filename="sample.bin"'
    assert len(response.body) == 1048
    head = [("Range", "bytes=0-1"), ("If-Range", '"x"'), ("Accept", "video/*"), ("Last-Event-ID", "5")]
    lines = [f"{name}: {value}" for name, value in head]
    assert (await get(world, browser, *own, *lines, path="echo")).status == 200
    sent = dict(world.acme_api.received[-1].headers)
    assert {name: sent.get(name) for name, _ in head[:3]} == dict(head[:3])
    assert sent["Last-Event-Id"] == "5"
    assert (await get(world, browser, *own, method="HEAD", path="echo")).body == b""
