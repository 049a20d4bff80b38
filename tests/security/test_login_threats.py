"""THREATS L1, L2, L3 and L6 on real sockets: login CSRF, state, PKCE and session fixation.

The rules of the ID token (L4) are in test_id_token_threats.py, L5, L7 and L8 in test_login_text_threats.py.
"""

from __future__ import annotations

import asyncio
import io
import json
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from tests.kit.browser import Browser, Response
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.raw import ask, cookies, stored, until
from tests.kit.world import World


def _query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def _is_rejected(world: World, browser: Browser, url: str) -> Response:
    """Open a callback and check that it has no effect."""
    before, requests = stored(world), world.acme.requests["token"]
    cookie = browser.cookie("localhost", "portal")
    response = await browser.step(url, site="cross-site")
    if response.headers.get("Location") == "/t/acme/cookie-check?set=1":
        response = await browser.step(world.at("/t/acme/cookie-check?set=1"), site="cross-site")
    if cookie is not None and response.status == 303:  # it leads to the login that exists
        assert response.headers["Location"] == "/t/acme/"
    else:
        assert response.status == 400, response.text
    assert world.acme.requests["token"] == requests
    after = stored(world)
    assert (after["sessions"], after["logins"]) == (before["sessions"], before["logins"])
    assert browser.cookie("localhost", "portal") == cookie
    return response


# --- L1: login CSRF


@pytest.mark.parametrize("victim_is_signing_in", [False, True])
@pytest.mark.gen_test
async def test_L1_a_code_and_state_of_an_attacker_have_no_effect_in_another_browser(
    world: World, victim_is_signing_in: bool
) -> None:
    attacker, victim = world.browser(), world.browser()
    callback = await world.stop_before_callback(attacker, "acme")
    if victim_is_signing_in:
        await world.stop_before_callback(victim, "acme")
    response = await _is_rejected(world, victim, callback)
    assert "no longer valid" in response.text
    finished = await attacker.step(callback, site="cross-site")
    assert finished.status == 303, "another browser consumed the attempt"


@pytest.mark.gen_test
async def test_L1_two_binding_cookies_are_rejected(world: World) -> None:
    """Cookie tossing: a sibling host sets the attacker's binding cookie in the victim's browser."""
    attacker, victim = world.browser(), world.browser()
    callback = await world.stop_before_callback(attacker, "acme")
    await world.stop_before_callback(victim, "acme")
    both = [browser.cookie("localhost", "portal-attempt") for browser in (victim, attacker)]
    for order in (both, both[::-1]):
        header = "; ".join(f"portal-attempt={value}" for value in order)
        response = await victim.fetch(callback, headers={"Cookie": header}, site="cross-site", csrf=False)
        assert response.status == 400
    assert world.acme.requests["token"] == 0
    assert stored(world)["logins"] == []


@pytest.mark.gen_test
async def test_L1_a_code_of_an_attacker_in_the_victims_attempt_is_rejected(world: World) -> None:
    """Code injection (RFC 9700 4.5), which PKCE and the nonce prevent."""
    attacker, victim = world.browser(), world.browser()
    stolen = _query(await world.stop_before_callback(attacker, "acme"))
    own = await world.stop_before_callback(victim, "acme")
    response = await victim.step(own.replace(_query(own)["code"], stolen["code"]), site="cross-site")
    assert response.status == 502
    assert stored(world)["sessions"] == stored(world)["logins"] == []


# --- L2: state


def _mangled(state: str, case: str) -> list[tuple[str, str]]:
    cases: dict[str, list[str]] = {
        "missing": [],
        "empty": [""],
        "truncated": [state[:-1]],
        "longer": [state + "A"],
        "upper case": [state.swapcase()],
        "10 KB": [state + "A" * 10_000],
        "NUL": [state + "\0"],
        "NUL first": ["\0" + state],
        "line break": [state + "\r\n"],
        "non-ASCII": [state[:-1] + "é"],
        "look-alike": ["\N{FULLWIDTH LATIN SMALL LETTER A}" + state[1:]],
        "twice": [state, state],
        "twice, one wrong": ["A" * 43, state],
        "space": [f" {state}"],
    }
    return [("state", value) for value in cases[case]]


STATES = [
    "missing", "empty", "truncated", "longer", "upper case", "10 KB", "NUL", "NUL first", "line break",
    "non-ASCII", "look-alike", "twice", "twice, one wrong", "space",
]  # fmt: skip


@pytest.mark.gen_test
async def test_L2_a_mangled_state_is_rejected_with_one_log_line(world: World, log_lines: io.StringIO) -> None:
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    given = _query(callback)
    for case in STATES:
        log_lines.seek(0)
        log_lines.truncate()
        query = [("code", given["code"]), ("iss", given["iss"]), *_mangled(given["state"], case)]
        await _is_rejected(world, browser, world.at(f"/t/acme/callback?{urlencode(query)}"))
        lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
        assert [line["event"] for line in lines] == ["request_failed", "request"], case
    finished = await browser.step(callback, site="cross-site")
    assert finished.status == 303, "a mangled state consumed the attempt"


@pytest.mark.gen_test
async def test_L2_a_state_that_is_not_utf8_is_rejected(world: World) -> None:
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    await _is_rejected(world, browser, callback.replace("state=", "state=%ff%fe"))
    await _is_rejected(world, browser, callback + "&%ff=%ff")


@pytest.mark.gen_test
async def test_L2_a_replayed_state_is_rejected_and_the_login_stays(world: World) -> None:
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    assert (await browser.step(callback, site="cross-site")).status == 303
    for _ in range(3):
        await _is_rejected(world, browser, callback)
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test
async def test_L2_ten_concurrent_deliveries_of_one_state_make_one_login(world: World) -> None:
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    responses = await asyncio.gather(*(browser.step(callback, site="cross-site") for _ in range(10)))
    assert sorted(response.status for response in responses) == [303] + [400] * 9
    assert world.acme.requests["code"] == 1
    assert len(stored(world)["logins"]) == len(stored(world)["sessions"]) == 1


@pytest.mark.gen_test
async def test_L2_an_expired_state_is_rejected(world: World) -> None:
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    world.clock.advance(601)
    await _is_rejected(world, browser, callback)


@pytest.mark.parametrize("parameter", ["code", "iss", "error", "error_description"])
@pytest.mark.gen_test
async def test_L2_a_repeated_parameter_is_rejected(world: World, parameter: str) -> None:
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    value = quote(_query(callback).get(parameter, "access_denied"))
    await _is_rejected(world, browser, f"{callback}&{parameter}={value}&{parameter}={value}")


@pytest.mark.gen_test
async def test_L2_unknown_parameters_have_no_effect(world: World) -> None:
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    extra = {
        "return_to": "https://evil.example/",
        "redirect_uri": "https://evil.example/",
        "tenant": "globex",
        "id_token": "a.b.c",
        "access_token": "stolen",
        "nonce": "n",
        "code_verifier": "v" * 43,
        "session": "s",
        "_xsrf": "x",
    }
    response = await browser.step(f"{callback}&{urlencode(extra)}", site="cross-site")
    assert response.status == 303
    assert response.headers["Location"] == "/t/acme/"


@pytest.mark.parametrize("fault", ["missing", "wrong"])
@pytest.mark.gen_test
async def test_L2_a_response_without_or_with_another_issuer_sends_no_token_request(
    world: World, fault: str
) -> None:
    browser = world.browser()
    world.acme.faults.response_iss = fault  # type: ignore[assignment]
    await _is_rejected(world, browser, await world.stop_before_callback(browser, "acme"))


@pytest.mark.gen_test
async def test_L2_ten_thousand_parameters_have_no_effect(world: World) -> None:
    browser = world.browser()
    callback = urlsplit(await world.stop_before_callback(browser, "acme"))
    many = "&".join(["a"] * 10_000)
    before = stored(world)
    for query in (many, f"{callback.query}&{many}"):
        head = (
            f"GET /t/acme/callback?{query} HTTP/1.1\r\nHost: {callback.netloc}\r\n"
            f"Cookie: {cookies(browser)}\r\n\r\n"
        )
        response = await ask(world, head.encode())
        assert response is None or response.status == 400
    assert stored(world)["logins"] == before["logins"] == []


# --- L3: PKCE and nonce


@pytest.mark.gen_test
async def test_L3_every_request_has_s256_and_a_new_nonce_and_state(world: World) -> None:
    def downgrade(metadata: dict[str, object]) -> None:
        metadata["code_challenge_methods_supported"] = ["plain"]

    world.acme.faults.mutate_metadata = downgrade
    browser = world.browser()
    requests = []
    for _ in range(5):
        begun = await browser.step(
            world.at(
                "/t/acme/login?code_challenge=x&code_challenge_method=plain&nonce=n&state=s&prompt=consent"
            )
        )
        requests.append(parse_qs(urlsplit(begun.headers["Location"]).query))
    for name in ("state", "nonce", "code_challenge"):
        values = [request[name] for request in requests]
        assert all(len(value) == 1 and len(value[0]) >= 43 for value in values)
        assert len({value[0] for value in values}) == 5
    assert {tuple(request["code_challenge_method"]) for request in requests} == {("S256",)}
    assert {tuple(request["response_type"]) for request in requests} == {("code",)}
    assert all("prompt" not in request for request in requests)


@pytest.mark.parametrize("fault", ["missing", "wrong", "of another attempt", "not a string"])
@pytest.mark.gen_test
async def test_L3_an_id_token_without_this_attempts_nonce_is_rejected(world: World, fault: str) -> None:
    browser = world.browser()
    other = _query((await browser.step(world.at("/t/acme/login"))).headers["Location"])["nonce"]
    callback = await world.stop_before_callback(browser, "acme")
    nonces = {"wrong": "n" * 43, "of another attempt": other, "not a string": [other]}
    if fault == "missing":
        world.acme.faults.missing_claims = {"nonce"}
    else:
        world.acme.faults.mutate_id_token = lambda header, claims: claims.update(nonce=nonces[fault])
    response = await browser.step(callback, site="cross-site")
    assert response.status == 400
    assert stored(world)["sessions"] == stored(world)["logins"] == []
    assert browser.cookie("localhost", "portal") is None


# --- L6: session fixation


@pytest.mark.gen_test
async def test_L6_every_login_replaces_the_secret_and_the_old_cookie_is_invalid(world: World) -> None:
    browser, thief = world.browser(), world.browser()
    await world.quick_sign_in(browser, "acme")
    for tenant in ("globex", "acme", "globex"):
        known = browser.cookie("localhost", "portal")
        assert known is not None
        await world.quick_sign_in(browser, tenant)
        assert browser.cookie("localhost", "portal") != known
        thief.cookies["localhost"] = {"portal": known}
        for path in ("/t/acme/api/orders", "/t/globex/api/projects"):
            assert (await thief.fetch(world.at(path))).status == 401
        found = json.loads((await thief.fetch(world.at("/session"))).body)
        assert (found["tenants"], found["session"]) == ([], None)
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test
async def test_L6_a_cookie_that_the_portal_did_not_issue_is_not_adopted(world: World) -> None:
    browser = world.browser()
    chosen = "A" * 22 + "." + "B" * 43
    browser.cookies["localhost"] = {"portal": chosen}
    await world.quick_sign_in(browser, "acme")
    made = browser.cookie("localhost", "portal")
    assert made is not None
    assert made.split(".")[0] != "A" * 22
    assert made.split(".")[1] != "B" * 43


@pytest.mark.gen_test
async def test_L6_a_fixed_cookie_never_gives_access_to_the_login(world: World) -> None:
    """The victim's browser has the attacker's session; the attacker polls while the login is created."""
    attacker, victim = world.browser(), world.browser()
    await world.quick_sign_in(attacker, "globex")
    victim.cookies["localhost"] = dict(attacker.cookies["localhost"])
    callback = await world.stop_before_callback(victim, "acme")
    store, seen = world.running.portal.store, []
    rotate, put = store.rotate_session, store.put_login

    async def poll() -> None:
        seen.append((await attacker.fetch(world.at("/t/acme/api/orders"))).status)

    async def rotate_slowly(*given: object, **named: object) -> bool:
        await poll()
        rotated = await rotate(*given, **named)  # type: ignore[arg-type]
        await poll()
        return rotated

    async def put_slowly(*given: object) -> None:
        await poll()
        await put(*given)  # type: ignore[arg-type]
        await poll()

    store.rotate_session, store.put_login = rotate_slowly, put_slowly  # type: ignore[method-assign, assignment]
    response = await victim.step(callback, site="cross-site")
    assert response.status == 303
    assert set(seen) == {401}
    assert world.acme_api.calls.total() == 0
    assert (await victim.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test
async def test_L6_a_session_that_ended_during_a_login_is_not_restored(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "globex")
    old = browser.cookie("localhost", "portal")
    home = await browser.open(world.at("/"))
    sign_out = next(form for form in home.forms if form.action == "/logout")
    callback = await world.stop_before_callback(browser, "acme")
    hold = asyncio.Event()
    world.acme.faults.endpoints["code"] = EndpointFault(hold=hold)
    finishing = asyncio.ensure_future(browser.step(callback, site="cross-site"))
    await until(lambda: world.acme.requests["code"], "the code was not sent")
    await browser.submit(sign_out)
    hold.set()
    assert (await finishing).status == 303
    assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 401
    thief = world.browser()
    thief.cookies["localhost"] = {"portal": str(old)}
    assert (await thief.fetch(world.at("/t/acme/api/orders"))).status == 401
    sessions = {row[0] for row in stored(world)["sessions"]}
    assert {row[1] for row in stored(world)["logins"]} <= sessions
