"""Logouts that begin at npm's certified provider (OpenID Connect Back-Channel Logout 1.0)."""

from __future__ import annotations

import io

import pytest

from tests.integration.certified import NAME
from tests.integration.ways import BASIC, CLIENT_ID, Way, WayWorld
from tests.kit.browser import Browser

SEALED = {"id_token_encryption": {"alg": "ECDH-ES", "enc": "A256GCM"}}


async def end_session(way: WayWorld, browser: Browser) -> None:
    """Sign out on the provider's own page."""
    page = await browser.open(f"{way.provider.issuer}/session/end")
    page = await browser.submit(page.form("/session/end/confirm"), button="logout")
    assert "Signed out" in page.text


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "back-channel logout")
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(Way(BASIC), id="sid"),
        pytest.param(Way(BASIC, {"id_token_algs": ["EdDSA"]}), id="EdDSA"),
        pytest.param(Way(BASIC, SEALED), id="encrypted"),
        pytest.param(Way({"auth": "private_key_jwt", "signing_alg": "PS256"}), id="private_key_jwt"),
    ],
    indirect=True,
)
async def test_a_session_that_ends_at_the_provider_ends_the_login_of_that_browser_only(
    way: WayWorld, log_lines: io.StringIO
) -> None:
    browser, elsewhere = way.portal.browser(), way.portal.browser()
    for one in (browser, elsewhere):
        await way.sign_in(one)
    await end_session(way, browser)
    assert [one["client"] for one in await way.provider.events("backchannel.success")] == [CLIENT_ID]
    assert await way.provider.events("backchannel.error") == []
    assert "provider_logout_rejected" not in log_lines.getvalue()
    assert await way.portal.signed_in_at(browser) == []
    assert await way.portal.signed_in_at(elsewhere) == ["acme"]
    assert (await way.portal.call(browser, "acme")).status == 401
    assert (await way.portal.call(elsewhere, "acme")).status == 200


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "way", [Way(BASIC, told={"backchannel_logout_session_required": False})], indirect=True
)
async def test_a_logout_token_without_a_session_ends_all_logins_of_the_user(way: WayWorld) -> None:
    browser, elsewhere = way.portal.browser(), way.portal.browser()
    for one in (browser, elsewhere):
        await way.sign_in(one)
    await end_session(way, browser)
    assert await way.provider.count("backchannel.success") == 1
    assert await way.portal.signed_in_at(browser) == []
    assert await way.portal.signed_in_at(elsewhere) == []


@pytest.mark.gen_test
@pytest.mark.parametrize("way", [Way(BASIC)], indirect=True)
async def test_a_logout_of_the_portal_itself_comes_back_to_it_without_harm(
    way: WayWorld, log_lines: io.StringIO
) -> None:
    browser = way.portal.browser()
    await way.sign_in(browser)
    await way.sign_out(browser)
    assert await way.provider.count("backchannel.success") == 1
    assert "provider_logout_rejected" not in log_lines.getvalue()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "way",
    [pytest.param(Way(BASIC, {"id_token_algs": ["ES256"]}, told={"id_token_signed_response_alg": "RS256"}))],
    indirect=True,
    ids=["another algorithm"],
)
async def test_the_provider_hears_of_a_logout_token_that_is_refused(
    way: WayWorld, log_lines: io.StringIO
) -> None:
    # Nobody can be signed in this way: the provider has a session, and the portal refused its ID token.
    browser = way.portal.browser()
    page = await way.let_in(browser, await way.portal.begin(browser, "acme"))
    assert page.status == 400
    await end_session(way, browser)
    (refused,) = await way.provider.events("backchannel.error")
    assert "400" in str(refused["error"])
    assert "provider_logout_rejected" in log_lines.getvalue()
