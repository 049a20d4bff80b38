"""The portal and a Spring Authorization Server: login, refresh, logout, key change, and further options."""

from __future__ import annotations

import html
import io
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from tornado.ioloop import IOLoop

from portal.demo.compact import read
from tests.integration.spring import (
    BASIC,
    SECRET,
    Registration,
    SpringServer,
    SpringWorld,
    asks_who,
    spring_world,
)
from tests.kit.browser import Answer

SPRING = "Spring Authorization Server"


def _certificate(auth: str, name: str) -> Registration:
    client = {
        "auth": auth,
        "certificate": f"file:{{certificates}}/{name}.pem",
        "private_key": f"file:{{certificates}}/{name}.key",
    }
    file = {
        "tls": {"ca": "file:{certificates}/authority.pem"},
        # Its metadata has no mtls_endpoint_aliases (RFC 8705 section 5).
        "endpoints": {"token": "{door}/oauth2/token", "revocation": "{door}/oauth2/revoke"},
    }
    return Registration(client, file)


CONFIDENTIAL = {
    "client_secret_basic": Registration(BASIC),
    "client_secret_post": Registration({"auth": "client_secret_post", "secret": SECRET}),
    "client_secret_jwt": Registration({"auth": "client_secret_jwt", "secret": SECRET}),
    **{
        f"private_key_jwt {alg}": Registration({"auth": "private_key_jwt", "signing_alg": alg})
        for alg in ("RS256", "PS256", "ES256")
    },
    "tls_client_auth": _certificate("tls_client_auth", "signed"),
    "self_signed_tls_client_auth": _certificate("self_signed_tls_client_auth", "self_signed"),
}


def _capability(name: str) -> str:
    """The cell of docs/interoperability.md that a client authentication shows."""
    return "mTLS" if name.endswith("tls_client_auth") else name.partition(" ")[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpringServer]:
    """Spring, started once. It takes some seconds: the first test waits for it."""
    server = SpringServer(tmp_path_factory.mktemp("spring"))
    try:
        yield server
    finally:
        server.end()


@pytest.fixture
def spring(
    request: pytest.FixtureRequest,
    server: SpringServer,
    io_loop: IOLoop,
    tmp_path: Path,
    log_lines: io.StringIO,
) -> Iterator[SpringWorld]:
    """The portal at Spring as an indirect parameter says; with client_secret_basic without one."""
    registration = getattr(request, "param", CONFIDENTIAL["client_secret_basic"])
    manager = spring_world(tmp_path, server, registration)
    world = io_loop.run_sync(manager.__aenter__, timeout=90)
    try:
        yield world
    finally:
        io_loop.run_sync(lambda: manager.__aexit__(None, None, None), timeout=60)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "spring",
    [
        pytest.param(registration, id=name, marks=pytest.mark.shows(SPRING, _capability(name)))
        for name, registration in CONFIDENTIAL.items()
    ],
    indirect=True,
)
async def test_login_api_call_refresh_and_revocation_with_client_authentication(
    spring: SpringWorld, log_lines: io.StringIO
) -> None:
    browser = spring.portal.browser()
    home = await spring.sign_in(browser)
    assert "ada@acme.example" in html.unescape(home.text)
    assert (await spring.call(browser))["sub"] == "ada"
    await spring.refresh(browser)
    await spring.portal.sign_out(browser, "acme")
    assert "revocation_failed" not in log_lines.getvalue()


@pytest.mark.gen_test
@pytest.mark.shows(SPRING, "none")
@pytest.mark.parametrize("spring", [Registration({"auth": "none"})], indirect=True)
async def test_a_public_client_signs_in_and_gets_no_refresh_token(spring: SpringWorld) -> None:
    browser = spring.portal.browser()
    await spring.sign_in(browser)
    assert (await spring.call(browser))["sub"] == "ada"
    assert (await spring.portal.tokens_of(browser, "acme")).refresh_token is None


@pytest.mark.gen_test
@pytest.mark.shows(SPRING, "login", "algorithms", "refresh with rotation")
@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256"])
async def test_id_tokens_of_each_algorithm_at_login_and_refresh(
    server: SpringServer, tmp_path: Path, log_lines: io.StringIO, alg: str
) -> None:
    async with spring_world(tmp_path, server, Registration(BASIC, {"id_token_algs": [alg]})) as spring:
        browser = spring.portal.browser()
        await spring.sign_in(browser)
        for _ in range(2):
            id_token = (await spring.portal.tokens_of(browser, "acme")).id_token
            assert id_token is not None
            assert read(id_token.reveal())[0]["alg"] == alg
            await spring.refresh(browser)


@pytest.mark.gen_test
@pytest.mark.shows(SPRING, "refresh after a key change")
async def test_a_login_is_refreshed_and_another_begins_after_a_key_change(spring: SpringWorld) -> None:
    browser = spring.portal.browser()
    await spring.sign_in(browser)
    await spring.provider.replace_keys()
    await spring.refresh(browser)
    await spring.sign_in(spring.portal.browser())
    assert await spring.portal.signed_in_at(browser) == ["acme"]


@pytest.mark.gen_test
@pytest.mark.shows(SPRING, "RP logout")
async def test_signing_out_ends_the_session_at_the_provider_and_comes_back(spring: SpringWorld) -> None:
    browser = spring.portal.browser()
    await spring.sign_in(browser)
    back = await spring.portal.sign_out(browser, "acme")
    assert back.url == spring.portal.at("/t/acme/signed-out"), back.text[:2000]
    assert "id_token_hint" in _sent(back, "/connect/logout")
    assert await spring.portal.signed_in_at(browser) == []
    assert asks_who(await spring.portal.begin(browser, "acme"))


@pytest.mark.gen_test
@pytest.mark.shows(SPRING, "prompt=none")
async def test_a_silent_sign_in_asks_only_whom_the_provider_does_not_know(spring: SpringWorld) -> None:
    browser = spring.portal.browser()
    page = await spring.portal.begin(browser, "acme", "?prompt=none")
    assert any("error=login_required" in step for step in page.trail)
    assert asks_who(page)
    await spring.provider.let_in(browser, page)
    home = await spring.portal.begin(browser, "acme", "?prompt=none")
    assert home.url == spring.portal.at("/t/acme/")


@pytest.mark.gen_test
@pytest.mark.shows(SPRING, "PAR")
@pytest.mark.parametrize(
    "spring",
    [
        pytest.param(Registration(CONFIDENTIAL[name].client, {"par": True}), id=name)
        for name in ("client_secret_basic", "client_secret_jwt", "private_key_jwt ES256")
    ],
    indirect=True,
)
async def test_a_request_is_pushed(spring: SpringWorld) -> None:
    home = await spring.sign_in(spring.portal.browser())
    assert _sent(home, "/oauth2/authorize") == {"client_id", "request_uri"}


@pytest.mark.gen_test
@pytest.mark.shows(SPRING, "DPoP")
@pytest.mark.parametrize("spring", [Registration(BASIC, {"dpop": True})], indirect=True)
async def test_access_tokens_are_bound_to_a_key(spring: SpringWorld) -> None:
    browser = spring.portal.browser()
    await spring.sign_in(browser)
    assert (await spring.call(browser))["sub"] == "ada"
    await spring.refresh(browser)
    tokens = await spring.portal.tokens_of(browser, "acme")
    assert tokens.token_type == "DPoP"
    confirmation = read(tokens.access_token.reveal())[1]["cnf"]
    assert isinstance(confirmation, dict)
    assert "jkt" in confirmation


def _sent(page: Answer, path: str) -> set[str]:
    """The names in the query of the first address with this path."""
    step = next(step for step in page.trail if urlsplit(step).path == path)
    return set(parse_qs(urlsplit(step).query))
