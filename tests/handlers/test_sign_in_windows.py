"""The window that portal.js opens for a sign-in: its error pages lead nowhere but into the sign-in."""

from __future__ import annotations

import html
import re
from contextlib import closing
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from portal.errors import (
    BadRequest,
    CrossSiteRequest,
    LoginNotStored,
    NewLoginsRefused,
    NotFound,
    OutboundRefused,
    PayloadTooLarge,
    PortalError,
    StoreUnavailable,
    VaultError,
)
from portal.oidc.api_errors import ApiLoginRejected
from portal.oidc.errors import (
    AttemptUnknown,
    ClientKeyMissing,
    IdTokenRejected,
    KeysRejected,
    LoginTooLarge,
    MetadataRejected,
    ProviderUnavailable,
    PushedRequestRejected,
    ReauthenticationMissing,
    ResponseIssuerRejected,
    ResponseMalformed,
    ResponseModeRejected,
    SignedResponseRejected,
    TokenNotBound,
    TokenRequestRejected,
    TokenResponseMalformed,
    UserInfoRejected,
    UserInfoSubjectMismatch,
)
from portal.oidc.provider_errors import _PAGES, denial
from portal.oidc.step_up_errors import AuthenticationTooOld, AuthenticationTooWeak, ScopeNotGranted
from portal.web.step_up_errors import StepUpLinkMalformed, StepUpScopeRefused
from tests.kit.browser import Browser, Response
from tests.kit.page_tree import PageParser
from tests.kit.provider_logout import set_claims
from tests.kit.raw import change_tenant
from tests.kit.world import World

END = "/t/acme/signed-in"
AGAIN = f"/t/acme/login?{urlencode({'return_to': END})}"
BEGIN = f"/t/acme/login?return_to={quote(END, safe='')}"
MODES = pytest.mark.parametrize("mode", ["query", "form_post", "jwt", "form_post.jwt"])


def leaving(page: Response) -> list[str]:
    """The links and forms of a page that lead out of the sign-in at Acme."""
    root = PageParser(page.text).root
    links = [node for node in root.all("a") if "data-stay" not in node.attrs]  # for other windows
    targets = [node.attrs.get("href", "") for node in links]
    targets += [node.attrs["action"] for node in root.all("form")]
    return [
        one
        for one in targets
        if not one.startswith(("#", "mailto:")) and END not in (urlsplit(one).path, *returns(one))
    ]


def returns(url: str) -> list[str]:
    return parse_qs(urlsplit(url).query).get("return_to", [])


def check(page: Response, *, again: bool = True) -> None:
    assert leaving(page) == []
    assert "data-close" in page.text
    assert page.text.count("Continue in the window you came from.") == 1
    root = PageParser(page.text).root
    stay = [node.attrs["href"] for node in root.all("a") if "data-stay" in node.attrs]
    assert stay == ["/t/acme/"]
    links = [url for node in root.all("a") if returns(url := node.attrs.get("href", "")) == [END]]
    assert bool(links) is again


async def stopped(world: World, browser: Browser, mode: str, query: str = "") -> Response:
    """Begin a sign-in in a window of its own, and stop at the response of the provider."""
    change_tenant(world, "acme", response_mode=mode)
    return await browser.open(world.at(BEGIN + query))


@MODES
@pytest.mark.gen_test
async def test_a_failed_sign_in_begins_again_in_the_window(world: World, mode: str) -> None:
    world.acme.faults.mutate_id_token = set_claims(nonce="of another")
    browser = world.browser()
    page = await stopped(world, browser, mode)
    page = await world.post_back(browser, await world.fill_in(browser, page, "acme", "alice"))
    assert page.status == 400
    assert AGAIN.replace("&", "&amp;") in page.text
    check(page)


@MODES
@pytest.mark.gen_test
async def test_a_response_without_a_live_attempt_begins_again_in_the_window(world: World, mode: str) -> None:
    browser = world.browser()
    if mode.startswith("form_post"):
        change_tenant(world, "acme", response_mode=mode)
        world.acme.automatic_user = "alice"
        begun = await browser.step(world.at(BEGIN))
        form = (await browser.step(begun.headers["Location"], site="cross-site")).form("/t/acme/callback")
        world.clock.advance(700)
        posted = await browser.step(form.action, "POST", urlencode(form.fields), site="cross-site")
        assert posted.headers["Location"] == "/t/acme/finish-login?reference=window.gone"
        page = await browser.open(world.at(posted.headers["Location"]))
    else:
        change_tenant(world, "acme", response_mode=mode)
        callback = await world.stop_before_callback(browser, "acme", f"?{BEGIN.partition('?')[2]}")
        world.clock.advance(700)
        page = await browser.open(callback)
    assert page.status == 400
    check(page)


@pytest.mark.gen_test
async def test_a_response_that_comes_twice_ends_the_window_of_who_is_signed_in(world: World) -> None:
    browser = world.browser()
    page = await stopped(world, browser, "query")
    page = await world.fill_in(browser, page, "acme", "alice")
    assert page.url == world.at(END)
    callback = next(url for url in page.trail if "/t/acme/callback" in url)
    assert (await browser.step(callback)).headers["Location"] == END


@pytest.mark.gen_test
async def test_an_account_that_may_not_sign_in_chooses_another_in_the_window(world: World) -> None:
    rule = {"claim": "email", "equals": "nobody@acme.example"}
    change_tenant(world, "acme", access={"require": [rule]})
    browser = world.browser()
    page = await world.fill_in(browser, await browser.open(world.at(BEGIN)), "acme", "alice")
    assert page.status == 403
    check(page)


@pytest.mark.gen_test
async def test_a_cancelled_sign_in_can_be_tried_again_in_the_window(world: World) -> None:
    browser = world.browser()
    page = await browser.open(world.at(BEGIN))
    form = page.form("/sign-in/")
    check(await browser.submit(form, {"cancel": "1"}))


@pytest.mark.gen_test
async def test_a_cancelled_sign_in_of_who_is_signed_in_does_not_end_the_window_as_a_sign_in(
    world: World,
) -> None:
    browser = world.browser()
    await world.sign_in(browser, "acme")
    page = await browser.open(world.at(f"{BEGIN}&prompt=login"))
    page = await browser.submit(page.form("/sign-in/"), {"cancel": "1"})
    assert "You are still signed in" in page.text
    check(page)
    assert END not in page.links


@pytest.mark.gen_test
async def test_a_step_up_that_was_not_done_does_not_end_the_window_as_a_sign_in(world: World) -> None:
    browser = world.browser()
    await world.sign_in(browser, "acme")
    world.acme.automatic_user = "alice"
    world.acme.faults.mutate_id_token = set_claims(acr="pwd")
    page = await browser.open(world.at(f"{BEGIN}&acr_values=mfa"))
    page = await browser.submit(page.form("/second-factor/"))
    assert page.status == 403
    check(page, again=False)
    assert END not in page.links


@pytest.mark.gen_test
async def test_a_sign_in_that_cannot_begin_leads_nowhere_else(world: World) -> None:
    browser = world.browser()
    for query, again in (("&provider=none", False), ("&acr_values=%00", False)):
        check(await browser.open(world.at(BEGIN + query)), again=again)
    page = await browser.open(world.at(END))
    assert page.url == world.at(END)
    check(page)


WHEN_IT_BEGINS: list[PortalError] = [
    PortalError("unexpected"),
    BadRequest("malformed"),
    ClientKeyMissing("no key"),
    KeysRejected("no keys"),
    MetadataRejected("no endpoint"),
    NewLoginsRefused("closed"),
    NotFound("no such provider"),
    OutboundRefused("not https"),
    ProviderUnavailable("down"),
    PushedRequestRejected("invalid_request", "refused"),
    StepUpLinkMalformed("repeated"),
    StepUpScopeRefused("not listed"),
    StoreUnavailable("down"),
    VaultError("no key"),
]
"""Errors of the page that begins a sign-in."""
WHEN_IT_ENDS: list[PortalError] = [
    PortalError("unexpected"),
    ApiLoginRejected("another account"),
    AttemptUnknown("used"),
    AuthenticationTooOld("auth_time", "old"),
    AuthenticationTooWeak("acr", "pwd"),
    CrossSiteRequest("posted"),
    IdTokenRejected("nonce", "of another"),
    KeysRejected("no keys"),
    LoginNotStored("down", cookie=None),
    LoginTooLarge("too large"),
    MetadataRejected("no endpoint"),
    NewLoginsRefused("closed"),
    NotFound("no such tenant"),
    PayloadTooLarge("the response"),
    ProviderUnavailable("down"),
    ReauthenticationMissing("auth_time", "old", signed_in_at=1.0),
    ResponseIssuerRejected("another"),
    ResponseMalformed("no code"),
    ResponseModeRejected("fragment"),
    ScopeNotGranted("scope", "none"),
    SignedResponseRejected("aud", "another"),
    StoreUnavailable("down"),
    TokenNotBound("Bearer"),
    TokenRequestRejected("invalid_grant", "refused"),
    TokenResponseMalformed("no id_token"),
    UserInfoRejected("sub", "none"),
    UserInfoSubjectMismatch("sub", "another"),
    VaultError("no key"),
    *(denial(error, "a reason") for error in (*_PAGES, "other")),
]
"""Errors of the page that the provider leads back to; SignInNotAllowed has a page of its own."""
LEADS_ELSEWHERE = re.compile(
    r"from the list|[Gg]o back|[Oo]pen the portal|Check the address|page you came from"
)
SAYS_TO_REPEAT = re.compile(r"\b(?:[Ss]tart|[Tt]ry)\b[^.;]* again\b|in a (?:moment|minute)|from here")


def check_advice(page: Response, error: PortalError) -> None:
    """Check that what an error page says can be done in the window."""
    assert error.title.replace("'", "&#x27;") in page.text or error.title in html.unescape(page.text)
    advice = html.unescape(
        next(
            node.text
            for node in PageParser(page.text).root.all("p")
            if "lead" in node.attrs.get("class", "").split()
        )
    )
    assert not LEADS_ELSEWHERE.search(advice), advice
    repeats = SAYS_TO_REPEAT.search(advice) is not None and "Close this window" not in advice
    links = [
        url
        for node in PageParser(page.text).root.all("a")
        if returns(url := node.attrs.get("href", "")) == [END]
    ]
    assert leaving(page) == []
    assert "data-close" in page.text
    assert links or not repeats, advice


@pytest.mark.parametrize("error", WHEN_IT_BEGINS, ids=lambda one: type(one).__name__)
@pytest.mark.gen_test
async def test_the_advice_of_a_sign_in_that_cannot_begin_can_be_followed_in_the_window(
    world: World, monkeypatch: pytest.MonkeyPatch, error: PortalError
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(world.running.portal.sessions, "begin_login", fail)
    check_advice(await world.browser().open(world.at(BEGIN)), error)


@pytest.mark.parametrize(
    "error", WHEN_IT_ENDS, ids=lambda one: getattr(one, "error", "") or type(one).__name__
)
@pytest.mark.gen_test
async def test_the_advice_of_a_sign_in_that_failed_can_be_followed_in_the_window(
    world: World, monkeypatch: pytest.MonkeyPatch, error: PortalError
) -> None:
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme", f"?{BEGIN.partition('?')[2]}")

    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(world.running.portal.sessions, "finish_login", fail)
    check_advice(await browser.open(callback), error)


@pytest.mark.gen_test
async def test_the_end_of_the_window_can_be_loaded_again_when_the_database_was_down(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise StoreUnavailable("told to fail")

    monkeypatch.setattr(world.running.portal.sessions, "open_session", fail)
    page = await world.browser().open(world.at(END))
    assert page.status == 503
    assert f'<a class="button" href="{END}">Try again</a>' in page.text
    assert leaving(page) == []


@pytest.mark.gen_test
async def test_a_browser_without_cookies_is_told_so_in_the_window(world: World) -> None:
    with closing(Browser()) as browser:
        begun = await browser.step(world.at(BEGIN))
        state = parse_qs(urlsplit(begun.headers["Location"]).query)["state"][0]
    with closing(Browser()) as browser:
        callback = world.at(f"/t/acme/callback?{urlencode({'state': state, 'code': 'x'})}")
        checked = await browser.step(callback, site="cross-site")
        assert checked.headers["Location"] == "/t/acme/cookie-check?set=1&window=1"
        browser.cookies.clear()
        check(await browser.open(world.at(checked.headers["Location"])))


@pytest.mark.gen_test
async def test_error_pages_elsewhere_lead_to_the_home(world: World) -> None:
    page = await world.browser().open(world.at("/t/acme/callback?state=none&code=x"))
    assert "data-close" not in page.text
    assert 'href="/t/acme/"' in page.text
