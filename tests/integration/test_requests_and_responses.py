"""How sign-in requests and their responses travel, at npm's certified provider.

PAR (RFC 9126), signed requests (RFC 9101), signed responses (JARM), form_post, `claims`, `max_age`, `prompt`.
"""

from __future__ import annotations

import io
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from portal.demo.compact import read
from tests.integration.certified import AUDIENCE, NAME, OTHER_AUDIENCE, asks_who
from tests.integration.ways import BASIC, Way, WayWorld
from tests.kit.browser import Response

CLIENT_KEY = {"auth": "private_key_jwt", "signing_alg": "ES256"}


def sent(page: Response, path: str = "/auth") -> dict[str, list[str]]:
    """The query of the first address with this path on the way to a page."""
    return parse_qs(urlsplit(next(step for step in page.trail if urlsplit(step).path == path)).query)


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "PAR")
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(Way(BASIC, {"par": True}), id="this client"),
        pytest.param(Way(BASIC, provider={"requirePushed": True}), id="every client"),
    ],
    indirect=True,
)
async def test_nothing_of_a_pushed_request_is_in_the_url_where_the_provider_insists_for(
    way: WayWorld,
) -> None:
    browser = way.portal.browser()
    asked = await way.portal.begin(browser, "acme")
    assert sorted(sent(asked)) == ["client_id", "request_uri"]
    assert await way.provider.count("pushed_authorization_request.success") == 1
    await way.story(way.portal.browser())


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "way", [Way(BASIC, told={"require_pushed_authorization_requests": True})], indirect=True
)
async def test_a_request_that_should_have_been_pushed_is_a_clear_page(way: WayWorld) -> None:
    page = await way.portal.begin(way.portal.browser(), "acme")
    assert page.status == 502, page.text
    assert "not set up correctly at the sign-in service" in page.text


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(
            Way(
                {**BASIC, "signing_alg": alg},
                {"request_object": "signed", "par": pushed},
                told={"require_signed_request_object": True},
            ),
            id=f"{alg}{' pushed' if pushed else ''}",
        )
        for alg, pushed in [("RS256", False), ("PS256", True), ("ES256", False), ("EdDSA", True)]
    ],
    indirect=True,
)
async def test_a_signed_request_is_accepted_where_the_provider_insists(way: WayWorld) -> None:
    browser = way.portal.browser()
    asked = await way.portal.begin(browser, "acme")
    names = set(sent(asked))
    assert names & {"request", "request_uri"}
    assert not names & {"state", "nonce", "code_challenge", "redirect_uri"}
    await way.story(way.portal.browser())


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "form_post")
@pytest.mark.parametrize("way", [Way(BASIC, {"response_mode": "form_post"})], indirect=True)
async def test_a_response_comes_as_a_form_and_the_code_is_in_no_url(way: WayWorld) -> None:
    home = await way.story(way.portal.browser())
    responded = [step for step in home.trail if urlsplit(step).path == "/t/acme/callback"]
    assert responded
    assert "code=" not in "".join(home.trail)
    assert "state=" not in "".join(home.trail)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(Way(BASIC, {"response_mode": mode, "response_algs": [alg]}), id=f"{mode} {alg}")
        for mode, alg in [
            ("query.jwt", "RS256"),
            ("jwt", "PS256"),
            ("form_post.jwt", "ES256"),
            ("query.jwt", "EdDSA"),
        ]
    ],
    indirect=True,
)
async def test_a_signed_response_is_accepted_and_nothing_is_beside_it(way: WayWorld) -> None:
    home = await way.story(way.portal.browser())
    responded = sent(home, "/t/acme/callback")
    assert sorted(responded) in ([], ["response"])


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(
            Way(BASIC, {"response_mode": "query.jwt"}, told={"authorization_signed_response_alg": "ES256"}),
            id="query.jwt",
        )
    ],
    indirect=True,
)
async def test_a_response_signed_with_another_algorithm_is_refused(way: WayWorld) -> None:
    browser = way.portal.browser()
    page = await way.let_in(browser, await way.portal.begin(browser, "acme"))
    assert page.url.startswith(way.portal.at("/t/acme/callback?"))
    assert page.status in {400, 502}
    assert await way.provider.events("grant.success") == []
    assert await way.portal.signed_in_at(browser) == []


TWO_FACTORS = "urn:acme:two-factors"
ESSENTIAL = {"requested_claims": {"id_token": {"acr": {"essential": True, "values": [TWO_FACTORS]}}}}


@pytest.mark.gen_test
@pytest.mark.parametrize("way", [Way(BASIC, ESSENTIAL, provider={"acr": TWO_FACTORS})], indirect=True)
async def test_an_essential_acr_is_asked_for_and_stated(way: WayWorld) -> None:
    browser = way.portal.browser()
    asked = await way.portal.begin(browser, "acme")
    assert json.loads(sent(asked)["claims"][0]) == ESSENTIAL_ASKED
    await way.let_in(browser, asked)
    tokens = await way.portal.tokens_of(browser, "acme")
    assert tokens.id_token is not None
    assert read(tokens.id_token.reveal())[1]["acr"] == TWO_FACTORS


ESSENTIAL_ASKED = {"id_token": {"acr": {"essential": True, "values": [TWO_FACTORS]}}}


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "way",
    [Way(BASIC, {"requested_claims": {"id_token": {"email": {"essential": True}}}, "scopes": ["openid"]})],
    indirect=True,
)
async def test_a_claim_can_be_asked_for_without_its_scope(way: WayWorld) -> None:
    home = await way.sign_in(way.portal.browser())
    assert "ada@acme.example" in home.text


@pytest.mark.gen_test
@pytest.mark.parametrize("way", [Way(BASIC, {"max_age": "0s"})], indirect=True)
async def test_a_sign_in_that_must_be_fresh_asks_again_and_says_when_it_was(way: WayWorld) -> None:
    browser = way.portal.browser()
    for _ in range(2):
        asked = await way.portal.begin(browser, "acme")
        assert sent(asked)["max_age"] == ["0"]
        assert asks_who(asked)
        await way.let_in(browser, asked)
        tokens = await way.portal.tokens_of(browser, "acme")
        assert tokens.id_token is not None
        assert isinstance(read(tokens.id_token.reveal())[1]["auth_time"], int)
    await way.renew(browser)


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "prompt=none")
@pytest.mark.parametrize("way", [Way(BASIC)], indirect=True)
async def test_a_silent_sign_in_is_silent_while_the_provider_knows_the_user(way: WayWorld) -> None:
    browser = way.portal.browser()
    await way.sign_in(browser)
    home = await way.portal.begin(browser, "acme", "?prompt=none")
    assert home.url == way.portal.at("/t/acme/")
    assert sent(home)["prompt"] == ["none"]
    assert await way.provider.count("grant.success") == 2


@pytest.mark.gen_test
@pytest.mark.parametrize("way", [Way(BASIC)], indirect=True)
async def test_a_silent_sign_in_of_somebody_unknown_becomes_one_that_asks(way: WayWorld) -> None:
    browser = way.portal.browser()
    asked = await way.portal.begin(browser, "acme", "?prompt=none")
    (refusal,) = await way.provider.events("authorization.error")
    assert refusal["error"] == "login_required"
    assert asks_who(asked)
    home = await way.let_in(browser, asked)
    assert home.url == way.portal.at("/t/acme/")
    assert (await way.portal.call(browser, "acme")).status == 200


@pytest.mark.gen_test
@pytest.mark.parametrize("way", [Way(BASIC, {"resources": [AUDIENCE, OTHER_AUDIENCE]})], indirect=True)
async def test_every_api_is_asked_for_at_the_sign_in_and_the_token_is_for_the_first(way: WayWorld) -> None:
    browser = way.portal.browser()
    asked = await way.portal.begin(browser, "acme")
    assert sent(asked)["resource"] == [AUDIENCE, OTHER_AUDIENCE]
    await way.let_in(browser, asked)
    await way.renew(browser)
    tokens = await way.portal.tokens_of(browser, "acme")
    assert read(tokens.access_token.reveal())[1]["aud"] == AUDIENCE
    assert {one["resource"] for one in await way.provider.events("grant.success")} == {AUDIENCE}


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "way", [Way(BASIC, {"resources": ["https://api.acme.example/unknown"]})], indirect=True
)
async def test_an_api_that_the_provider_does_not_know_is_a_clear_page(
    way: WayWorld, log_lines: io.StringIO
) -> None:
    page = await way.portal.begin(way.portal.browser(), "acme")
    assert page.url.startswith(way.portal.at("/t/acme/callback?"))
    assert page.status == 502
    assert "invalid_target" in log_lines.getvalue()
