"""THREATS T1, L1, L2, L3, S1 and S8 for form_post responses and for logins begun by another site."""

from __future__ import annotations

import asyncio
import io
import json
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.kit.browser import Browser, Response
from tests.kit.raw import change_tenant, stored
from tests.kit.world import World

POSTED = "portal-attempt-post"


async def response_form(world: World, browser: Browser, tenant: str = "acme") -> dict[str, str]:
    """Sign in up to the provider's form, and return its fields."""
    change_tenant(world, tenant, response_mode="form_post")
    provider = world.provider(tenant)
    provider.automatic_user = "alice" if tenant == "acme" else "gina"
    page = await browser.open(world.at(f"/t/{tenant}/login"))
    provider.automatic_user = None
    return dict(page.form(f"/t/{tenant}/callback").fields)


async def post(
    world: World, browser: Browser, given: dict[str, str] | list[tuple[str, str]] | str, tenant: str = "acme"
) -> Response:
    """Post a form as a browser does for a page of another site, without following the redirect."""
    body = given if isinstance(given, str) else urlencode(given)
    cookie = browser.cookie("localhost", POSTED)
    headers = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Origin": "null",
        "Accept": "text/html",
        "Cookie": f"{POSTED}={cookie}" if cookie else "nothing=1",
    }
    url = world.at(f"/t/{tenant}/callback")
    return await browser.fetch(url, "POST", headers=headers, body=body, site=None, csrf=False)


async def finish(browser: Browser, world: World, posted: Response) -> Response:
    return await browser.step(world.at(posted.headers["Location"]), site="cross-site")


async def is_rejected(world: World, browser: Browser, response: Response, status: int = 400) -> None:
    """Check that a response had no effect: an error page, no token request, no session."""
    if (gone := response.headers.get("Location", "")).endswith("/finish-login?reference=gone"):
        response = await browser.step(world.at(gone), site="cross-site")
    if response.headers.get("Location") == "/t/acme/cookie-check?set=1":
        response = await browser.step(world.at("/t/acme/cookie-check?set=1"), site="cross-site")
    assert response.status == status, response.text
    assert "Location" not in response.headers
    assert world.acme.requests["token"] == world.globex.requests["token"] == 0
    assert stored(world)["sessions"] == stored(world)["logins"] == []
    assert browser.cookie("localhost", "portal") is None


# --- T1: mix-up


@pytest.mark.gen_test
async def test_T1_a_form_for_one_tenant_has_no_effect_at_another(world: World) -> None:
    browser = world.browser()
    given = await response_form(world, browser)
    await response_form(world, browser, "globex")
    await is_rejected(world, browser, await post(world, browser, given, "globex"))
    posted = await post(world, browser, given)
    reference = posted.headers["Location"].partition("?")[2]
    elsewhere = await browser.step(world.at(f"/t/globex/finish-login?{reference}"), site="cross-site")
    await is_rejected(world, browser, elsewhere)
    assert (await finish(browser, world, posted)).status == 303, "another tenant consumed the stored response"


# --- L1: login CSRF


@pytest.mark.parametrize("victim_is_signing_in", [False, True])
@pytest.mark.gen_test
async def test_L1_a_form_of_an_attacker_has_no_effect_in_another_browser(
    world: World, victim_is_signing_in: bool
) -> None:
    attacker, victim = world.browser(), world.browser()
    given = await response_form(world, attacker)
    if victim_is_signing_in:
        await response_form(world, victim)
    await is_rejected(world, victim, await post(world, victim, given))
    posted = await post(world, attacker, given)
    assert (await finish(attacker, world, posted)).status == 303, "another browser consumed the attempt"


@pytest.mark.parametrize("victim_is_signing_in", [False, True])
@pytest.mark.gen_test
async def test_L1_another_browser_cannot_load_the_stored_response_of_an_attacker(
    world: World, victim_is_signing_in: bool
) -> None:
    attacker, victim = world.browser(), world.browser()
    posted = await post(world, attacker, await response_form(world, attacker))
    assert posted.status == 303
    if victim_is_signing_in:
        await response_form(world, victim)
    await is_rejected(world, victim, await finish(victim, world, posted))
    assert (await finish(attacker, world, posted)).status == 303


@pytest.mark.gen_test
async def test_L1_the_cookie_for_posted_responses_alone_finishes_no_login(world: World) -> None:
    """Cross-site requests carry it; the last step needs the cookie that they do not carry."""
    browser = world.browser()
    posted = await post(world, browser, await response_form(world, browser))
    thief = world.browser()
    thief.cookies["localhost"] = {POSTED: str(browser.cookie("localhost", POSTED))}
    await is_rejected(world, thief, await finish(thief, world, posted))


@pytest.mark.gen_test
async def test_L1_two_cookies_for_posted_responses_are_rejected(world: World) -> None:
    browser = world.browser()
    given = await response_form(world, browser)
    own = browser.cookie("localhost", POSTED)
    for header in (f"{POSTED}={own}; {POSTED}={'A' * 43}", f"{POSTED}={'A' * 43}; {POSTED}={own}"):
        headers = {"Sec-Fetch-Site": "cross-site", "Cookie": header}
        url = world.at("/t/acme/callback")
        response = await browser.fetch(url, "POST", headers=headers, body=urlencode(given), site=None)
        await is_rejected(world, browser, response)


# --- L2: state and reference


def _mangled(state: str) -> dict[str, list[tuple[str, str]]]:
    return {
        "missing": [],
        "empty": [("state", "")],
        "truncated": [("state", state[:-1])],
        "longer": [("state", state + "A")],
        "10 KB": [("state", state + "A" * 10_000)],
        "NUL": [("state", state + "\0")],
        "non-ASCII": [("state", state[:-1] + "é")],
        "twice": [("state", state), ("state", state)],
        "twice, one wrong": [("state", "A" * 43), ("state", state)],
        "with a malformed response": [("state", state), ("response", "a.b.c")],
    }


@pytest.mark.gen_test
async def test_L2_a_mangled_state_in_a_form_is_rejected_with_one_log_line(
    world: World, log_lines: io.StringIO
) -> None:
    browser = world.browser()
    given = await response_form(world, browser)
    for case, pairs in _mangled(given["state"]).items():
        log_lines.seek(0)
        log_lines.truncate()
        response = await post(world, browser, [("code", given["code"]), ("iss", given["iss"]), *pairs])
        await is_rejected(world, browser, response)
        events = [json.loads(line)["event"] for line in log_lines.getvalue().splitlines()]
        assert [event for event in events if event != "request"] == ["request_failed"], case
    posted = await post(world, browser, given)
    assert (await finish(browser, world, posted)).status == 303, "a mangled state consumed the attempt"


@pytest.mark.parametrize("name", ["code", "state", "iss", "error", "error_description", "session_state"])
@pytest.mark.gen_test
async def test_L2_a_repeated_parameter_in_a_form_is_rejected(world: World, name: str) -> None:
    browser = world.browser()
    given = await response_form(world, browser)
    pairs = [pair for pair in given.items() if pair[0] != name]
    twice = [(name, given.get(name, "x"))] * 2
    await is_rejected(world, browser, await post(world, browser, [*pairs, *twice]))


@pytest.mark.gen_test
async def test_L2_a_replayed_form_and_a_replayed_reference_are_rejected(world: World) -> None:
    browser = world.browser()
    given = await response_form(world, browser)
    posted = await post(world, browser, given)
    await is_rejected(world, browser, await post(world, browser, given))
    assert (await finish(browser, world, posted)).status == 303
    for _ in range(2):
        again = await finish(browser, world, posted)
        assert (again.status, again.headers["Location"]) == (303, "/t/acme/")
    again = await finish(browser, world, await post(world, browser, given))
    assert (again.status, again.headers["Location"]) == (303, "/t/acme/")
    assert world.acme.requests["code"] == 1
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test
async def test_L2_ten_concurrent_posts_of_one_form_make_one_login(world: World) -> None:
    browser = world.browser()
    given = await response_form(world, browser)
    responses = await asyncio.gather(*(post(world, browser, given) for _ in range(10)))
    (posted,) = [one for one in responses if not one.headers["Location"].endswith("?reference=gone")]
    ends = await asyncio.gather(*(finish(browser, world, posted) for _ in range(10)))
    assert sorted(response.status for response in ends) == [303] + [400] * 9
    assert world.acme.requests["code"] == 1


@pytest.mark.gen_test
async def test_L2_an_expired_form_and_an_expired_reference_are_rejected(world: World) -> None:
    browser = world.browser()
    given = await response_form(world, browser)
    world.clock.advance(601)
    await is_rejected(world, browser, await post(world, browser, given))
    posted = await post(world, browser, await response_form(world, browser))
    world.clock.advance(61)
    await is_rejected(world, browser, await finish(browser, world, posted))


@pytest.mark.gen_test
async def test_L2_a_state_is_not_accepted_as_a_reference_nor_a_reference_as_a_state(world: World) -> None:
    browser = world.browser()
    given = await response_form(world, browser)
    response = await browser.step(world.at(f"/t/acme/finish-login?reference={given['state']}"))
    await is_rejected(world, browser, response)
    posted = await post(world, browser, await response_form(world, browser))
    reference = parse_qs(urlsplit(posted.headers["Location"]).query)["reference"][0]
    again = await post(world, browser, {**given, "state": reference})
    await is_rejected(world, browser, again)
    posted = await post(world, browser, await response_form(world, browser))
    reference = parse_qs(urlsplit(posted.headers["Location"]).query)["reference"][0]
    in_url = await browser.step(world.at(f"/t/acme/callback?code=c&state={reference}"))
    await is_rejected(world, browser, in_url)


@pytest.mark.parametrize("reference", ["", "x", "A" * 43, "A" * 10_000, "%00", "%ff", "é" * 43])
@pytest.mark.gen_test
async def test_L2_a_reference_that_the_portal_did_not_issue_is_rejected(world: World, reference: str) -> None:
    browser = world.browser()
    await response_form(world, browser)
    response = await browser.step(world.at(f"/t/acme/finish-login?reference={reference}"))
    await is_rejected(world, browser, response)


@pytest.mark.gen_test
async def test_L2_a_body_that_is_no_form_or_too_large_is_rejected(world: World) -> None:
    browser = world.browser()
    given = await response_form(world, browser)
    url, cookie = world.at("/t/acme/callback"), browser.cookie("localhost", POSTED)
    for kind in ("application/json", "multipart/form-data; boundary=x", "text/plain", ""):
        headers = {"Cookie": f"{POSTED}={cookie}", "Content-Type": kind, "Sec-Fetch-Site": "cross-site"}
        response = await browser.fetch(url, "POST", headers=headers, body=urlencode(given), site=None)
        await is_rejected(world, browser, response)
    large = urlencode({**given, "padding": "x" * 100_000})
    await is_rejected(world, browser, await post(world, browser, large), status=413)
    await is_rejected(world, browser, await post(world, browser, urlencode(given) + "&iss=%ff"))
    in_url = await browser.fetch(
        f"{url}?{urlencode(given)}", "POST", headers={"Cookie": f"{POSTED}={cookie}"}, body="a=b", site=None
    )
    await is_rejected(world, browser, in_url)


@pytest.mark.gen_test
async def test_L2_a_code_in_the_url_is_refused_with_response_mode_form_post(world: World) -> None:
    change_tenant(world, "acme", response_mode="form_post")
    world.acme.faults.response_in_url = True
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    await is_rejected(world, browser, await browser.step(callback, site="cross-site"))


@pytest.mark.gen_test
async def test_L2_a_form_is_refused_with_response_mode_query(world: World) -> None:
    browser = world.browser()
    await response_form(world, browser)
    change_tenant(world, "acme", response_mode="query")
    callback = await world.stop_before_callback(browser, "acme")
    await is_rejected(world, browser, await post(world, browser, urlsplit(callback).query))


@pytest.mark.parametrize("fault", ["missing", "wrong"])
@pytest.mark.gen_test
async def test_L2_a_form_without_or_with_another_issuer_sends_no_token_request(
    world: World, fault: str
) -> None:
    world.acme.faults.response_iss = fault  # type: ignore[assignment]
    browser = world.browser()
    posted = await post(world, browser, await response_form(world, browser))
    await is_rejected(world, browser, await finish(browser, world, posted))


# --- L3: nonce


@pytest.mark.gen_test
async def test_L3_the_nonce_is_checked_for_posted_responses(world: World) -> None:
    world.acme.faults.wrong_nonce = True
    browser = world.browser()
    posted = await post(world, browser, await response_form(world, browser))
    response = await finish(browser, world, posted)
    assert response.status == 400
    assert stored(world)["sessions"] == stored(world)["logins"] == []


# --- S1: all other cross-site requests stay refused


@pytest.mark.gen_test
async def test_S1_other_cross_site_forms_stay_refused(world: World) -> None:
    change_tenant(world, "acme", response_mode="form_post")
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    for path in (
        "/logout",
        "/t/acme/logout",
        "/t/acme/api/orders",
        "/t/acme/login",
        "/t/acme/finish-login",
    ):
        for site, origin in (("cross-site", None), ("same-site", None), (None, "null")):
            response = await browser.fetch(
                world.at(path),
                "POST",
                headers={"Origin": origin} if origin else {},
                body="a=b",
                site=site,
                csrf=False,
            )
            assert response.status in {403, 405}, (path, site, origin)
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
    for method in ("PUT", "DELETE", "PATCH"):
        for path in ("/t/acme/callback", "/t/acme/initiate-login"):
            response = await browser.fetch(world.at(path), method, body="", site="cross-site", csrf=False)
            assert response.status == 405


@pytest.mark.parametrize("path", ["/t/acme/login", "/t/acme/initiate-login?iss="])
@pytest.mark.parametrize("destination", ["image", "iframe", "empty", "script"])
@pytest.mark.gen_test
async def test_S1_a_resource_of_another_sites_page_begins_no_login(
    world: World, path: str, destination: str
) -> None:
    """It would set new binding cookies, which breaks a login in another tab."""
    change_tenant(world, "acme", response_mode="form_post")
    browser = world.browser()
    url = world.at(path + world.acme.issuer if path.endswith("=") else path)
    response = await browser.fetch(
        url, headers={"Sec-Fetch-Dest": destination}, site="cross-site", csrf=False
    )
    assert response.status == 403
    assert not any("portal-attempt" in cookie for cookie in response.headers.get_list("Set-Cookie"))
    assert stored(world)["attempts"] == []
    begun = await browser.fetch(url, headers={"Sec-Fetch-Dest": "document"}, site="cross-site", csrf=False)
    assert begun.status == 303


@pytest.mark.gen_test
async def test_S1_a_login_begun_by_another_site_has_no_other_effect(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    before = stored(world)
    cookies = dict(browser.cookies["localhost"])
    fields = urlencode({"iss": world.acme.issuer, "target_link_uri": world.at("/t/acme/")})
    response = await browser.step(world.at("/t/acme/initiate-login"), "POST", fields, site="cross-site")
    assert response.status == 303
    assert response.headers.get_list("Set-Cookie") == []
    begun = await browser.step(world.at(response.headers["Location"]), site="cross-site")
    assert begun.headers["Location"].startswith(f"{world.acme.issuer}/authorize?")
    after = stored(world)
    assert (after["sessions"], after["logins"]) == (before["sessions"], before["logins"])
    assert browser.cookies["localhost"] == cookies, "a login in another tab must still work"
    large = await browser.step(
        world.at("/t/acme/initiate-login"), "POST", "a=" + "x" * 20_000, site="cross-site"
    )
    assert large.status == 413


# --- S8: a dump of the database


@pytest.mark.gen_test
async def test_S8_a_stored_posted_response_is_not_readable_in_the_database(world: World) -> None:
    browser = world.browser()
    given = await response_form(world, browser)
    posted = await post(world, browser, given)
    reference = parse_qs(urlsplit(posted.headers["Location"]).query)["reference"][0]
    binding = browser.cookie("localhost", POSTED)
    dump = repr(stored(world))
    assert len(stored(world)["attempts"]) == 1
    for secret in (given["code"], given["state"], reference, str(binding)):
        assert secret not in dump
    assert (await finish(browser, world, posted)).status == 303
    assert stored(world)["attempts"] == []
