"""THREATS T1, T2, T3, T4 and T9 on real sockets: tenants against each other."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from portal.sessions.registrations import RegistrationUpkeep
from portal.tenant_upkeep import TenantUpkeep
from tests.kit.browser import Browser
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.faulty.hostile_responses import HOSTILE, SCRIPT
from tests.kit.faulty.provider import FaultyProvider
from tests.kit.raw import change_tenant, stored, until
from tests.kit.world import World


def _token_requests(world: World) -> tuple[int, int]:
    return world.acme.requests["token"], world.globex.requests["token"]


def _query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def _begin(world: World, browser: Browser, tenant: str) -> dict[str, str]:
    """Begin a login; return the parameters of its authorization request."""
    begun = await browser.step(world.at(f"/t/{tenant}/login"))
    assert begun.status == 303, begun.text
    return _query(begun.headers["Location"])


# --- T1: mix-up


@pytest.mark.gen_test
async def test_T1_a_code_of_acme_delivered_to_globex_sends_no_token_request(world: World) -> None:
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    response = await browser.step(callback.replace("/t/acme/", "/t/globex/"), site="cross-site")
    assert response.status == 400
    assert _token_requests(world) == (0, 0)
    assert stored(world)["logins"] == []
    finished = await browser.step(callback, site="cross-site")
    assert finished.status == 303, "the mix-up consumed the attempt of acme"


@pytest.mark.parametrize("iss", ["acme", "missing", "both"])
@pytest.mark.gen_test
async def test_T1_a_code_of_acme_with_a_state_of_globex_sends_no_token_request(
    world: World, iss: str
) -> None:
    browser = world.browser()
    callback = _query(await world.stop_before_callback(browser, "acme"))
    state = (await _begin(world, browser, "globex"))["state"]
    issuers = {"acme": [world.acme.issuer], "missing": [], "both": [world.globex.issuer, world.acme.issuer]}
    query = [("code", callback["code"]), ("state", state), *(("iss", value) for value in issuers[iss])]
    response = await browser.step(world.at(f"/t/globex/callback?{urlencode(query)}"), site="cross-site")
    assert response.status == 400
    assert _token_requests(world) == (0, 0)
    assert stored(world)["logins"] == []


@pytest.mark.gen_test
async def test_T1_a_provider_that_redirects_its_user_to_another_gets_no_code(world: World) -> None:
    """The mix-up attack of RFC 9700 4.4: globex is hostile and forwards its own request to acme."""
    browser = world.browser()
    request = await _begin(world, browser, "globex")
    world.acme.automatic_user = "alice"
    acme_client = world.acme.settings.clients[0]
    forwarded = request | {
        "client_id": acme_client.client_id,
        "redirect_uri": acme_client.redirect_uris[0],
        "audience": acme_client.audiences[0],
        "scope": "openid",
    }
    responded = await browser.step(f"{world.acme.issuer}/authorize?{urlencode(forwarded)}", site="cross-site")
    assert "code=" in responded.headers["Location"]
    response = await browser.step(responded.headers["Location"], site="cross-site")
    assert response.status == 400
    assert _token_requests(world) == (0, 0)


# --- T2: the issuer of another tenant


def _claim(provider: FaultyProvider, **claims: object) -> None:
    provider.faults.mutate_id_token = lambda header, body: body.update(claims)


@pytest.mark.gen_test
async def test_T2_a_provider_whose_metadata_states_another_issuer_is_refused(world: World) -> None:
    world.acme.faults.mutate_metadata = lambda metadata: metadata.update(issuer=world.globex.issuer)
    response = await world.browser().step(world.at("/t/acme/login"))
    assert response.status == 502
    assert "Location" not in response.headers
    assert stored(world)["attempts"] == []


@pytest.mark.gen_test
async def test_T2_an_id_token_that_asserts_the_issuer_of_another_tenant_is_rejected(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "globex")
    before = stored(world)["logins"]
    _claim(world.acme, iss=world.globex.issuer, sub="globex-7f3a")
    response = await browser.step(await world.stop_before_callback(browser, "acme"), site="cross-site")
    assert response.status == 400
    assert stored(world)["logins"] == before


@pytest.mark.gen_test
async def test_T2_the_same_subject_of_two_issuers_is_two_users(world: World) -> None:
    browser, other = world.browser(), world.browser()
    await world.sign_in(browser, "acme", "sam")
    await world.sign_in(other, "globex", "sam")
    at_acme, at_globex = await world.login_of(browser, "acme"), await world.login_of(other, "globex")
    assert at_acme is not None
    assert at_globex is not None
    assert at_acme.subject == at_globex.subject
    assert at_acme.issuer != at_globex.issuer
    assert await world.login_of(browser, "globex") is None
    assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 401
    assert (await other.fetch(world.at("/t/acme/api/orders"))).status == 401
    assert world.globex_api.calls.total() == world.acme_api.calls.total() == 0


# --- T3: a login at one tenant has no effect at another


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.gen_test
async def test_T3_a_session_of_acme_cannot_call_the_api_of_globex(world: World, method: str) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    response = await browser.fetch(world.at("/t/globex/api/projects"), method)
    assert response.status == 401
    assert json.loads(response.body)["code"] == "login_required"
    assert world.globex_api.calls.total() == 0


@pytest.mark.gen_test
async def test_T3_the_explorer_of_globex_refuses_a_session_of_acme(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    body = urlencode({"method": "GET", "path": "/projects"})
    response = await browser.step(world.at("/t/globex/developer"), "POST", body, site="same-origin")
    assert response.status == 401
    assert world.globex_api.calls.total() == world.acme_api.calls.total() == 0


@pytest.mark.gen_test
async def test_T3_each_api_receives_only_the_token_of_its_own_tenant(world: World) -> None:
    browser = world.browser()
    own = {}
    for tenant in ("acme", "globex"):
        await world.quick_sign_in(browser, tenant)
        login = await world.login_of(browser, tenant)
        assert login is not None
        token = world.running.tokens.open(login).access_token.reveal()
        own[tenant] = hashlib.sha256(token.encode()).hexdigest()
    calls = [
        browser.fetch(world.at(f"/t/{tenant}/api/echo?n={number}"))
        for number in range(10)
        for tenant in ("acme", "globex")
    ]
    assert {response.status for response in await asyncio.gather(*calls)} == {200}
    assert {call.bearer for call in world.acme_api.received} == {own["acme"]}
    assert {call.bearer for call in world.globex_api.received} == {own["globex"]}


@pytest.mark.gen_test
async def test_T3_concurrent_calls_of_many_users_are_never_mixed_up(world: World) -> None:
    users = {"acme-001": ("acme", "alice"), "acme-002": ("acme", "bob"), "globex-9b21": ("globex", "hank")}
    browsers = {subject: world.browser() for subject in users}
    for subject, (tenant, user) in users.items():
        await world.sign_in(browsers[subject], tenant, user)

    async def call(subject: str) -> tuple[str, str]:
        response = await browsers[subject].fetch(world.at(f"/t/{users[subject][0]}/api/echo"))
        return subject, json.loads(response.body)["authorization"]["subject"]

    pairs = await asyncio.gather(*(call(subject) for _ in range(30) for subject in users))
    assert len(pairs) == 90
    assert all(caller == subject for caller, subject in pairs)


# --- T4: responses of an API are data (test_response_threats.py has the headers)


@pytest.mark.parametrize("name", ["html", "svg", "script", "service-worker", "html-as-text", "no-type"])
@pytest.mark.gen_test
async def test_T4_a_page_or_script_of_an_api_cannot_be_opened_or_loaded(world: World, name: str) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    url = world.at(f"/t/acme/api/hostile/{name}")
    navigation = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}
    script = {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}
    worker = {"Sec-Fetch-Mode": "same-origin", "Sec-Fetch-Dest": "serviceworker", "Service-Worker": "script"}
    for headers in (navigation, script, worker):
        for site in ("same-origin", "none", "cross-site"):
            response = await browser.fetch(url, headers=headers, site=site, csrf=False)
            if (
                headers is navigation and site == "same-origin"
            ):  # a link or a download of the portal's own page
                assert "sandbox" in response.headers["Content-Security-Policy"]
                continue
            assert response.status == 403
            assert SCRIPT not in response.body
    assert world.acme_api.calls["hostile"] == 1


@pytest.mark.gen_test
async def test_T4_the_explorer_shows_a_page_of_an_api_as_text(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    for name in HOSTILE:
        body = urlencode({"method": "GET", "path": f"/hostile/{name}"})
        response = await browser.step(world.at("/t/acme/developer"), "POST", body, site="same-origin")
        assert response.status == 200, name
        assert SCRIPT.decode() not in response.text
        assert "<script>" not in response.text
        assert not {"portal", "portal_session", "a", "__Host-portal"} & {
            header.partition("=")[0] for header in response.headers.get_list("Set-Cookie")
        }, name
        for header in ("Location", "Refresh", "Clear-Site-Data", "Service-Worker-Allowed"):
            assert header not in response.headers, name


@pytest.mark.gen_test
async def test_T4_a_cookie_of_an_api_is_not_sent_with_the_next_call(world: World) -> None:
    alice, bob = world.browser(), world.browser()
    await world.sign_in(alice, "acme", "alice")
    await world.sign_in(bob, "acme", "bob")
    await alice.fetch(world.at("/t/acme/api/hostile/set-cookie"))
    for browser in (alice, bob):
        echoed = json.loads((await browser.fetch(world.at("/t/acme/api/echo"))).body)
        assert "cookie" not in {name.lower() for name, _ in echoed["headers"]}


# --- T9: a tenant with live logins is removed or changed


@pytest.mark.gen_test
async def test_T9_logins_of_a_removed_tenant_are_not_usable(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    (world.parts.tenants_folder / "acme.yaml").unlink()
    await until(lambda: world.running.portal.registry.get("acme") is None, "acme is still live")
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 404
    assert (await browser.step(world.at("/t/acme/"))).status == 404
    assert (await browser.step(world.at("/t/acme/login"))).status == 404
    assert world.acme_api.calls.total() == 0
    sessions = json.loads((await browser.fetch(world.at("/session"))).body)
    assert [tenant["slug"] for tenant in sessions["tenants"]] == ["globex"]
    assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 200


@pytest.mark.gen_test
async def test_T9_a_removed_tenant_looks_like_one_that_never_existed(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    (world.parts.tenants_folder / "acme.yaml").unlink()
    await until(lambda: world.running.portal.registry.get("acme") is None, "acme is still live")

    def plain(text: str, slug: str, request_id: str) -> str:
        text = re.sub(r'name="_xsrf" value="[^"]*"|data-ends-in="[0-9]+"', "", text)
        return text.replace(slug, "?").replace(request_id, "!")

    for path in ("/", "/login", "/callback?code=a&state=b", "/api/orders", "/signed-out"):
        gone = await browser.step(world.at(f"/t/acme{path}"), site="same-origin")
        never = await browser.step(world.at(f"/t/nobody{path}"), site="same-origin")
        assert gone.status == never.status
        assert plain(gone.text, "acme", gone.headers["X-Request-Id"]) == plain(
            never.text, "nobody", never.headers["X-Request-Id"]
        )


@pytest.mark.parametrize("change", ["client", "issuer"])
@pytest.mark.gen_test
async def test_T9_a_changed_registration_ends_its_logins_and_uses_no_old_token(
    world: World, change: str
) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    await world.expire_access_token(browser, "acme")
    if change == "client":
        change_tenant(world, "acme", client={"id": "another-client"})
    else:
        change_tenant(world, "acme", issuer=f"{world.acme.issuer}/")
    requests = dict(world.acme.requests)
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 401
    assert "Continue" in (await browser.step(world.at("/t/acme/"))).text
    assert "Alice" not in (await browser.step(world.at("/account"))).text
    assert world.acme_api.calls.total() == 0
    assert world.acme.requests["refresh"] == requests.get("refresh", 0) == 0
    assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 200


@pytest.mark.gen_test
async def test_T9_a_login_begun_under_an_old_registration_is_not_finished(world: World) -> None:
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    change_tenant(world, "acme", client={"id": "another-client"})
    response = await browser.step(callback, site="cross-site")
    assert response.status == 400
    assert world.acme.requests["token"] == 0
    assert stored(world)["sessions"] == []


@pytest.mark.gen_test
async def test_T9_a_token_refreshed_while_its_registration_changes_is_not_used(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.expire_access_token(browser, "acme")
    hold = asyncio.Event()
    world.acme.faults.endpoints["refresh"] = EndpointFault(hold=hold)
    call = asyncio.ensure_future(browser.fetch(world.at("/t/acme/api/orders")))
    await until(lambda: world.acme.requests["refresh"], "no refresh began")
    change_tenant(world, "acme", client={"id": "another-client"})
    hold.set()
    assert (await call).status == 401
    assert world.acme_api.calls.total() == 0


async def _pass_time(world: World, seconds: float, upkeep: RegistrationUpkeep) -> None:
    for _ in range(round(seconds / 10)):
        world.clock.advance(10)
        await upkeep.update()


@pytest.mark.parametrize("change", ["removed", "client"])
@pytest.mark.parametrize(("seconds", "status"), [(30, 200), (120, 401)], ids=["at once", "late"])
@pytest.mark.gen_test
async def test_T9_a_tenant_that_is_restored_late_has_no_logins(
    world: World, change: str, seconds: float, status: int
) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    upkeep = TenantUpkeep(world.running.portal, world.running.stored_tenants).registrations
    await upkeep.update()
    path = world.parts.tenants_folder / "acme.yaml"
    text = path.read_text()
    if change == "removed":
        path.unlink()
        await until(lambda: world.running.portal.registry.get("acme") is None, "acme is still live")
    else:
        change_tenant(world, "acme", client={"id": "another-client"})
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status in {401, 404}
    await _pass_time(world, seconds, upkeep)
    path.write_text(text)
    world.running.portal.registry.load()
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == status
    assert len(stored(world)["logins"]) == (1 if status == 200 else 0)


@pytest.mark.gen_test
async def test_T9_an_invalid_tenant_file_signs_no_user_out(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    (world.parts.tenants_folder / "acme.yaml").write_text("name: [\n")
    world.running.portal.registry.load()
    assert "acme.yaml" in world.running.portal.registry.problems
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
    assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 200
