"""The forms of authorization requests and responses, with `oidc-provider`.

PAR (RFC 9126), signed requests (RFC 9101), signed responses (JARM), form_post, `claims`, `max_age`, `prompt`,
step-up (RFC 9470).
"""

from __future__ import annotations

import io
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from portal.demo.compact import read
from tests.integration.certified import AUDIENCE, NAME, OTHER_AUDIENCE, shows_sign_in_form
from tests.integration.registrations import BASIC, PortalRegistration, RegisteredWorld
from tests.kit.browser import Response

CLIENT_KEY = {"auth": "private_key_jwt", "signing_alg": "ES256"}


def sent(page: Response, path: str = "/auth") -> dict[str, list[str]]:
    """Return the query of the first URL with this path in the redirects to a page."""
    return parse_qs(urlsplit(next(step for step in page.trail if urlsplit(step).path == path)).query)


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "PAR")
@pytest.mark.parametrize(
    "registered",
    [
        pytest.param(PortalRegistration(BASIC, {"par": True}), id="this client"),
        pytest.param(PortalRegistration(BASIC, provider={"requirePushed": True}), id="every client"),
    ],
    indirect=True,
)
async def test_a_pushed_request_leaves_only_its_reference_in_the_url_if_required_for(
    registered: RegisteredWorld,
) -> None:
    browser = registered.portal.browser()
    provider_page = await registered.portal.begin(browser, "acme")
    assert sorted(sent(provider_page)) == ["client_id", "request_uri"]
    assert await registered.provider.count("pushed_authorization_request.success") == 1
    await registered.full_cycle(registered.portal.browser())


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "registered",
    [PortalRegistration(BASIC, metadata={"require_pushed_authorization_requests": True})],
    indirect=True,
)
async def test_a_request_that_should_have_been_pushed_shows_a_clear_error(
    registered: RegisteredWorld,
) -> None:
    page = await registered.portal.begin(registered.portal.browser(), "acme")
    assert page.status == 502, page.text
    assert "not set up correctly at the sign-in service" in page.text


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "registered",
    [
        pytest.param(
            PortalRegistration(
                {**BASIC, "signing_alg": alg},
                {"request_object": "signed", "par": pushed},
                metadata={"require_signed_request_object": True},
            ),
            id=f"{alg}{' pushed' if pushed else ''}",
        )
        for alg, pushed in [("RS256", False), ("PS256", True), ("ES256", False), ("EdDSA", True)]
    ],
    indirect=True,
)
async def test_a_signed_request_is_accepted_if_the_provider_requires_it(registered: RegisteredWorld) -> None:
    browser = registered.portal.browser()
    provider_page = await registered.portal.begin(browser, "acme")
    names = set(sent(provider_page))
    assert names & {"request", "request_uri"}
    assert not names & {"state", "nonce", "code_challenge", "redirect_uri"}
    await registered.full_cycle(registered.portal.browser())


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "form_post")
@pytest.mark.parametrize(
    "registered", [PortalRegistration(BASIC, {"response_mode": "form_post"})], indirect=True
)
async def test_a_response_is_posted_as_a_form_and_the_code_is_in_no_url(registered: RegisteredWorld) -> None:
    home = await registered.full_cycle(registered.portal.browser())
    responded = [step for step in home.trail if urlsplit(step).path == "/t/acme/callback"]
    assert responded
    assert "code=" not in "".join(home.trail)
    assert "state=" not in "".join(home.trail)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "registered",
    [
        pytest.param(
            PortalRegistration(BASIC, {"response_mode": mode, "response_algs": [alg]}), id=f"{mode} {alg}"
        )
        for mode, alg in [
            ("query.jwt", "RS256"),
            ("jwt", "PS256"),
            ("form_post.jwt", "ES256"),
            ("query.jwt", "EdDSA"),
        ]
    ],
    indirect=True,
)
async def test_a_signed_response_is_accepted_without_other_parameters(registered: RegisteredWorld) -> None:
    home = await registered.full_cycle(registered.portal.browser())
    responded = sent(home, "/t/acme/callback")
    assert sorted(responded) in ([], ["response"])


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "registered",
    [
        pytest.param(
            PortalRegistration(
                BASIC, {"response_mode": "query.jwt"}, metadata={"authorization_signed_response_alg": "ES256"}
            ),
            id="query.jwt",
        )
    ],
    indirect=True,
)
async def test_a_response_signed_with_another_algorithm_is_refused(registered: RegisteredWorld) -> None:
    browser = registered.portal.browser()
    page = await registered.complete_sign_in(browser, await registered.portal.begin(browser, "acme"))
    assert page.url.startswith(registered.portal.at("/t/acme/callback?"))
    assert page.status in {400, 502}
    assert await registered.provider.events("grant.success") == []
    assert await registered.portal.signed_in_at(browser) == []


TWO_FACTORS = "urn:acme:two-factors"
ESSENTIAL = {"requested_claims": {"id_token": {"acr": {"essential": True, "values": [TWO_FACTORS]}}}}


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "registered", [PortalRegistration(BASIC, ESSENTIAL, provider={"acr": TWO_FACTORS})], indirect=True
)
async def test_an_essential_acr_is_requested_and_returned(registered: RegisteredWorld) -> None:
    browser = registered.portal.browser()
    provider_page = await registered.portal.begin(browser, "acme")
    assert json.loads(sent(provider_page)["claims"][0]) == ESSENTIAL_PARAMETER
    await registered.complete_sign_in(browser, provider_page)
    tokens = await registered.portal.tokens_of(browser, "acme")
    assert tokens.id_token is not None
    assert read(tokens.id_token.reveal())[1]["acr"] == TWO_FACTORS


ESSENTIAL_PARAMETER = {"id_token": {"acr": {"essential": True, "values": [TWO_FACTORS]}}}


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "registered", [PortalRegistration(BASIC, provider={"acr": TWO_FACTORS})], indirect=True
)
async def test_a_step_up_asks_for_an_essential_acr_and_checks_it(registered: RegisteredWorld) -> None:
    browser = registered.portal.browser()
    await registered.sign_in(browser)
    page = await registered.portal.begin(browser, "acme", f"?acr_values={TWO_FACTORS}&max_age=0")
    assert json.loads(sent(page)["claims"][0]) == ESSENTIAL_PARAMETER
    assert sent(page)["max_age"] == ["0"]
    home = await registered.complete_sign_in(browser, page)
    assert home.url == registered.portal.at("/t/acme/")
    tokens = await registered.portal.tokens_of(browser, "acme")
    assert tokens.id_token is not None
    assert read(tokens.id_token.reveal())[1]["acr"] == TWO_FACTORS


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "registered", [PortalRegistration(BASIC, provider={"acr": TWO_FACTORS})], indirect=True
)
async def test_a_step_up_that_the_provider_cannot_do_keeps_the_login(registered: RegisteredWorld) -> None:
    browser = registered.portal.browser()
    await registered.sign_in(browser)
    before = await registered.portal.tokens_of(browser, "acme")
    page = await registered.portal.begin(browser, "acme", "?acr_values=urn:acme:retina")
    assert shows_sign_in_form(page)  # this provider asks until the user cancels
    page = await browser.submit(page.form("/interaction/"), button="deny")
    assert urlsplit(page.url).path == "/t/acme/callback"
    assert (await registered.portal.tokens_of(browser, "acme")) == before
    assert (await registered.portal.call(browser, "acme")).status == 200


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "registered",
    [
        PortalRegistration(
            BASIC, {"requested_claims": {"id_token": {"email": {"essential": True}}}, "scopes": ["openid"]}
        )
    ],
    indirect=True,
)
async def test_a_claim_can_be_requested_without_its_scope(registered: RegisteredWorld) -> None:
    home = await registered.sign_in(registered.portal.browser())
    assert "ada@acme.example" in home.text


@pytest.mark.gen_test
@pytest.mark.parametrize("registered", [PortalRegistration(BASIC, {"max_age": "0s"})], indirect=True)
async def test_max_age_zero_requires_a_new_authentication_with_auth_time(registered: RegisteredWorld) -> None:
    browser = registered.portal.browser()
    for _ in range(2):
        provider_page = await registered.portal.begin(browser, "acme")
        assert sent(provider_page)["max_age"] == ["0"]
        assert shows_sign_in_form(provider_page)
        await registered.complete_sign_in(browser, provider_page)
        tokens = await registered.portal.tokens_of(browser, "acme")
        assert tokens.id_token is not None
        assert isinstance(read(tokens.id_token.reveal())[1]["auth_time"], int)
    await registered.renew(browser)


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "prompt=none")
@pytest.mark.parametrize("registered", [PortalRegistration(BASIC)], indirect=True)
async def test_a_silent_sign_in_shows_no_page_to_a_user_with_a_provider_session(
    registered: RegisteredWorld,
) -> None:
    browser = registered.portal.browser()
    await registered.sign_in(browser)
    home = await registered.portal.begin(browser, "acme", "?prompt=none")
    assert home.url == registered.portal.at("/t/acme/")
    assert sent(home)["prompt"] == ["none"]
    assert await registered.provider.count("grant.success") == 2


@pytest.mark.gen_test
@pytest.mark.parametrize("registered", [PortalRegistration(BASIC)], indirect=True)
async def test_a_silent_sign_in_without_a_provider_session_becomes_interactive(
    registered: RegisteredWorld,
) -> None:
    browser = registered.portal.browser()
    provider_page = await registered.portal.begin(browser, "acme", "?prompt=none")
    (refusal,) = await registered.provider.events("authorization.error")
    assert refusal["error"] == "login_required"
    assert shows_sign_in_form(provider_page)
    home = await registered.complete_sign_in(browser, provider_page)
    assert home.url == registered.portal.at("/t/acme/")
    assert (await registered.portal.call(browser, "acme")).status == 200


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "registered", [PortalRegistration(BASIC, {"resources": [AUDIENCE, OTHER_AUDIENCE]})], indirect=True
)
async def test_a_sign_in_requests_every_api_and_the_token_is_for_the_first(
    registered: RegisteredWorld,
) -> None:
    browser = registered.portal.browser()
    provider_page = await registered.portal.begin(browser, "acme")
    assert sent(provider_page)["resource"] == [AUDIENCE, OTHER_AUDIENCE]
    await registered.complete_sign_in(browser, provider_page)
    await registered.renew(browser)
    tokens = await registered.portal.tokens_of(browser, "acme")
    assert read(tokens.access_token.reveal())[1]["aud"] == AUDIENCE
    assert {one["resource"] for one in await registered.provider.events("grant.success")} == {AUDIENCE}


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "registered",
    [PortalRegistration(BASIC, {"resources": ["https://api.acme.example/unknown"]})],
    indirect=True,
)
async def test_an_api_that_is_unknown_to_the_provider_shows_a_clear_error(
    registered: RegisteredWorld, log_lines: io.StringIO
) -> None:
    page = await registered.portal.begin(registered.portal.browser(), "acme")
    assert page.url.startswith(registered.portal.at("/t/acme/callback?"))
    assert page.status == 502
    assert "invalid_target" in log_lines.getvalue()
