"""Invalid input: an error page or a fallback, never an internal error."""

from __future__ import annotations

import io
from collections.abc import Iterator
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from portal.routes import LARGEST_FORM
from tests.kit.browser import Browser, Response
from tests.kit.world import World

LONG = "x" * 10_240
READABLE = {
    "NUL": "a%00b",
    "control characters": "%01%1b%7f%0d%0aX-Evil:%201",
    "10 KB": LONG,
    "a lone percent sign": "%",
    "an escape that is none": "%zz",
    "a character beyond the first plane": "%F0%9F%98%80",
    "a direction override": "%E2%80%AEevil",
    "an operator of a database": "[$ne]=",
    "nothing": "",
}
NOT_UTF8 = {"bytes": "%FF%FE", "half a character": "%E2%82", "a surrogate": "%ED%A0%80", "overlong": "%C0%AF"}
VALUES = {**READABLE, **NOT_UTF8}
EXPLORER = {"method": "GET", "path": "/orders", "body": ""}


@pytest.fixture(autouse=True)
def _nothing_unexpected(log_lines: io.StringIO) -> Iterator[None]:
    yield
    for event in ("unexpected_error", "Uncaught exception", "Exception in"):
        assert event not in log_lines.getvalue()


def is_page(response: Response, status: int) -> bool:
    """Whether the response is the portal's own page with this status."""
    assert response.status == status, (response.status, urlsplit(response.url).path)
    assert response.headers["Content-Type"] == "text/html; charset=UTF-8"
    assert response.headers["X-Request-Id"]
    return "<h1" in response.text and (status < 400 or response.headers["X-Request-Id"] in response.text)


def asked_of_the_provider(response: Response, world: World) -> dict[str, list[str]]:
    assert response.status == 303, response.text
    assert response.headers["Location"].startswith(f"{world.acme.issuer}/authorize?")
    return parse_qs(urlsplit(response.headers["Location"]).query)


# --- signing in


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.gen_test
async def test_an_unusable_return_to_leads_to_the_tenants_home(world: World, value: str) -> None:
    callback = await world.stop_before_callback(
        browser := world.browser(), "acme", f"?return_to={VALUES[value]}"
    )
    response = await browser.step(callback, site="cross-site")
    assert response.status == 303
    assert response.headers["Location"] == "/t/acme/"


@pytest.mark.gen_test
async def test_a_repeated_return_to_is_ignored(world: World) -> None:
    query = "?return_to=/t/acme/%3Ffirst&return_to=/t/acme/%3Fsecond"
    callback = await world.stop_before_callback(browser := world.browser(), "acme", query)
    assert (await browser.step(callback, site="cross-site")).headers["Location"] == "/t/acme/"


@pytest.mark.gen_test
async def test_a_login_hint_is_forwarded_as_short_plain_text_or_not_at_all(world: World) -> None:
    for value in VALUES.values():
        response = await world.browser().step(world.at(f"/t/acme/login?login_hint={value}"))
        hint = asked_of_the_provider(response, world).get("login_hint", [""])[0]
        assert len(hint) <= 254
        assert hint == "" or hint.isprintable()
        assert hint or value not in {LONG, "%"}
    for query in (*(f"login_hint={value}" for value in NOT_UTF8.values()), "login_hint=a&login_hint=b"):
        response = await world.browser().step(world.at(f"/t/acme/login?{query}"))
        assert "login_hint" not in asked_of_the_provider(response, world)


@pytest.mark.gen_test
async def test_an_unknown_provider_is_an_error_page(world: World) -> None:
    for name, value in VALUES.items():
        page = await world.browser().step(world.at(f"/t/acme/login?provider={value}"))
        assert is_page(page, 400 if name in NOT_UTF8 else 404)
    twice = await world.browser().step(world.at("/t/acme/login?provider=default&provider=other"))
    assert is_page(twice, 404)
    assert world.acme.requests.total() == 0


@pytest.mark.gen_test
async def test_a_malformed_authorization_response_is_an_error_page(world: World) -> None:
    browser = world.browser()
    await world.to_provider(browser, "acme")
    for name in ("state", "code", "error", "iss"):
        for value in VALUES.values():
            query = urlencode({"state": "s", "code": "c"} | {name: ""}) + f"&{name}={value}"
            assert is_page(await browser.step(world.at(f"/t/acme/callback?{query}")), 400)
    assert world.acme.requests["code"] == 0


# --- pages


@pytest.mark.gen_test
async def test_a_search_for_anything_is_a_page(world: World) -> None:
    browser = world.browser()
    for name, value in VALUES.items():
        page = await browser.step(world.at(f"/?q={value}"))
        assert is_page(page, 400 if name in NOT_UTF8 else 200)
        assert "\0" not in page.text
        assert "\u202e" not in page.text
        assert LONG[:300] not in page.text
    assert is_page(await browser.step(world.at("/?q=acme&q=globex")), 200)


@pytest.mark.gen_test
async def test_an_unknown_logout_state_is_a_page(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    for name, value in VALUES.items():
        if name in NOT_UTF8:
            page = await browser.step(world.at(f"/t/globex/signed-out?state={value}"))
            assert is_page(page, 400)
        else:
            assert is_page(await browser.open(world.at(f"/t/globex/signed-out?state={value}")), 200)
        assert is_page(await browser.step(world.at(f"/signed-out?state={value}")), 200)
    assert is_page(await browser.open(world.at("/t/globex/signed-out?state=a&state=b")), 200)
    assert await world.login_of(browser, "acme") is not None


@pytest.mark.parametrize(
    "path", ["/", "/t/acme/", "/t/acme/login", "/t/acme/callback", "/t/acme/signed-out", "/signed-out"]
)
@pytest.mark.gen_test
async def test_thousands_of_parameters_are_refused_before_any_effect(world: World, path: str) -> None:
    for count, repeated in ((3000, False), (3000, True)):
        pairs = "&".join(f"p{0 if repeated else number}=1" for number in range(count))
        response = await world.browser().step(world.at(f"{path}?{pairs}"))
        assert response.status == 400
    assert world.acme.requests.total() == 0


@pytest.mark.gen_test
async def test_an_unknown_method_is_an_error_page(world: World) -> None:
    for path in ("/", "/t/acme/", "/t/acme/logout", "/nowhere"):
        response = await world.browser().step(world.at(path), "FROBNICATE", "")
        assert is_page(response, 405)


# --- forms


async def post(
    world: World, browser: Browser, body: str | bytes, *, path: str = "/t/acme/developer", **headers: str
) -> Response:
    sent = {"Accept": "text/html", "Content-Type": "application/x-www-form-urlencoded"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return await browser.fetch(world.at(path), "POST", headers=sent, body=body)


def form(**fields: str) -> str:
    """The explorer's form. Values are sent unchanged."""
    sent = {name: quote(value, safe="") for name, value in EXPLORER.items()} | fields
    return "&".join(f"{name}={value}" for name, value in sent.items())


@pytest.mark.gen_test
async def test_the_explorers_fields_accept_any_value(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    for name, value in VALUES.items():
        assert is_page(await post(world, browser, form(method=value)), 400)
        before = world.acme_api.calls.total()
        status = 400 if name in NOT_UTF8 else 200
        assert is_page(await post(world, browser, form(path=f"/../{value}")), status)
        assert world.acme_api.calls.total() == before
        assert is_page(await post(world, browser, form(path=f"/orders/{value}")), status)
        assert is_page(await post(world, browser, form(method="POST", path="/echo", body=value)), status)
    assert world.acme_api.calls["outside"] == 0


@pytest.mark.gen_test
async def test_the_last_value_of_a_repeated_field_counts(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    page = await post(world, browser, form() + "&path=/orders/A-1001&path=/orders/A-1002")
    assert is_page(page, 200)
    assert [call.uri for call in world.acme_api.received] == ["/v1/orders/A-1002"]


def multipart(*parts: str, end: str = "--B--\r\n") -> str:
    return "".join(f"--B\r\n{part}\r\n" for part in parts) + end


def part(name: str, value: str) -> str:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'


MULTIPART = "multipart/form-data; boundary=B"
NOT_FORMS: dict[str, tuple[str | bytes, dict[str, str]]] = {
    "nothing": ("", {}),
    "bytes": (b"\xff\xfe\x00===&&&", {}),
    "json": ('{"method": "GET", "path": "/orders"}', {"Content_Type": "application/json"}),
    "text": ("path=/orders", {"Content_Type": "text/plain"}),
    "a kind of content that is none": ("path=/orders", {"Content_Type": ";;;="}),
    "packed": ("path=/orders", {"Content_Encoding": "gzip"}),
    "thousands of fields": ("&".join(f"p{number}=1" for number in range(2000)), {}),
    "a field thousands of times": ("&".join("path=/orders" for _ in range(5000)), {}),
    "parts, which no form of the portal sends": (
        multipart(part("method", "GET"), part("path", "/orders/A-1001")),
        {"Content_Type": MULTIPART},
    ),
    "parts without a boundary": (multipart(part("path", "/orders")), {"Content_Type": "multipart/form-data"}),
    "parts without an end": (
        multipart(part("path", "/orders"), end="")[:-10],
        {"Content_Type": MULTIPART},
    ),
    "a part without a name": (multipart("X: y\r\n\r\n/orders"), {"Content_Type": MULTIPART}),
    "a part without a head": (multipart("/orders"), {"Content_Type": MULTIPART}),
    "a part that is not UTF-8": (
        multipart(part("path", "/orders/*")).encode().replace(b"*", b"\xff"),
        {"Content_Type": MULTIPART},
    ),
    "a file": (
        multipart('Content-Disposition: form-data; name="path"; filename="x"\r\n\r\n/orders'),
        {"Content_Type": MULTIPART},
    ),
    "thousands of parts": (
        multipart(*(part(f"p{number}", "x") for number in range(2000))),
        {"Content_Type": MULTIPART},
    ),
}


@pytest.mark.gen_test
async def test_a_body_that_is_not_the_explorers_form_is_an_error_page_and_no_call(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    for body, headers in NOT_FORMS.values():
        assert is_page(await post(world, browser, body, **headers), 400)
    assert world.acme_api.calls.total() == 0
    assert await world.login_of(browser, "acme") is not None


@pytest.mark.parametrize(("more", "status"), [(0, 200), (1, 413), (500_000, 413)])
@pytest.mark.gen_test
async def test_the_explorers_form_may_have_the_maximal_length(world: World, more: int, status: int) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    empty = len(form(method="POST", path="/echo"))
    filled = form(method="POST", path="/echo", body="x" * (LARGEST_FORM - empty + more))
    assert is_page(await post(world, browser, filled), status)


@pytest.mark.parametrize("path", ["/logout", "/t/acme/logout"])
@pytest.mark.gen_test
async def test_a_sign_out_without_origin_headers_and_with_an_invalid_form_does_nothing(
    world: World, path: str
) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    for body, status in (
        ("", 403),
        ("%FF=%FF", 403),
        ("_xsrf=%FF", 403),
        (f"_xsrf={LONG}", 403),
        ("_xsrf=2|a|b|c", 403),
        ("&".join(f"p{number}=1" for number in range(2000)), 400),
    ):
        headers = {"Accept": "text/html"}
        response = await browser.fetch(world.at(path), "POST", headers=headers, body=body, site=None)
        assert is_page(response, status)
    assert await world.login_of(browser, "acme") is not None
