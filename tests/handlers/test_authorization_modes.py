"""Logins with posted responses, pushed or signed requests, and `prompt`, on real sockets."""

from __future__ import annotations

import base64
import io
import json
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.kit.browser import Browser, Response
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.faulty.endpoints import Response as Refusal
from tests.kit.provider_logout import calls
from tests.kit.raw import change_tenant, stored
from tests.kit.world import World

MODES = ["form_post", "query.jwt", "form_post.jwt", "jwt"]
POSTED = ["form_post", "form_post.jwt"]


def query(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query)


async def tenants(world: World, browser: Browser) -> list[str]:
    info = json.loads((await browser.fetch(world.at("/session"))).body)
    return [tenant["slug"] for tenant in info["tenants"]]


async def open_response_page(
    world: World, browser: Browser, tenant: str = "acme", search: str = ""
) -> Response:
    """Sign in up to the provider's page with the form that posts the response."""
    provider = world.provider(tenant)
    provider.automatic_user = "alice" if tenant == "acme" else "gina"
    page = await browser.open(world.at(f"/t/{tenant}/login{search}"))
    provider.automatic_user = None
    return page


# --- response_mode


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.gen_test
async def test_a_login_works_with_each_response_mode(world: World, mode: str) -> None:
    change_tenant(world, "acme", response_mode=mode)
    browser = world.browser()
    home = await world.sign_in(browser, "acme")
    assert home.url == world.at("/t/acme/")
    assert "Alice Archer" in home.text
    requested = next(one for one in world.acme.received if one.endpoint == "authorize")
    assert requested.parameters["response_mode"] == [mode]
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test
async def test_a_new_session_is_stored_with_the_user_agent_of_the_browser(world: World) -> None:
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    await browser.fetch(callback, headers={"User-Agent": "Firefox  1"}, site="cross-site")
    (session,) = stored(world)["sessions"]
    assert "Firefox 1" in session, "as display text"


@pytest.mark.parametrize("mode", POSTED)
@pytest.mark.gen_test
async def test_form_post_keeps_the_session_that_the_browser_has(world: World, mode: str) -> None:
    """A cross-site form post has no session cookie, but the login must join the session."""
    change_tenant(world, "acme", response_mode=mode)
    browser = world.browser()
    await world.quick_sign_in(browser, "globex")
    session, cookie = world.session_id(browser), browser.cookie("localhost", "portal")
    await world.sign_in(browser, "acme")
    assert world.session_id(browser) == session
    assert browser.cookie("localhost", "portal") != cookie, "the secret is new after every login"
    assert await tenants(world, browser) == ["acme", "globex"]
    assert len(stored(world)["sessions"]) == 1


@pytest.mark.parametrize("mode", POSTED)
@pytest.mark.gen_test
async def test_form_post_puts_no_code_into_any_url_of_the_portal(
    world: World, mode: str, log_lines: io.StringIO
) -> None:
    change_tenant(world, "acme", response_mode=mode)
    browser = world.browser()
    page = await open_response_page(world, browser)
    assert page.url.startswith(world.acme.issuer)
    done = await browser.submit(page.form("/t/acme/callback"))
    assert done.url == world.at("/t/acme/")
    assert [urlsplit(url).path for url in done.trail] == [
        "/t/acme/callback",
        "/t/acme/finish-login",
        "/t/acme/",
    ]
    assert [set(query(url)) for url in done.trail] == [set(), {"reference"}, set()]
    everything = " ".join(done.trail) + log_lines.getvalue()
    assert world.acme.state.issued
    assert not any(value in everything for value in world.acme.state.issued)
    assert query(done.trail[1])["reference"][0] not in log_lines.getvalue()


@pytest.mark.gen_test
async def test_form_post_sets_a_short_lived_cookie_that_survives_a_cross_site_form(world: World) -> None:
    browser = world.browser()
    plain = await browser.step(world.at("/t/acme/login"))
    assert not any("portal-attempt-post" in one for one in plain.headers.get_list("Set-Cookie"))
    change_tenant(world, "acme", response_mode="form_post")
    redirect = await browser.step(world.at("/t/acme/login"))
    (made,) = [
        one for one in redirect.headers.get_list("Set-Cookie") if one.startswith("portal-attempt-post=")
    ]
    attributes = {part.strip().lower() for part in made.split(";")[1:]}
    assert {"samesite=none", "secure", "httponly", "max-age=600", "path=/"} <= attributes
    (ordinary,) = [
        one for one in redirect.headers.get_list("Set-Cookie") if one.startswith("portal-attempt=")
    ]
    assert "samesite=lax" in ordinary.lower()


@pytest.mark.gen_test
async def test_form_post_in_two_tabs_creates_both_logins(world: World) -> None:
    change_tenant(world, "acme", response_mode="form_post")
    change_tenant(world, "globex", response_mode="form_post")
    browser = world.browser()
    pages = [await open_response_page(world, browser, tenant) for tenant in ("acme", "globex")]
    for tenant, page in zip(("acme", "globex"), pages, strict=True):
        browser.page = page
        done = await browser.submit(page.form(f"/t/{tenant}/callback"))
        assert done.url == world.at(f"/t/{tenant}/")
    assert await tenants(world, browser) == ["acme", "globex"]


@pytest.mark.gen_test
async def test_form_post_keeps_return_to(world: World) -> None:
    change_tenant(world, "acme", response_mode="form_post")
    browser = world.browser()
    page = await open_response_page(world, browser, search="?return_to=/t/acme/?tab=claims")
    done = await browser.submit(page.form("/t/acme/callback"))
    assert done.url == world.at("/t/acme/?tab=claims")


@pytest.mark.gen_test
async def test_form_post_errors_are_pages(world: World) -> None:
    change_tenant(world, "acme", response_mode="form_post")
    world.acme.faults.authorization_error = ("access_denied", "<b>no</b>")
    browser = world.browser()
    page = await open_response_page(world, browser)
    done = await browser.submit(page.form("/t/acme/callback"))
    assert done.status == 403
    assert "Access was denied" in done.text
    assert "<b>no</b>" not in done.text


@pytest.mark.gen_test
async def test_jarm_errors_are_pages_and_parameters_outside_the_jwt_are_ignored(world: World) -> None:
    change_tenant(world, "acme", response_mode="jwt")
    world.acme.faults.authorization_error = ("temporarily_unavailable", "later")
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    assert set(query(callback)) == {"response"}
    response = await browser.step(f"{callback}&state=another&code=another", site="cross-site")
    assert response.status == 503
    assert "The sign-in service is busy" in response.text


# --- PAR and signed requests


@pytest.mark.parametrize("how", ["tenant", "metadata"])
@pytest.mark.gen_test
async def test_par_is_used_when_the_tenant_asks_or_the_metadata_requires_it(world: World, how: str) -> None:
    if how == "tenant":
        change_tenant(world, "acme", par=True)
    else:
        world.acme.faults.mutate_metadata = lambda metadata: metadata.update(
            require_pushed_authorization_requests=True
        )
    browser = world.browser()
    redirect = await browser.step(world.at("/t/acme/login?login_hint=alice"))
    assert set(query(redirect.headers["Location"])) == {"client_id", "request_uri"}
    home = await world.sign_in(browser, "acme")
    assert home.url == world.at("/t/acme/")
    assert world.acme.requests["par"] == 2


@pytest.mark.gen_test
async def test_a_refused_pushed_request_is_a_page_with_advice(world: World, log_lines: io.StringIO) -> None:
    change_tenant(world, "acme", par=True)
    world.acme.faults.endpoints["par"] = EndpointFault(response=Refusal(status=400))
    browser = world.browser()
    response = await browser.step(world.at("/t/acme/login"))
    assert response.status == 502
    assert "did not accept the portal" in response.text
    assert "administrator" in response.text
    (line,) = (json.loads(line) for line in log_lines.getvalue().splitlines() if "pushed_request" in line)
    assert (line["tenant"], line["provider"]) == ("acme", "default")
    assert stored(world)["attempts"] == []


@pytest.mark.parametrize("par", [False, True])
@pytest.mark.gen_test
async def test_a_signed_request_is_verified_by_the_provider(world: World, par: bool) -> None:
    change_tenant(world, "acme", request_object="signed", par=par)
    browser = world.browser()
    redirect = await browser.step(world.at("/t/acme/login"))
    requested = query(redirect.headers["Location"])
    assert set(requested) == (
        {"client_id", "request_uri"} if par else {"client_id", "response_type", "scope", "request"}
    )
    home = await world.sign_in(browser, "acme")
    assert home.url == world.at("/t/acme/")


@pytest.mark.gen_test
async def test_all_options_of_the_fapi_profile_work_together(world: World) -> None:
    change_tenant(world, "acme", request_object="signed", par=True, response_mode="form_post.jwt")
    browser = world.browser()
    await world.quick_sign_in(browser, "globex")
    await world.sign_in(browser, "acme")
    assert await tenants(world, browser) == ["acme", "globex"]


# --- claims, acr


@pytest.mark.gen_test
async def test_claims_are_requested_and_an_essential_acr_is_required(world: World) -> None:
    path = world.parts.tenants_folder / "acme.yaml"
    yaml_line = "requested_claims: {id_token: {acr: {essential: true, values: [gold, pwd]}, email: {}}}\n"
    path.write_text(path.read_text() + yaml_line)
    world.running.portal.registry.load()
    browser = world.browser()
    redirect = await browser.step(world.at("/t/acme/login"))
    (claims,) = query(redirect.headers["Location"])["claims"]
    acr = {"essential": True, "values": ["gold", "pwd"]}
    assert json.loads(claims) == {"id_token": {"acr": acr, "email": None}}
    world.acme.faults.mutate_id_token = lambda header, claims: claims.update(acr="bronze")
    refused = await browser.step(await world.stop_before_callback(browser, "acme"), site="cross-site")
    assert refused.status == 400
    world.acme.faults.clear()
    await world.quick_sign_in(browser, "acme")


# --- prompt


@pytest.mark.gen_test
async def test_a_silent_login_succeeds_without_the_user_when_the_provider_has_a_session(world: World) -> None:
    browser = world.browser()
    await world.sign_in(browser, "acme")
    before = world.acme.requests["sign_in"]
    again = await browser.open(world.at("/t/acme/login?prompt=none&return_to=/account"))
    assert again.url == world.at("/account")
    assert world.acme.requests["sign_in"] == before


@pytest.mark.gen_test
async def test_a_silent_login_requests_the_user_of_the_existing_login(world: World) -> None:
    browser = world.browser()
    first = await browser.step(world.at("/t/acme/login?prompt=none"))
    assert "id_token_hint" not in query(first.headers["Location"])
    await world.quick_sign_in(browser, "acme")
    silent = await browser.step(world.at("/t/acme/login?prompt=none"))
    (hint,) = query(silent.headers["Location"])["id_token_hint"]
    payload = hint.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["sub"] == "acme-001"
    for other in ("", "?prompt=login"):
        redirect = await browser.step(world.at(f"/t/acme/login{other}"))
        assert "id_token_hint" not in query(redirect.headers["Location"])
    elsewhere = await browser.step(world.at("/t/globex/login?prompt=none"))
    assert "id_token_hint" not in query(elsewhere.headers["Location"])


@pytest.mark.parametrize("mode", ["query", "form_post", "jwt"])
@pytest.mark.gen_test
async def test_a_silent_login_of_another_user_replaces_no_login_and_becomes_interactive(
    world: World, mode: str
) -> None:
    """Any site can send a browser to `prompt=none`, and some providers ignore the hint."""
    change_tenant(world, "acme", response_mode=mode, logout={"id_token_hint": False})
    browser = world.browser()
    await world.sign_in(browser, "acme", "alice")
    before = await world.login_of(browser, "acme")
    world.acme.automatic_user = "bob"
    url = "/t/acme/login?prompt=none&return_to=/account&login_hint=alice&ui_locales=de"
    silent = await browser.step(world.at(url))
    page = await browser.step(silent.headers["Location"], site="cross-site")
    world.acme.automatic_user = None
    if mode == "form_post":
        form = page.form("/t/acme/callback")
        page = await browser.step(form.action, "POST", urlencode(form.fields), site="cross-site")
        page = await browser.step(world.at(page.headers["Location"]), site="cross-site")
    else:
        page = await browser.step(page.headers["Location"], site="cross-site")
    assert page.status == 303
    assert page.headers["Location"].startswith(f"{world.acme.issuer}/authorize?")
    requested = query(page.headers["Location"])
    assert requested["prompt"] == ["login"]
    assert requested["login_hint"] == ["alice"]
    assert requested["ui_locales"] == ["de"]
    assert await world.login_of(browser, "acme") == before
    assert await calls(world, browser) == 200

    world.acme.automatic_user = "bob"  # the interactive sign-in at the provider is by bob
    done = await world.post_back(browser, await browser.open(page.headers["Location"]))
    assert done.url == world.at("/account")
    after = await world.login_of(browser, "acme")
    assert before is not None
    assert after is not None
    assert (before.subject, after.subject) == ("acme-001", "acme-002")


@pytest.mark.gen_test
async def test_a_silent_login_of_the_same_user_or_without_a_login_needs_no_interaction(world: World) -> None:
    change_tenant(world, "acme", logout={"id_token_hint": False})
    browser = world.browser()
    world.acme.automatic_user = "bob"
    for _ in range(2):  # no login at first
        page = await browser.open(world.at("/t/acme/login?prompt=none&return_to=/account"))
        assert page.url == world.at("/account")
    requested = [one.parameters for one in world.acme.received if one.endpoint == "authorize"]
    assert [one.get("prompt") for one in requested] == [["none"], ["none"]]
    world.acme.automatic_user = "alice"  # an interactive sign-in replaces the login
    await world.post_back(browser, await browser.open(world.at("/t/acme/login")))
    login = await world.login_of(browser, "acme")
    assert login is not None
    assert login.subject == "acme-001"


@pytest.mark.parametrize("mode", ["query", "form_post", "jwt"])
@pytest.mark.gen_test
async def test_a_silent_login_that_is_refused_falls_back_to_an_interactive_one_and_keeps_return_to(
    world: World, mode: str
) -> None:
    change_tenant(world, "acme", response_mode=mode)
    browser = world.browser()
    url = "/t/acme/login?prompt=none&return_to=/account&login_hint=alice&ui_locales=de"
    page = await browser.open(world.at(url))
    page = await world.post_back(browser, page)
    assert page.url.startswith(f"{world.acme.issuer}/sign-in/"), "the provider must show its sign-in page"
    requested = [one.parameters for one in world.acme.received if one.endpoint == "authorize"]
    assert [one.get("prompt") for one in requested] == [["none"], None]
    assert [one["ui_locales"] for one in requested] == [["de"], ["de"]]
    assert [one["login_hint"] for one in requested] == [["alice"], ["alice"]]
    done = await world.fill_in(browser, page, "acme", "alice")
    assert done.url == world.at("/account")
    assert await tenants(world, browser) == ["acme"]


@pytest.mark.parametrize(
    "error",
    [
        "login_required",
        "interaction_required",
        "consent_required",
        "account_selection_required",
        "invalid_request",  # Hydra, of an id_token_hint that is signed with a key it has replaced
    ],
)
@pytest.mark.gen_test
async def test_the_fallback_to_an_interactive_login_happens_only_once(world: World, error: str) -> None:
    world.acme.faults.authorization_error = (error, "whatever is requested")
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme", "?prompt=none")
    again = await browser.step(callback, site="cross-site")
    assert again.status == 303
    requested = query(again.headers["Location"])
    assert again.headers["Location"].startswith(world.acme.issuer)
    assert "prompt" not in requested
    renewed = [one for one in again.headers.get_list("Set-Cookie") if one.startswith("portal-attempt=")]
    assert len(renewed) == 1, "the binding must be extended by ten minutes"
    world.acme.automatic_user = "alice"
    refused = await browser.step(again.headers["Location"], site="cross-site")
    last = await browser.step(refused.headers["Location"], site="cross-site")
    assert last.status in {401, 403, 502}
    assert "Location" not in last.headers


@pytest.mark.gen_test
async def test_other_errors_of_a_silent_login_and_silent_errors_of_others_are_pages(world: World) -> None:
    browser = world.browser()
    for search, error in (("?prompt=none", "access_denied"), ("", "login_required")):
        world.acme.faults.authorization_error = (error, "no")
        callback = await world.stop_before_callback(browser, "acme", search)
        assert (await browser.step(callback, site="cross-site")).status in {401, 403}


@pytest.mark.gen_test
async def test_a_silent_refusal_of_another_issuer_does_not_fall_back(world: World) -> None:
    world.acme.faults.authorization_error = ("login_required", "no")
    world.acme.faults.response_iss = "wrong"
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme", "?prompt=none")
    assert (await browser.step(callback, site="cross-site")).status == 400


@pytest.mark.parametrize(
    ("search", "sent"),
    [
        ("prompt=none", ["none"]),
        ("prompt=login", ["login"]),
        ("prompt=select_account", ["select_account"]),
        ("prompt=consent", None),
        ("prompt=create", None),
        ("prompt=none+login", None),
        ("prompt=LOGIN", None),
        ("prompt=", None),
        ("prompt=none&prompt=none", None),
        ("prompt=%ff", None),
    ],
)
@pytest.mark.gen_test
async def test_only_safe_prompts_are_accepted_from_a_link(
    world: World, search: str, sent: list[str] | None
) -> None:
    redirect = await world.browser().step(world.at(f"/t/acme/login?{search}"))
    assert query(redirect.headers["Location"]).get("prompt") == sent
