"""Front-channel logout, end to end (OpenID Connect Front-Channel Logout 1.0)."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
import yaml

from portal.demo.compact import JsonObject
from tests.kit.browser import Response
from tests.kit.provider_logout import Provider, calls, set_claims, sid_of
from tests.kit.world import World


def _ancestors(response: Response) -> str:
    directives = dict(part.strip().partition(" ")[::2] for part in response.headers[_POLICY].split(";"))
    return directives["frame-ancestors"]


_POLICY = "Content-Security-Policy"


@pytest.mark.gen_test
async def test_a_frame_at_the_provider_ends_the_login_without_any_cookie(world: World) -> None:
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    response = await provider.frame(iss=provider.issuer, sid=await sid_of(world, browser))
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/html")
    assert response.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in response.headers
    assert await calls(world, browser, "acme") == 401
    assert await calls(world, browser, "globex") == 200


@pytest.mark.gen_test
async def test_the_response_may_be_framed_by_that_issuer_only(world: World) -> None:
    provider = Provider(world)
    response = await provider.frame(iss=provider.issuer, sid="s")
    assert _ancestors(response) == provider.issuer
    assert "X-Frame-Options" not in response.headers
    assert "default-src 'none'" in response.headers[_POLICY]
    refused = await provider.frame(iss="https://evil.example", sid="s")
    assert (refused.status, _ancestors(refused)) == (400, "'none'")


@pytest.mark.gen_test
async def test_a_refused_frame_is_logged_in_one_line_without_the_session_id(
    world: World, log_lines: io.StringIO
) -> None:
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    sid = await sid_of(world, browser)
    log_lines.truncate(0)
    assert (await provider.frame(iss="https://evil.example", sid=sid)).status == 400
    assert (await provider.frame(iss=provider.issuer, sid=sid)).status == 200
    lines = [json.loads(line) for line in log_lines.getvalue().replace("\0", "").splitlines()]
    (line,) = [line for line in lines if line["level"] == "warning"]
    assert (line["event"], line["tenant"], line["rule"]) == ("provider_logout_rejected", "acme", "iss")
    assert line["request_id"]
    assert sid not in log_lines.getvalue()


@pytest.mark.gen_test
async def test_an_unknown_session_gets_the_same_response_as_a_known_one(world: World) -> None:
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    known = await provider.frame(iss=provider.issuer, sid=await sid_of(world, browser))
    unknown = await provider.frame(iss=provider.issuer, sid="unknown")
    own = ("X-Request-Id", "Date")
    assert (known.status, known.body) == (unknown.status, unknown.body)
    assert {k: v for k, v in known.headers.get_all() if k not in own} == {
        k: v for k, v in unknown.headers.get_all() if k not in own
    }


@pytest.mark.parametrize(
    "query",
    [
        "",
        "iss={iss}",
        "sid={sid}",
        "iss={iss}&sid=",
        "iss=&sid={sid}",
        "iss={iss}/&sid={sid}",
        "iss={iss}&iss={iss}&sid={sid}",
        "iss={iss}&sid={sid}&sid={sid}",
        "iss={iss}&sid=%ff",
        "iss={iss}&sid=%00",
        "iss=%ff&sid={sid}",
        "iss={globex}&sid={sid}",
        "iss={iss}&sid={long}",
    ],
)
@pytest.mark.gen_test
async def test_a_frontchannel_logout_requires_one_iss_and_one_sid_of_this_tenant(
    world: World, query: str
) -> None:
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    values = {
        "iss": provider.issuer,
        "sid": await sid_of(world, browser),
        "globex": world.globex.issuer,
        "long": "x" * 2100,
    }
    url = world.at(f"/t/acme/frontchannel-logout?{query.format(**values)}")
    response = await provider.caller.fetch(url, site="cross-site", csrf=False)
    assert response.status == 400
    assert response.headers["Content-Type"].startswith("text/html")
    assert response.text.endswith(f"<p>Not signed out. Request id: {response.headers['X-Request-Id']}")
    assert await calls(world, browser) == 200


@pytest.mark.gen_test
async def test_a_frontchannel_logout_at_another_tenant_ends_nothing(world: World) -> None:
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    sid = await sid_of(world, browser)
    assert (await provider.frame(tenant="globex", iss=provider.issuer, sid=sid)).status == 400
    assert (await provider.frame(tenant="globex", iss=world.globex.issuer, sid=sid)).status == 200
    assert await calls(world, browser) == 200


# --- Microsoft Entra ID, whose requests have no `iss`

DIRECTORY = "72f988bf-86f1-41af-91ab-2d7cd011db47"
ANOTHER = "11111111-2222-3333-4444-555555555555"


async def configure_entra(world: World, directory: str, *, twice: bool = False) -> None:
    """Let acme's provider issue tokens of an Entra directory.

    Parameters: directory, as in the tenant file; twice, whether that file has a second registration.
    """
    metadata = json.loads((await Provider(world).caller.fetch(f"{world.acme.issuer}/{_WELL_KNOWN}")).text)
    path = world.parts.tenants_folder / "acme.yaml"
    file = yaml.safe_load(path.read_text())
    written = file.get("providers", {}).get("default", file)
    entra: JsonObject = {
        **{key: written[key] for key in ("client", "audience", "scopes")},
        "preset": "entra",
        "issuer": f"{world.acme.issuer}/{directory}/v2.0",
        "discovery": False,
        "endpoints": {
            "authorization": metadata["authorization_endpoint"],
            "token": metadata["token_endpoint"],
            "jwks": metadata["jwks_uri"],
        },
        **({} if directory == DIRECTORY else {"tenant_ids": [DIRECTORY, ANOTHER]}),
    }
    rest = {key: file[key] for key in ("name", "api")}
    second = {**entra, "client": {**written["client"], "id": "second"}}
    providers = {"default": entra, "second": second} if twice else {"default": entra}
    path.write_text(json.dumps({**rest, "providers": providers}))
    world.running.portal.registry.load()
    assert not world.running.portal.registry.problems
    stated = f"{world.acme.issuer}/{DIRECTORY}/v2.0"
    world.acme.faults.mutate_id_token = set_claims(iss=stated, tid=DIRECTORY)
    world.acme.faults.response_iss = "missing"


_WELL_KNOWN = ".well-known/openid-configuration"


@pytest.mark.parametrize("directory", [DIRECTORY, "organizations"])
@pytest.mark.gen_test
async def test_a_frontchannel_logout_of_entra_ends_the_login_without_an_issuer(
    world: World, directory: str
) -> None:
    await configure_entra(world, directory)
    leaving, staying = world.browser(), world.browser()
    await world.quick_sign_in(leaving, "acme")
    await world.quick_sign_in(staying, "acme")
    provider = Provider(world)
    assert (await provider.frame(sid="another")).status == 200
    assert await calls(world, leaving) == 200
    response = await provider.frame(sid=await sid_of(world, leaving))
    assert (response.status, _ancestors(response)) == (200, world.acme.issuer)
    assert await calls(world, leaving) == 401
    assert await calls(world, staying) == 200


@pytest.mark.gen_test
async def test_iss_is_checked_where_directories_share_an_issuer(world: World) -> None:
    await configure_entra(world, "organizations")
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    sid = await sid_of(world, browser)
    base = world.acme.issuer
    assert (await provider.frame(iss=f"{base}/{ANOTHER}/v2.0", sid=sid)).status == 200
    assert (await provider.frame(iss=f"{base}/organizations/v2.0", sid=sid)).status == 400
    assert await calls(world, browser) == 200
    assert (await provider.frame(iss=f"{base}/{DIRECTORY}/v2.0", sid=sid)).status == 200
    assert await calls(world, browser) == 401


@pytest.mark.gen_test
async def test_a_login_stored_with_the_hash_of_its_directory_still_ends(world: World) -> None:
    await configure_entra(world, "organizations")
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    sid = await sid_of(world, browser)
    login = await world.login_of(browser, "acme")
    assert login is not None
    earlier = world.running.vault.sid_hash("acme", login.issuer, sid)
    assert earlier != login.sid
    await world.running.portal.store.put_login(replace(login, sid=earlier))
    assert (await Provider(world).frame(iss=login.issuer, sid=sid)).status == 200
    assert await calls(world, browser) == 401


@pytest.mark.gen_test
async def test_without_iss_exactly_one_registration_must_match(world: World, log_lines: io.StringIO) -> None:
    await configure_entra(world, "organizations")
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await configure_entra(world, "organizations", twice=True)
    log_lines.truncate(0)
    assert (await Provider(world).frame(sid=await sid_of(world, browser))).status == 400
    lines = [json.loads(line) for line in log_lines.getvalue().replace("\0", "").splitlines()]
    (line,) = [line for line in lines if line["level"] == "warning"]
    assert (line["event"], line["rule"]) == ("provider_logout_rejected", "iss")
    assert await calls(world, browser) == 200
