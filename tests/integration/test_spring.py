"""The portal and a Spring Authorization Server: login, refresh, logout, key change, and further options."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from tornado.ioloop import IOLoop

from portal.demo.compact import read
from tests.integration.capabilities import documented_as_not_offered, offered
from tests.integration.conftest import shared_world
from tests.integration.shared_provider import (
    Registration,
    SharedProvider,
    SharedProviderWorld,
    issuer_of,
    shared_provider_world,
)
from tests.integration.spring import SpringServer
from tests.kit.browser import Response

NAME = "Spring Authorization Server"
BASIC = {"auth": "client_secret_basic"}
shows = pytest.mark.shows
with_basic = pytest.mark.parametrize("world", [Registration(BASIC)], indirect=True, ids=[""])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpringServer]:
    """Spring, for all tests of this file. It takes some seconds to start."""
    server = SpringServer(tmp_path_factory.mktemp("spring"))
    try:
        yield server
    finally:
        server.end()


@pytest.fixture
def provider(server: SpringServer, io_loop: IOLoop) -> SharedProvider:
    issuer = io_loop.run_sync(lambda: issuer_of(server.child), timeout=60)
    return SharedProvider(issuer, "/userinfo", ("openid", "profile", "email"), "")


@pytest.fixture
def world(
    request: pytest.FixtureRequest,
    provider: SharedProvider,
    io_loop: IOLoop,
    tmp_path: Path,
    log_lines: io.StringIO,
) -> Iterator[SharedProviderWorld]:
    """A portal with the registration in the parameter."""
    yield from shared_world(io_loop, provider, tmp_path, request.param)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "world",
    [
        *(
            pytest.param(Registration({"auth": auth}), id=auth, marks=shows(NAME, auth))
            for auth in ("client_secret_basic", "client_secret_post", "client_secret_jwt")
        ),
        *(
            pytest.param(
                Registration({"auth": "private_key_jwt", "signing_alg": alg}),
                id=f"private_key_jwt {alg}",
                marks=shows(NAME, "private_key_jwt"),
            )
            for alg in ("RS256", "PS256", "ES256")
        ),
    ],
    indirect=True,
)
async def test_login_api_call_refresh_and_revocation_with(
    world: SharedProviderWorld, log_lines: io.StringIO
) -> None:
    await _login_to_revocation(world, log_lines)


@pytest.mark.gen_test
@shows(NAME, "mTLS")
@pytest.mark.parametrize("auth", ["tls_client_auth", "self_signed_tls_client_auth"])
async def test_login_api_call_refresh_and_revocation_with_the_certificate_of(
    auth: str, server: SpringServer, provider: SharedProvider, tmp_path: Path, log_lines: io.StringIO
) -> None:
    registration = server.registration_by_certificate(auth, signed=auth == "tls_client_auth")
    async with shared_provider_world(provider, tmp_path, registration) as world:
        await _login_to_revocation(world, log_lines)


@pytest.mark.gen_test
@shows(NAME, "none")
@pytest.mark.parametrize("world", [Registration({"auth": "none"})], indirect=True, ids=[""])
async def test_a_public_client_signs_in_and_gets_no_refresh_token(world: SharedProviderWorld) -> None:
    browser = world.portal.browser()
    await world.sign_in(browser)
    assert (await world.call(browser)).status == 200
    assert (await world.portal.tokens_of(browser, "acme")).refresh_token is None


@pytest.mark.gen_test
@shows(NAME, "login", "algorithms", "refresh with rotation")
@pytest.mark.parametrize(
    ("world", "alg"),
    [(Registration(BASIC, {"id_token_algs": [alg]}), alg) for alg in ("RS256", "PS256", "ES256")],
    indirect=["world"],
    ids=["RS256", "PS256", "ES256"],
)
async def test_id_tokens_of_each_algorithm_at_login_and_refresh(world: SharedProviderWorld, alg: str) -> None:
    browser = world.portal.browser()
    await world.sign_in(browser)
    token_sets = [await world.portal.tokens_of(browser, "acme")]
    for _ in range(2):
        token_sets.append(await world.renew(browser))
    assert len({tokens.refresh_token for tokens in token_sets}) == 3
    id_tokens = {tokens.id_token.reveal() for tokens in token_sets if tokens.id_token is not None}
    assert [read(token)[0]["alg"] for token in id_tokens] == [alg] * 3


@pytest.mark.gen_test
@shows(NAME, "refresh after a key change")
@pytest.mark.parametrize("keep", [True, False], ids=["the old key stays published", "the old key is gone"])
@with_basic
async def test_logins_and_refreshes_work_after_each_of_two_key_changes(
    world: SharedProviderWorld, keep: bool
) -> None:
    browser = world.portal.browser()
    await world.sign_in(browser)
    token_sets = [await world.portal.tokens_of(browser, "acme")]
    for _ in range(2):
        await world.provider.change_keys(keep=keep)
        token_sets.append(await world.renew(browser))
        await world.sign_in(world.portal.browser(), 1)
    id_tokens = [tokens.id_token.reveal() for tokens in token_sets if tokens.id_token is not None]
    assert len({read(token)[0]["kid"] for token in id_tokens}) == 3
    assert await world.portal.signed_in_at(browser) == ["acme"]


@pytest.mark.gen_test
@with_basic
async def test_a_reused_refresh_token_ends_the_login(world: SharedProviderWorld) -> None:
    browser = world.portal.browser()
    await world.sign_in(browser)
    spent = await world.portal.tokens_of(browser, "acme")
    await world.renew(browser)
    await world.portal.replace_tokens(browser, "acme", replace(spent, expires_at=world.portal.clock() - 1))
    ended = await world.call(browser)
    assert ended.status == 401, ended.text
    assert json.loads(ended.body)["code"] == "login_ended"
    assert await world.portal.signed_in_at(browser) == []


@pytest.mark.gen_test
@shows(NAME, "RP logout")
@with_basic
async def test_signing_out_ends_the_session_at_the_provider_and_returns_to_the_portal(
    world: SharedProviderWorld,
) -> None:
    browser = world.portal.browser()
    await world.sign_in(browser)
    back = await world.portal.sign_out(browser, "acme")
    assert back.url == world.portal.at("/t/acme/signed-out"), back.text[:2000]
    assert "id_token_hint" in _sent(back, "/connect/logout")
    assert await world.portal.signed_in_at(browser) == []
    assert _shows_sign_in_form(await world.portal.begin(browser, "acme"))


@pytest.mark.gen_test
@shows(NAME, "prompt=none")
@with_basic
async def test_a_silent_sign_in_becomes_interactive_only_without_a_provider_session(
    world: SharedProviderWorld,
) -> None:
    browser = world.portal.browser()
    page = await world.portal.begin(browser, "acme", "?prompt=none")
    assert any("error=login_required" in step for step in page.trail)
    assert _shows_sign_in_form(page)
    await world.provider.complete_sign_in(browser, page, world.users[0])
    home = await world.portal.begin(browser, "acme", "?prompt=none")
    assert home.url == world.portal.at("/t/acme/")


@pytest.mark.gen_test
@shows(NAME, "PAR")
@pytest.mark.parametrize(
    "world",
    [
        pytest.param(Registration({"auth": auth}, {"par": True}), id=auth)
        for auth in ("client_secret_basic", "client_secret_jwt", "private_key_jwt")
    ],
    indirect=True,
)
async def test_a_request_is_pushed(world: SharedProviderWorld) -> None:
    home = await world.sign_in(world.portal.browser())
    assert _sent(home, "/oauth2/authorize") == {"client_id", "request_uri"}


@pytest.mark.gen_test
@shows(NAME, "DPoP")
@pytest.mark.parametrize("world", [Registration(BASIC, {"dpop": True})], indirect=True, ids=[""])
async def test_access_tokens_are_bound_to_a_key(world: SharedProviderWorld) -> None:
    browser = world.portal.browser()
    await world.sign_in(browser)
    assert (await world.call(browser)).status == 200
    tokens = await world.renew(browser)
    assert tokens.token_type == "DPoP"
    confirmation = read(tokens.access_token.reveal())[1]["cnf"]
    assert isinstance(confirmation, dict)
    assert "jkt" in confirmation


@pytest.mark.gen_test
@with_basic
async def test_capabilities_documented_as_not_offered_are_not_in_the_metadata(
    world: SharedProviderWorld,
) -> None:
    assert offered(await world.provider.metadata(), documented_as_not_offered(NAME)) == []


async def _login_to_revocation(world: SharedProviderWorld, log_lines: io.StringIO) -> None:
    browser = world.portal.browser()
    home = await world.sign_in(browser)
    for known in ("Ada <Lovelace>", "ada@acme.example"):
        assert known in html.unescape(home.text)
    assert (await world.call(browser)).status == 200
    await world.renew(browser)
    await world.portal.sign_out(browser, "acme")
    assert "revocation_failed" not in log_lines.getvalue()


def _shows_sign_in_form(page: Response) -> bool:
    return any(name == "password" for form in page.forms for name, _ in form.fields)


def _sent(page: Response, path: str) -> set[str]:
    """Return the query parameter names of the first URL with this path."""
    step = next(step for step in page.trail if urlsplit(step).path == path)
    return set(parse_qs(urlsplit(step).query))
