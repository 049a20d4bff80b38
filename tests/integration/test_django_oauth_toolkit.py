"""The portal with the PyPI package `django-oauth-toolkit` in a Django site.

It signs only with RS256 and sends no logout notifications. Its `auth_time` is the user's last sign-in on any
device, so it can differ between ID tokens of one login.
"""

from __future__ import annotations

import html
import io
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from portal.demo.compact import read
from portal.oidc.provider import TokenSet
from tests.integration.capabilities import documented_as_not_offered, offered
from tests.integration.child import Child, eventually
from tests.integration.conftest import shared_world
from tests.integration.shared_provider import (
    Registration,
    SharedProvider,
    SharedProviderWorld,
    issuer_of,
    start_program,
)

NAME = "django-oauth-toolkit"
BASIC = Registration({"auth": "client_secret_basic"})

shows = pytest.mark.shows
with_basic = pytest.mark.parametrize("world", [BASIC], indirect=True, ids=["client_secret_basic"])


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """The provider, shared by the tests of this file."""
    folder = tmp_path_factory.mktemp("django-oauth-toolkit")
    child = start_program("django_provider", folder, folder=str(folder))
    try:
        yield child
    finally:
        child.end()
        print(child.errors)


@pytest.fixture
def world(
    request: pytest.FixtureRequest, child: Child, io_loop: IOLoop, tmp_path: Path
) -> Iterator[SharedProviderWorld]:
    """A portal with the registration in the parameter."""
    issuer = io_loop.run_sync(lambda: issuer_of(child), timeout=60)
    provider = SharedProvider(issuer, "/userinfo/", ("openid", "profile", "email"), "allow")
    yield from shared_world(io_loop, provider, tmp_path, request.param)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "world",
    [
        pytest.param(
            Registration({"auth": method}),
            id=method,
            marks=shows(NAME, method, "login", "algorithms", "refresh with rotation", "RP logout"),
        )
        for method in ("client_secret_basic", "client_secret_post", "none")
    ],
    indirect=True,
)
async def test_login_api_call_refresh_and_logout_with(world: SharedProviderWorld) -> None:
    browser = world.portal.browser()
    home = await world.sign_in(browser)
    for known in ("Ada <Lovelace>", "ada@acme.example"):
        assert known in html.unescape(home.text)
    token_sets = [await world.portal.tokens_of(browser, "acme")]
    for _ in range(2):
        token_sets.append(await world.renew(browser))
    assert len({tokens.refresh_token for tokens in token_sets}) == 3
    await world.sign_out(browser)
    assert (await world.call(browser)).status == 401


@pytest.mark.gen_test
@shows(NAME, "refresh after a key change")
@pytest.mark.parametrize("keep", [True, False], ids=["the old key stays published", "the old key is gone"])
@with_basic
async def test_logins_and_refreshes_work_after_a_key_change(world: SharedProviderWorld, keep: bool) -> None:
    before, after = world.portal.browser(), world.portal.browser()
    await world.sign_in(before)
    first = await world.portal.tokens_of(before, "acme")
    await world.provider.change_keys(keep=keep)
    renewed = await world.renew(before)
    await world.sign_in(after, 1)
    assert _header(renewed)["kid"] == _header(await world.portal.tokens_of(after, "acme"))["kid"]
    assert _header(renewed)["kid"] != _header(first)["kid"]
    assert await world.portal.signed_in_at(before) == ["acme"]


@pytest.mark.gen_test
@shows(NAME, "refresh after a key change")
@with_basic
async def test_two_key_changes_at_once_are_followed(world: SharedProviderWorld) -> None:
    browser = world.portal.browser()
    await world.sign_in(browser)
    token_sets = [await world.portal.tokens_of(browser, "acme")]
    for _ in range(2):
        await world.provider.change_keys(keep=False)
        token_sets.append(await world.renew(browser))
    assert len({str(_header(tokens)["kid"]) for tokens in token_sets}) == 3
    assert await world.portal.signed_in_at(browser) == ["acme"]


@pytest.mark.gen_test
@with_basic
async def test_a_sign_in_on_another_device_ends_no_login_and_keeps_no_claims(
    world: SharedProviderWorld, log_lines: io.StringIO
) -> None:
    browser, elsewhere = world.portal.browser(), world.portal.browser()
    await world.sign_in(browser)
    first = _claims(await world.portal.tokens_of(browser, "acme"))
    # The provider rounds times to seconds.
    await eventually(lambda: time.time() >= int(str(first["auth_time"])) + 1, "the next second")
    await world.sign_in(elsewhere)
    await world.renew(browser)
    assert _claims(await world.portal.tokens_of(elsewhere, "acme"))["auth_time"] != first["auth_time"]
    assert await world.portal.signed_in_at(browser) == ["acme"]
    assert "id_token_not_adopted" not in log_lines.getvalue()
    assert _claims(await world.portal.tokens_of(browser, "acme"))["auth_time"] != first["auth_time"]
    await world.renew(browser)


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
@shows(NAME, "prompt=none")
@with_basic
async def test_the_provider_does_not_support_a_silent_sign_in(world: SharedProviderWorld) -> None:
    # oauthlib leaves `validate_silent_login` to the toolkit, which leaves it out.
    browser = world.portal.browser()
    page = await world.portal.begin(browser, "acme", "?prompt=none")
    assert page.url.startswith(f"{world.provider.issuer}/authorize/")
    assert page.status == 500
    await world.sign_in(browser)


@pytest.mark.gen_test
@with_basic
async def test_capabilities_documented_as_not_offered_are_not_in_the_metadata(
    world: SharedProviderWorld,
) -> None:
    assert offered(await world.provider.metadata(), documented_as_not_offered(NAME)) == []


def _header(tokens: TokenSet) -> dict[str, object]:
    assert tokens.id_token is not None
    return read(tokens.id_token.reveal())[0]


def _claims(tokens: TokenSet) -> dict[str, object]:
    assert tokens.id_token is not None
    return read(tokens.id_token.reveal())[1]
