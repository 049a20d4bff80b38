"""Logouts initiated by `oidc-provider` (OpenID Connect Back-Channel Logout 1.0)."""

from __future__ import annotations

import io

import pytest

from tests.integration.certified import NAME
from tests.integration.registrations import BASIC, CLIENT_ID, PortalRegistration, RegisteredWorld
from tests.kit.browser import Browser

SEALED = {"id_token_encryption": {"alg": "ECDH-ES", "enc": "A256GCM"}}


async def end_session(registered: RegisteredWorld, browser: Browser) -> None:
    """Sign out on the provider's page."""
    page = await browser.open(f"{registered.provider.issuer}/session/end")
    page = await browser.submit(page.form("/session/end/confirm"), button="logout")
    assert "Signed out" in page.text


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "back-channel logout")
@pytest.mark.parametrize(
    "registered",
    [
        pytest.param(PortalRegistration(BASIC), id="sid"),
        pytest.param(PortalRegistration(BASIC, {"id_token_algs": ["EdDSA"]}), id="EdDSA"),
        pytest.param(PortalRegistration(BASIC, SEALED), id="encrypted"),
        pytest.param(
            PortalRegistration({"auth": "private_key_jwt", "signing_alg": "PS256"}), id="private_key_jwt"
        ),
    ],
    indirect=True,
)
async def test_a_session_that_ends_at_the_provider_ends_the_login_of_that_browser_only(
    registered: RegisteredWorld, log_lines: io.StringIO
) -> None:
    browser, elsewhere = registered.portal.browser(), registered.portal.browser()
    for one in (browser, elsewhere):
        await registered.sign_in(one)
    await end_session(registered, browser)
    assert [one["client"] for one in await registered.provider.events("backchannel.success")] == [CLIENT_ID]
    assert await registered.provider.events("backchannel.error") == []
    assert "provider_logout_rejected" not in log_lines.getvalue()
    assert await registered.portal.signed_in_at(browser) == []
    assert await registered.portal.signed_in_at(elsewhere) == ["acme"]
    assert (await registered.portal.call(browser, "acme")).status == 401
    assert (await registered.portal.call(elsewhere, "acme")).status == 200


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "registered",
    [PortalRegistration(BASIC, metadata={"backchannel_logout_session_required": False})],
    indirect=True,
)
async def test_a_logout_token_without_a_session_ends_all_logins_of_the_user(
    registered: RegisteredWorld,
) -> None:
    browser, elsewhere = registered.portal.browser(), registered.portal.browser()
    for one in (browser, elsewhere):
        await registered.sign_in(one)
    await end_session(registered, browser)
    assert await registered.provider.count("backchannel.success") == 1
    assert await registered.portal.signed_in_at(browser) == []
    assert await registered.portal.signed_in_at(elsewhere) == []


@pytest.mark.gen_test
@pytest.mark.parametrize("registered", [PortalRegistration(BASIC)], indirect=True)
async def test_a_logout_started_by_the_portal_accepts_the_logout_token_of_the_provider(
    registered: RegisteredWorld, log_lines: io.StringIO
) -> None:
    browser = registered.portal.browser()
    await registered.sign_in(browser)
    await registered.sign_out(browser)
    assert await registered.provider.count("backchannel.success") == 1
    assert "provider_logout_rejected" not in log_lines.getvalue()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "registered",
    [
        pytest.param(
            PortalRegistration(
                BASIC, {"id_token_algs": ["ES256"]}, metadata={"id_token_signed_response_alg": "RS256"}
            )
        )
    ],
    indirect=True,
    ids=["another algorithm"],
)
async def test_the_provider_receives_an_error_for_a_refused_logout_token(
    registered: RegisteredWorld, log_lines: io.StringIO
) -> None:
    # No login exists: the provider has a session, but the portal refused its ID token.
    browser = registered.portal.browser()
    page = await registered.complete_sign_in(browser, await registered.portal.begin(browser, "acme"))
    assert page.status == 400
    await end_session(registered, browser)
    (refused,) = await registered.provider.events("backchannel.error")
    assert "400" in str(refused["error"])
    assert "provider_logout_rejected" in log_lines.getvalue()
