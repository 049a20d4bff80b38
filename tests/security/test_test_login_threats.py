"""THREATS A6: a test login makes no session and reaches no API, whoever writes the draft."""

from __future__ import annotations

import asyncio
import io
import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from portal.admin.viewers import BoundSetupLink
from portal.stores.tenant_records import TenantStatus
from tests.kit.browser import Browser, Response
from tests.kit.console import ACT, ConsoleWorld
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.faulty.endpoints import Response as ProviderResponse
from tests.kit.raw import stored, until
from tests.kit.test_logins import PAGE, Tester


async def state_of(console: ConsoleWorld, browser: Browser) -> tuple[object, ...]:
    """What a sign-in would change."""
    info = await browser.fetch(console.at("/session"))
    api = await browser.fetch(console.at("/t/globex/api/projects"))
    rows = stored(console.world)
    return (
        browser.cookie("localhost", "portal"),
        info.text,
        api.status,
        len(rows["sessions"]),
        len(rows["logins"]),
    )


async def tries(tester: Tester, callback: str) -> Response:
    return await tester.browser.step(callback, site="cross-site")


def parameters(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def with_parameters(url: str, **changes: str) -> str:
    return urlsplit(url)._replace(query=urlencode(parameters(url) | changes)).geturl()


def is_refused(tester: Tester, response: Response, status: int = 400) -> None:
    """Check that a response had no effect: an error page, or the home for who is signed in at Globex."""
    if response.status == 303:
        assert response.headers["Location"] == "/t/globex/"
    else:
        assert response.status == status, response.text
        assert "Location" not in response.headers
    assert tester.provider.requests["code"] == 2, "only Gina's and Hank's logins were exchanged"


# --- a test is not a sign-in


@pytest.mark.gen_test
async def test_A6_a_test_login_changes_neither_session_nor_logins(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft()
    before = await state_of(console, tester.browser)
    assert (await tester.test(user="hank")).status == 200
    assert await state_of(console, tester.browser) == before
    assert (await tester.open()).state.tests["default"].claims["email"] == "hank@globex.example"


@pytest.mark.gen_test
async def test_A6_a_test_login_signs_nobody_in_who_has_no_session(console: ConsoleWorld) -> None:
    """Whoever has a setup link only."""
    browser = console.world.browser()
    tester = Tester(console, browser)
    await tester.draft()
    links = setup_link(console, browser)
    before = await state_of(console, browser)
    assert before[2] == 401
    page = await tester.test()
    assert "The test login succeeded" in page.text
    assert await state_of(console, browser) == before
    assert browser.cookie("localhost", "portal") is None
    links.clear()


def setup_link(console: ConsoleWorld, browser: Browser) -> dict[str, BoundSetupLink]:
    """Give a browser the cookie of a setup link of Globex; clear the result to revoke it."""
    links = {"cookie-of-the-link": BoundSetupLink("globex", "contractor")}

    async def find(cookie: str) -> BoundSetupLink | None:
        return links.get(cookie)

    console.services.viewers._find_setup_link = find
    browser.cookies.setdefault("localhost", {})["portal-setup"] = "cookie-of-the-link"
    return links


@pytest.mark.gen_test
async def test_A6_S9_no_token_of_a_test_is_kept_or_shown(
    console: ConsoleWorld, log_lines: io.StringIO
) -> None:
    tester = Tester(console)
    await tester.draft()
    page = await tester.test()
    issued = list(tester.provider.state.issued)[-3:]
    assert issued
    draft = (await tester.open()).state.tests["default"]
    assert not any(token in str(draft.claims) for token in issued)
    rows = stored(console.world)
    assert rows["attempts"] == [], "the attempt is used up"
    for sink in (str(rows), page.text, log_lines.getvalue()):
        assert not any(token in sink for token in issued)


# --- one kind is never the other


@pytest.mark.gen_test
async def test_A6_a_live_attempt_is_not_finished_with_the_prefix_of_a_test(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft()
    live = await console.world.stop_before_callback(tester.browser, "globex")
    forged = with_parameters(live, state=f"test.{parameters(live)['state']}")
    is_refused(tester, await tries(tester, forged))
    done = await tries(tester, live)
    assert (done.status, done.headers["Location"]) == (303, "/t/globex/"), "it was not used up"
    assert (await tester.open()).state.tests == {}


@pytest.mark.gen_test
async def test_A6_a_test_is_not_finished_without_its_prefix(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft()
    callback = await tester.to_callback()
    before = await state_of(console, tester.browser)
    state = parameters(callback)["state"].removeprefix("test.")
    is_refused(tester, await tries(tester, with_parameters(callback, state=state)))
    assert await state_of(console, tester.browser) == before


@pytest.mark.gen_test
async def test_A6_a_posted_test_is_not_finished_as_a_sign_in(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft(lambda content: f"{content}\nresponse_mode: form_post\n")
    begun = await tester.begin()
    tester.provider.automatic_user = "gina"
    page = await tester.browser.open(begun.headers["Location"])
    form = page.form("/t/globex/callback")
    headers = {
        "Cookie": tester.browser._cross_site_cookies(form.action),
        "Origin": "null",
        "Accept": "text/html",
    }
    posted = await tester.browser.fetch(
        form.action, "POST", headers=headers, body=urlencode(form.fields), site="cross-site", csrf=False
    )
    reference = parameters(posted.headers["Location"])["reference"]
    assert reference.startswith("test.")
    before = await state_of(console, tester.browser)
    finish = console.at("/t/globex/finish-login?reference=")
    is_refused(tester, await tries(tester, finish + reference.removeprefix("test.")))
    done = await tries(tester, finish + reference)
    assert (done.status, done.headers["Location"]) == (303, f"{PAGE}/default")
    is_refused_again = await tries(tester, finish + reference)
    assert is_refused_again.status == 400
    assert await state_of(console, tester.browser) == before


# --- who, where, once, and of which draft


@pytest.mark.gen_test
async def test_A6_the_state_of_a_test_counts_at_its_own_callback_only(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft()
    callback = await tester.to_callback()
    for path in (
        "/t/acme/callback",
        "/t/nobody/callback",
        "/t/globex/callback/default",
        f"/t/globex/callback/default/test-{'0' * 16}",
    ):
        is_refused(tester, await tries(tester, callback.replace("/t/globex/callback", path)))
    done = await tries(tester, callback)
    assert done.headers["Location"] == f"{PAGE}/default", "it was not used up"


@pytest.mark.gen_test
async def test_A6_a_test_counts_once(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft()
    callback = await tester.to_callback()
    assert (await tries(tester, callback)).status == 303
    again = await tries(tester, callback)
    assert again.status == 400
    assert PAGE in again.links, "the error leads back to the console"
    assert tester.provider.requests["code"] == 3


@pytest.mark.gen_test
async def test_A6_another_browser_cannot_finish_a_test(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft()
    callback = await tester.to_callback()
    for browser in (console.operator, console.user, console.stranger):
        await browser.step(console.at("/t/acme/login"))  # its own binding
        is_refused(tester, await browser.step(callback, site="cross-site"))
    assert (await tries(tester, callback)).status == 303


@pytest.mark.gen_test
@pytest.mark.parametrize("lost", ["signed_out", "another_actor"])
async def test_A6_only_who_began_a_test_finishes_it(console: ConsoleWorld, lost: str) -> None:
    tester = Tester(console)
    await tester.draft()
    callback = await tester.to_callback()
    jar = tester.browser.cookies["localhost"]
    if lost == "signed_out":
        del jar["portal"]
    else:
        jar["portal"] = console.operator.cookies["localhost"]["portal"]
    is_refused(tester, await tries(tester, callback), status=409)
    assert (await tester.open()).state.tests == {}


@pytest.mark.gen_test
async def test_A6_a_setup_link_that_was_revoked_finishes_no_test(console: ConsoleWorld) -> None:
    browser = console.world.browser()
    tester = Tester(console, browser)
    await tester.draft()
    links = setup_link(console, browser)
    callback = await tester.to_callback()
    links.clear()
    is_refused(tester, await tries(tester, callback), status=409)


@pytest.mark.gen_test
@pytest.mark.parametrize("change", ["changed", "discarded", "removed"])
async def test_A6_a_test_of_a_draft_that_is_no_longer_the_same_is_refused(
    console: ConsoleWorld, change: str
) -> None:
    tester = Tester(console)
    await tester.draft()
    callback = await tester.to_callback()
    if change == "changed":
        await tester.draft(lambda content: f"{content}\nresponse_mode: query\nmax_age: 100s\n")
    elif change == "discarded":
        await tester.discard()
    else:
        tester.browser.cookies["localhost"]["portal"] = console.operator.cookies["localhost"]["portal"]
        await console.services.tenants.remove("globex", ACT)
    is_refused(tester, await tries(tester, callback), status=409)


@pytest.mark.gen_test
async def test_A6_a_draft_that_changes_during_the_exchange_gets_no_result(console: ConsoleWorld) -> None:
    tester, hold = Tester(console), asyncio.Event()
    await tester.draft()
    callback = await tester.to_callback()
    tester.provider.faults.endpoints["token"] = EndpointFault(hold=hold)
    finishing = asyncio.ensure_future(tries(tester, callback))
    await until(lambda: tester.provider.requests["code"] == 3, "the code is not exchanged")
    await tester.draft()
    hold.set()
    assert (await finishing).status == 409
    assert (await tester.open()).state.tests == {}


@pytest.mark.gen_test
async def test_A6_a_slug_that_became_a_file_is_not_tested(console: ConsoleWorld) -> None:
    """The tenant of a file may use private networks; a draft of the database may not because of it."""
    tester = Tester(console, console.operator)
    await tester.draft()
    callback = await tester.to_callback()
    (console.world.parts.tenants_folder / "globex.yaml").write_text("name: [")
    registry = console.world.running.portal.registry
    await until(lambda: registry.file_of("globex") is not None, "the file is not read")
    is_refused(tester, await tries(tester, callback), status=409)
    assert (await console.get(tester.browser, PAGE)).status == 409


# --- a stranger learns nothing


@pytest.mark.gen_test
async def test_T5_the_callback_of_a_test_does_not_tell_which_tenants_exist(console: ConsoleWorld) -> None:
    def shape(response: Response) -> tuple[int, str]:
        text = re.sub(r"[0-9a-f]{16}", "…", re.sub(r'name="_xsrf" value="[^"]*"', "", response.text))
        return response.status, re.sub(r"/t/[a-z]+/|/admin/t/[a-z]+/", "/…/", text)

    browser = console.stranger
    await console.services.tenants.set_status("globex", TenantStatus.SUSPENDED, ACT)
    await until(lambda: console.world.running.portal.registry.get("globex") is None, "it is served")
    await browser.step(console.at("/t/acme/login"))  # for a binding
    for path in (
        "callback?state=test.x&code=c",
        "finish-login?reference=test.x",
        f"callback/default/test-{'0' * 16}?state=test.x&code=c",
    ):
        suspended = await browser.step(console.at(f"/t/globex/{path}"))
        missing = await browser.step(console.at(f"/t/nobody/{path}"))
        assert shape(suspended) == shape(missing)
        assert suspended.status == 400
    assert (await browser.step(console.at("/t/globex/callback?state=x&code=c"))).status == 404


# --- a hostile provider in a draft


@pytest.mark.gen_test
async def test_A6_a_drafts_provider_cannot_get_a_code_of_the_live_provider(console: ConsoleWorld) -> None:
    """Mix-up (RFC 9700 4.4): another server in the draft never shares the redirect URI of the live one."""
    tester = Tester(console)
    evil = console.world.acme.issuer
    await tester.draft(
        lambda content: re.sub(
            r"secret: .*", "secret: typed-again", re.sub(r"issuer: .*", f"issuer: {evil}", content)
        )
    )
    begun = await tester.begin()
    uri = parameters(begun.headers["Location"])["redirect_uri"]
    assert re.fullmatch(console.at(r"/t/globex/callback/default/test-[0-9a-f]{16}"), uri)
    page = await console.get(tester.browser, PAGE)
    assert uri in page.text
    assert "a redirect URI of its own" in page.text
    # the hostile server sends the browser on to the live one, with the state of the test
    live = await console.world.stop_before_callback(tester.browser, "globex")
    mixed = with_parameters(live, state=parameters(begun.headers["Location"])["state"])
    mixed = re.sub(r"iss=[^&]*&?", "", mixed)
    assert (await tries(tester, mixed)).status == 400
    assert console.world.acme.requests["code"] == 2, "only the logins of Alice and Bob"
    assert tester.provider.requests["code"] == 2


@pytest.mark.gen_test
async def test_A6_a_suspended_tenant_is_protected_from_another_server_too(console: ConsoleWorld) -> None:
    """Nothing of it is served, but its client is still registered with the usual redirect URI."""
    tester = Tester(console, console.operator)
    await with_other_userinfo(tester)
    await console.services.tenants.set_status("globex", TenantStatus.SUSPENDED, ACT)
    registry = console.world.running.portal.registry
    await until(lambda: registry.get("globex") is None, "it is served")
    begun = await tester.begin()
    assert "/test-" in parameters(begun.headers["Location"])["redirect_uri"]


@pytest.mark.gen_test
async def test_A6_a_live_server_that_changes_during_a_test_stops_it(console: ConsoleWorld) -> None:
    tester = Tester(console, console.operator)
    await tester.draft(lambda content: content + "max_age: 1h\n")
    callback = await tester.to_callback()
    assert urlsplit(callback).path == "/t/globex/callback"
    await console.publish(console.typed + other_userinfo(console))
    is_refused(tester, await tries(tester, callback), status=409)


def other_userinfo(console: ConsoleWorld) -> str:
    return f"endpoints: {{userinfo: {console.world.acme.issuer}/userinfo}}\n"


async def with_other_userinfo(tester: Tester) -> None:
    secret = tester.provider.settings.clients[0].client_secret
    await tester.draft(
        lambda content: re.sub(r"secret: .*", f"secret: {secret}", content) + other_userinfo(tester.console)
    )


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "keys", ["endpoints: {{token: {evil}/token}}", "endpoints: {{authorization: {evil}/a}}"]
)
async def test_A6_endpoints_of_a_draft_make_another_server(console: ConsoleWorld, keys: str) -> None:
    """`iss` would not tell the two apart: the issuer is the same."""
    tester = Tester(console)
    evil = console.world.acme.issuer
    secret = tester.provider.settings.clients[0].client_secret
    await tester.draft(
        lambda content: re.sub(r"secret: .*", f"secret: {secret}", content) + keys.format(evil=evil) + "\n"
    )
    begun = await tester.begin()
    assert "/test-" in parameters(begun.headers["Location"])["redirect_uri"]


@pytest.mark.gen_test
async def test_A6_what_a_draft_fetches_serves_no_live_login(console: ConsoleWorld) -> None:
    """The same issuer and the same URLs, but what the provider says while the draft is tested is wrong."""
    tester = Tester(console)
    fresh = console.world.browser()
    await tester.draft()

    def evil(metadata: dict[str, object]) -> None:
        metadata["token_endpoint"] = f"{console.world.acme.issuer}/token"
        metadata["jwks_uri"] = f"{console.world.acme.issuer}/jwks"

    tester.provider.faults.mutate_metadata = evil
    page = await tester.test()
    assert "The last test login failed" in page.text
    tester.provider.faults.mutate_metadata = None
    console.world.clock.advance(700)  # longer than any stale document is served without a fetch
    assert (await console.world.quick_sign_in(fresh, "globex")).status == 200
    page = await tester.test()
    assert "The test login succeeded" in page.text, "nor does it serve the next test"


@pytest.mark.gen_test
async def test_A6_a_failing_draft_does_not_stop_live_logins(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft()
    tester.provider.faults.endpoints["discovery"] = EndpointFault(response=ProviderResponse())
    begun = await tester.begin()
    assert begun.headers["Location"] == f"{PAGE}/default"
    del tester.provider.faults.endpoints["discovery"]
    assert (await console.world.quick_sign_in(console.world.browser(), "globex")).status == 200


@pytest.mark.gen_test
async def test_A6_a_live_user_that_a_draft_asserts_is_not_touched(console: ConsoleWorld) -> None:
    tester = Tester(console)
    login = await console.world.login_of(console.user, "globex")
    assert login is not None
    await tester.draft()
    await tester.test(user="hank")
    assert await console.world.login_of(console.user, "globex") == login
    assert await console.world.login_of(tester.browser, "globex") is not None
    api = await console.user.fetch(console.at("/t/globex/api/projects"))
    assert api.status == 200


@pytest.mark.gen_test
async def test_A6_L8_what_a_drafts_provider_says_is_text(console: ConsoleWorld) -> None:
    tester = Tester(console)
    evil = "<img src=x onerror=alert(1)>\u202e{{ 1 }}"
    claims: dict[str, object] = {
        evil: evil,
        "name": evil,
        "email": [evil] * 300,
        "roles": {evil: {evil: [evil]}},
        "huge": "x" * 20_000,
        "number": 10**400,
        "nothing": None,
    }

    def forged(header: dict[str, object], found: dict[str, object]) -> None:
        found.update(claims)

    tester.provider.faults.mutate_id_token = forged
    await tester.draft(lambda content: f"{content}\naccess: {{require: [{{claim: name, equals: '<b>x'}}]}}\n")
    page = await tester.test()
    assert "Signed in at the provider, but your rules refuse this account" in page.text, page.text
    assert "<img src=x" not in page.text
    assert "<b>x" not in page.text
    assert "\u202e" not in page.text
    assert "x" * 1_001 not in page.text
    form = page.form(f"{PAGE}/default/claims")
    saved = await tester.browser.submit(form, {"name": evil, "email": "email", "roles": ""})
    assert saved.status == 422
    assert "<img src=x" not in saved.text


@pytest.mark.gen_test
async def test_A6_an_account_that_could_not_sign_in_for_its_size_fails_the_test(
    console: ConsoleWorld,
) -> None:
    tester = Tester(console)

    def forged(header: dict[str, object], found: dict[str, object]) -> None:
        found["groups"] = [f"group {number:05}" for number in range(3_200)]

    tester.provider.faults.mutate_id_token = forged
    await tester.draft()
    page = await tester.test()
    assert page.status == 200
    assert "Your account has too much data for the portal" in page.text


@pytest.mark.gen_test
async def test_A6_the_page_of_a_test_is_for_who_may_change_the_draft(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft()
    await tester.test()
    for browser, status in ((console.user, 404), (console.file_admin, 404), (console.stranger, 401)):
        for path in (PAGE, f"{PAGE}/default", f"{PAGE}/missing"):
            assert (await console.get(browser, path)).status == status
            posted = await browser.step(console.at(path), "POST", "", site="same-origin")
            assert posted.status == status
    forged = await tester.browser.step(console.at(f"{PAGE}/default"), "POST", "", site="cross-site")
    assert forged.status == 403
