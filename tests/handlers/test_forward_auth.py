"""`GET /t/{tenant}/authz`: what a reverse proxy gets for a request to an application."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from tornado.ioloop import IOLoop

from tests.kit.forward_auth import (
    NAVIGATION,
    SECRET,
    ask_portal,
    claims_of,
    code_of,
    described,
    proxied_world,
)
from tests.kit.raw import change_tenant, connected, signed_in, until
from tests.kit.world import World

WITH_SECRET = f"X-Portal-Forward-Auth: {SECRET}"


@pytest.fixture
def proxied(io_loop: IOLoop, tmp_path: Path, log_lines: io.StringIO) -> Iterator[World]:
    """A portal that trusts proxies on this machine, with a secret that they have."""
    manager = proxied_world(tmp_path, secret=SECRET)
    made = io_loop.run_sync(manager.__aenter__, timeout=30)
    try:
        yield made
    finally:
        io_loop.run_sync(lambda: manager.__aexit__(None, None, None), timeout=60)


@pytest.mark.gen_test
async def test_a_signed_in_user_may_pass_and_the_application_learns_who_it_is(proxied: World) -> None:
    change_tenant(proxied, "acme", forward_auth={"claims": ["email", "missing", "name", "email"]})
    browser = await signed_in(proxied)
    response = await ask_portal(proxied, [*described(proxied), WITH_SECRET], browser=browser)
    assert (response.status, response.body) == (200, b"")
    assert response.header("X-Auth-Tenant") == "acme"
    assert response.header("X-Auth-Subject") == "acme-001"
    assert response.header("X-Auth-Issuer") == proxied.acme.issuer
    login = await proxied.login_of(browser, "acme")
    assert login is not None
    assert claims_of(response) == {name: login.claims[name] for name in ("email", "name")}
    assert response.all("Authorization") == []
    elsewhere = await ask_portal(
        proxied, [*described(proxied), WITH_SECRET], browser=browser, tenant="globex"
    )
    assert elsewhere.status == 401


@pytest.mark.parametrize(
    ("style", "lines", "method", "status", "located"),
    [
        ("Original", NAVIGATION, "GET", 401, True),
        ("Original", ["Accept: text/html,*/*;q=0.8"], "GET", 401, True),
        ("Original", ["Accept: application/json"], "GET", 401, False),
        (
            "Original",
            ["Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Accept: text/html"],
            "GET",
            401,
            False,
        ),
        ("Original", ["Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"], "GET", 401, False),
        ("Original", [*NAVIGATION, "Sec-Fetch-Mode: navigate"], "GET", 401, False),
        ("Original", ["Sec-Fetch-Site: same-origin", *NAVIGATION[1:]], "POST", 401, False),
        ("Original", NAVIGATION, "HEAD", 401, False),
        ("Forwarded", NAVIGATION, "GET", 302, True),
        ("Forwarded", ["Accept: text/html"], "GET", 302, True),
        ("Forwarded", ["Accept: application/json"], "GET", 401, False),
        ("Forwarded", ["Sec-Fetch-Site: same-origin", *NAVIGATION[1:]], "POST", 401, False),
    ],
)
@pytest.mark.gen_test
async def test_who_is_not_signed_in_is_led_to_the_login(
    proxied: World, style: str, lines: list[str], method: str, status: int, located: bool
) -> None:
    asked = [*described(proxied, "/desk/a?b=c", method, style=style), *lines, WITH_SECRET]
    response = await ask_portal(proxied, asked)
    assert response.status == status
    assert code_of(response) == "login_required"
    back = "/desk/a?b=c" if located else "/t/acme/"
    login_url = f"/t/acme/login?{urlencode({'return_to': back})}"
    assert json.loads(response.body)["login_url"] == login_url
    assert response.all("Location") == ([f"{proxied.url}{login_url}"] if located else [])
    assert response.header("X-Portal-Problem") == "1"


@pytest.mark.gen_test
async def test_an_application_gets_the_access_token_where_the_tenant_says_so(proxied: World) -> None:
    change_tenant(proxied, "acme", forward_auth={"token": True})
    browser = await signed_in(proxied)
    response = await ask_portal(proxied, [*described(proxied), WITH_SECRET], browser=browser)
    login = await proxied.login_of(browser, "acme")
    assert login is not None
    token = proxied.running.tokens.open(login).access_token.reveal()
    assert response.all("Authorization") == [f"Bearer {token}"]


@pytest.mark.gen_test
async def test_a_hundred_questions_refresh_an_expired_token_once(proxied: World) -> None:
    change_tenant(proxied, "acme", forward_auth={"token": True, "claims": ["name"]})
    browser = await signed_in(proxied)
    expired = await proxied.expire_access_token(browser, "acme")
    before = proxied.acme.requests["token"]
    lines = [*described(proxied), WITH_SECRET]
    responses = await asyncio.gather(*(ask_portal(proxied, lines, browser=browser) for _ in range(100)))
    assert {response.status for response in responses} == {200}
    tokens = {response.header("Authorization") for response in responses}
    assert len(tokens) == 1
    assert f"Bearer {expired.reveal()}" not in tokens
    assert proxied.acme.requests["token"] == before + 1


@pytest.mark.gen_test
async def test_claims_that_came_with_a_refresh_count_at_once(proxied: World) -> None:
    rule = {"claim": "team", "equals": "blue"}
    access = {"paths": [{"path": "/desk/admin/", "require": [rule]}]}
    change_tenant(proxied, "acme", forward_auth={"token": True, "claims": ["team"]}, access=access)

    def in_team(team: str) -> None:
        proxied.acme.faults.mutate_id_token = lambda header, claims: claims.update(team=team)

    in_team("blue")
    browser = await signed_in(proxied)
    desk, admin = ([*described(proxied, uri), WITH_SECRET] for uri in ("/desk/", "/desk/admin/"))
    assert (await ask_portal(proxied, admin, browser=browser)).status == 200
    await proxied.expire_access_token(browser, "acme")
    in_team("red")
    assert (await ask_portal(proxied, admin, browser=browser)).status == 403
    await proxied.expire_access_token(browser, "acme")
    in_team("green")
    assert claims_of(await ask_portal(proxied, desk, browser=browser)) == {"team": "green"}


@pytest.mark.gen_test
async def test_without_a_token_the_provider_is_never_asked(proxied: World) -> None:
    browser = await signed_in(proxied)
    await proxied.expire_access_token(browser, "acme")
    before = proxied.acme.requests.total()
    assert (await ask_portal(proxied, [*described(proxied), WITH_SECRET], browser=browser)).status == 200
    assert proxied.acme.requests.total() == before


@pytest.mark.gen_test
async def test_a_login_that_the_provider_ended_is_401_when_its_token_is_needed(proxied: World) -> None:
    change_tenant(proxied, "acme", forward_auth={"token": True})
    browser = await signed_in(proxied)
    await proxied.expire_access_token(browser, "acme")
    proxied.acme.state.revoke_grants("alice")
    response = await ask_portal(proxied, [*described(proxied), WITH_SECRET, *NAVIGATION], browser=browser)
    assert response.status == 401
    assert response.all("Location") != []


@pytest.mark.gen_test
async def test_a_question_is_a_use_of_the_session(proxied: World) -> None:
    browser = await signed_in(proxied)
    for _ in range(4):
        proxied.clock.advance(2400)  # two thirds of session.idle
        response = await ask_portal(proxied, [*described(proxied), WITH_SECRET], browser=browser)
        assert response.status == 200
    proxied.clock.advance(3700)
    assert (await ask_portal(proxied, [*described(proxied), WITH_SECRET], browser=browser)).status == 401


@pytest.mark.gen_test
async def test_a_body_is_ignored_and_a_long_one_refused(proxied: World) -> None:
    browser = await signed_in(proxied)
    for length, status in ((5, 200), (16 * 1024, 200), (200_000, 413)):
        lines = [*described(proxied), WITH_SECRET, f"Content-Length: {length}"]
        body = b"x" * length
        response = await ask_portal(proxied, lines, browser=browser, body=body)
        assert response.status == status, length


@pytest.mark.gen_test
async def test_a_proxy_that_disconnects_leaves_nothing_behind(proxied: World) -> None:
    lines = ["GET /t/acme/authz HTTP/1.1", "Host: x", *described(proxied), WITH_SECRET]
    async with connected(proxied) as connection:
        await connection.send("\r\n".join([*lines, "", ""]).encode())
        connection.reset()
    await until(lambda: proxied.running.portal.in_flight.count == 0, "a question is still counted")


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.gen_test
async def test_a_connection_is_kept_for_the_next_question(proxied: World, version: str) -> None:
    lines = [f"GET /t/acme/authz {version}", "Host: x", *described(proxied), WITH_SECRET]
    request = "\r\n".join([*lines, "", ""]).encode()
    async with connected(proxied) as connection:
        await connection.send(request)
        first = await connection.read_response()
        assert first is not None
        assert first.status == 401
        if version == "HTTP/1.1":
            await connection.send(request)
            assert await connection.read_response() is not None
        else:
            assert await connection.ended() == b""


@pytest.mark.gen_test
async def test_decisions_are_counted_by_outcome(proxied: World) -> None:
    browser = await signed_in(proxied)
    metrics = proxied.running.portal.metrics
    metrics.tenants.follow(["acme"])

    def counted() -> dict[str, float]:
        found = re.findall(
            r'portal_forward_auth_decisions_total{outcome="(\w+)",tenant="acme"} (\S+)',
            metrics.render().decode(),
        )
        return {outcome: float(count) for outcome, count in found}

    own = [*described(proxied), WITH_SECRET]
    for lines, signed, status in (
        (own, browser, 200),
        (own, browser, 200),
        (own, None, 401),
        (described(proxied), browser, 403),
        ([*described(proxied, method="POST"), WITH_SECRET, "Sec-Fetch-Site: cross-site"], browser, 403),
    ):
        assert (await ask_portal(proxied, lines, browser=signed)).status == status
    assert counted() == {"allowed": 2, "login_required": 1, "refused": 1, "cross_site": 1}
    rule = {"require": [{"claim": "email", "equals": "nobody@acme.example"}]}
    change_tenant(proxied, "acme", access={"paths": [{"path": "/desk/", **rule}]})
    assert (await ask_portal(proxied, own, browser=browser)).status == 403
    assert counted()["access_denied"] == 1
