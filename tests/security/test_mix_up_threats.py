"""THREATS T1 inside one tenant: a hostile provider tries to get the response of an honest one.

`staff` is honest, `partners` is hostile: instead of signing its user in, it redirects the browser to `staff`
with the `state`, `nonce` and `code_challenge` of the attempt that the portal began at `partners`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import yaml

from tests.kit.browser import Browser, Response
from tests.kit.faulty.provider import FaultyProvider
from tests.kit.raw import stored
from tests.kit.world import World

MODES = ["query", "form_post", "query.jwt", "form_post.jwt"]
USERS = {"staff": "alice", "partners": "gina"}


def provider_of(world: World, name: str) -> FaultyProvider:
    return world.acme if name == "staff" else world.globex


def write_acme(world: World, *names: str, **options: object) -> None:
    """Give the tenant acme these providers, and register the callback URL of the portal at each."""
    folder = world.parts.tenants_folder
    written = {name: _registration(provider_of(world, name)) | options for name in names}
    tenant = {"name": "Acme", "providers": written}
    (folder / "acme.yaml").write_text(yaml.safe_dump(tenant))
    (folder / "globex.yaml").unlink(missing_ok=True)
    world.running.portal.registry.load()
    assert not world.running.portal.registry.problems
    live = world.running.portal.registry.get("acme")
    assert live is not None
    for name in names:
        provider = provider_of(world, name)
        callback_url = world.running.portal.sites.main.callback_url(live, name)
        client = provider.settings.clients[0]
        redirect_uris = dict.fromkeys((callback_url, *client.redirect_uris))
        provider.settings = replace(
            provider.settings,
            clients=(replace(client, redirect_uris=tuple(redirect_uris)),),
            consent_required=False,
        )


def _registration(provider: FaultyProvider) -> dict[str, object]:
    client = provider.settings.clients[0]
    return {
        "issuer": provider.issuer,
        "client": {"id": client.client_id, "secret": client.client_secret},
        "audience": client.audiences[0],
        "scopes": list(client.scopes),
    }


def omits_iss(provider: FaultyProvider) -> None:
    """Behave like a provider without RFC 9207."""
    provider.faults.response_iss = "missing"
    provider.faults.mutate_metadata = lambda metadata: metadata.update(
        authorization_response_iss_parameter_supported=False
    )


async def begin(world: World, browser: Browser, name: str) -> dict[str, str]:
    """Begin a login at a provider; return the parameters of the authorization request, pushed or not."""
    begun = await browser.step(world.at(f"/t/acme/login?provider={name}"))
    assert begun.status == 303, begun.text
    given = parse_qs(urlsplit(begun.headers["Location"]).query)
    if "request_uri" in given:
        pushed = provider_of(world, name).pushed[given["request_uri"][0]].parameters
        given = {key: list(values) for key, values in pushed.items()}
    return {key: values[0] for key, values in given.items()}


async def respond(world: World, browser: Browser, name: str, request: Mapping[str, str]) -> Response:
    """Sign the user in at a provider and deliver its response to the portal, as a browser does."""
    provider = provider_of(world, name)
    provider.automatic_user = USERS[name]
    responded = await browser.step(f"{provider.issuer}/authorize?{urlencode(request)}", site="cross-site")
    provider.automatic_user = None
    if responded.status == 303:
        return await browser.step(responded.headers["Location"], site="cross-site")
    (form,) = responded.forms
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Origin": "null"}
    cookie = browser.cookie("localhost", "portal-attempt-post")
    headers["Cookie"] = f"portal-attempt-post={cookie}" if cookie else "nothing=1"
    body = urlencode(dict(form.fields))
    posted = await browser.fetch(form.action, "POST", headers=headers, body=body, site=None, csrf=False)
    if posted.status != 303:
        return posted
    return await browser.step(world.at(posted.headers["Location"]), site="cross-site")


def for_staff(world: World, request: Mapping[str, str], redirect_uri: str | None = None) -> dict[str, str]:
    """Change the request of another provider's attempt into one for `staff`."""
    client = world.acme.settings.clients[0]
    return {
        **request,
        "client_id": client.client_id,
        "redirect_uri": redirect_uri or world.at("/t/acme/callback/staff"),
        "audience": client.audiences[0],
        "scope": "openid",
    }


def has_no_effect(world: World, response: Response) -> None:
    assert response.status == 400, response.text
    assert "Location" not in response.headers
    assert world.acme.requests["token"] == world.globex.requests["token"] == 0
    assert stored(world)["sessions"] == stored(world)["logins"] == []


@pytest.mark.parametrize("par", [False, True], ids=["in the URL", "pushed"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("iss", ["named", "missing"])
@pytest.mark.gen_test
async def test_T1_a_provider_does_not_get_the_response_of_another_of_the_same_tenant(
    world: World, mode: str, iss: str, par: bool, log_lines: io.StringIO
) -> None:
    write_acme(world, "staff", "partners", response_mode=mode, par=par)
    if iss == "missing":
        omits_iss(world.acme)
        omits_iss(world.globex)
    browser = world.browser()
    request = await begin(world, browser, "partners")
    assert request["redirect_uri"] == world.at("/t/acme/callback/partners")
    has_no_effect(world, await respond(world, browser, "staff", for_staff(world, request)))
    assert '"login_attempt_unknown"' in log_lines.getvalue()
    world.globex.faults.response_iss = "right"  # JARM 2.1: a signed response always names its issuer
    done = await respond(world, browser, "partners", request)
    assert done.status == 303, "the response at the wrong redirect URI consumed the attempt"
    (login,) = stored(world)["logins"]
    assert world.globex.issuer in login
    assert world.acme.requests["token"] == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.gen_test
async def test_T1_a_tenant_with_several_providers_accepts_no_response_at_the_shared_redirect_uri(
    world: World, mode: str
) -> None:
    """`staff` still has the shared redirect URI from when it was the only provider."""
    write_acme(world, "staff", response_mode=mode)
    write_acme(world, "staff", "partners", response_mode=mode)
    omits_iss(world.acme)
    browser = world.browser()
    request = await begin(world, browser, "partners")
    forged = for_staff(world, request, world.at("/t/acme/callback"))
    has_no_effect(world, await respond(world, browser, "staff", forged))


@pytest.mark.parametrize("par", [False, True], ids=["in the URL", "pushed"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.gen_test
async def test_users_of_both_providers_sign_in(world: World, mode: str, par: bool) -> None:
    write_acme(world, "staff", "partners", response_mode=mode, par=par)
    for name, person in (("staff", "Alice Archer"), ("partners", "Gina Gomez")):
        browser, provider = world.browser(), provider_of(world, name)
        provider.automatic_user = USERS[name]
        page = await browser.open(world.at(f"/t/acme/login?provider={name}"))
        home = await world.post_back(browser, page)
        provider.automatic_user = None
        assert home.url == world.at("/t/acme/")
        assert person in home.text


@pytest.mark.gen_test
async def test_two_tabs_at_two_providers_each_finish_their_own_login(world: World) -> None:
    write_acme(world, "staff", "partners")
    browser = world.browser()
    requests = {name: await begin(world, browser, name) for name in ("staff", "partners")}
    for name, request in requests.items():
        assert (await respond(world, browser, name, request)).status == 303
    assert (world.acme.requests["token"], world.globex.requests["token"]) == (1, 1)


@pytest.mark.parametrize("name", ["nobody", "default", "finish", "staff/", "STAFF", "staff%2e", "%73taff"])
@pytest.mark.gen_test
async def test_T1_a_response_at_the_redirect_uri_of_an_unknown_provider_has_no_effect(
    world: World, name: str
) -> None:
    write_acme(world, "staff", "partners")
    browser = world.browser()
    request = await begin(world, browser, "staff")
    response = await browser.step(world.at(f"/t/acme/callback/{name}?code=c&state={request['state']}"))
    assert response.status in {400, 404}
    assert world.acme.requests["token"] == 0
    assert (await respond(world, browser, "staff", request)).status == 303


# --- a tenant that gains or loses a provider during a login


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.gen_test
async def test_T1_an_attempt_from_before_the_second_provider_must_be_started_again(
    world: World, mode: str
) -> None:
    """Its response arrives at the shared redirect URI, which no longer identifies a provider."""
    write_acme(world, "staff", response_mode=mode)
    browser = world.browser()
    request = await begin(world, browser, "staff")
    assert request["redirect_uri"] == world.at("/t/acme/callback")
    write_acme(world, "staff", "partners", response_mode=mode)
    refused = await respond(world, browser, "staff", request)
    has_no_effect(world, refused)
    assert "Start again" in refused.text
    again = await respond(world, browser, "staff", await begin(world, browser, "staff"))
    assert again.status == 303


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.gen_test
async def test_an_attempt_from_before_the_other_provider_was_removed_is_finished(
    world: World, mode: str
) -> None:
    """Its redirect URI names its provider, so a mix-up is impossible."""
    write_acme(world, "staff", "partners", response_mode=mode)
    browser = world.browser()
    request = await begin(world, browser, "staff")
    write_acme(world, "staff", response_mode=mode)
    assert (await respond(world, browser, "staff", request)).status == 303
    assert world.acme.requests["token"] == 1


@pytest.mark.gen_test
async def test_T1_an_attempt_at_a_removed_provider_is_not_finished(world: World) -> None:
    write_acme(world, "staff", "partners")
    browser = world.browser()
    request = await begin(world, browser, "partners")
    write_acme(world, "staff")
    has_no_effect(world, await respond(world, browser, "partners", request))


@pytest.mark.gen_test
async def test_the_account_page_shows_who_signed_in_at_which_provider(world: World) -> None:
    write_acme(world, "staff", "partners")
    browser = world.browser()
    await respond(world, browser, "partners", await begin(world, browser, "partners"))
    info = json.loads((await browser.fetch(world.at("/session"))).body)
    assert [one["user"] for one in info["tenants"]] == ["Gina Gomez"]
