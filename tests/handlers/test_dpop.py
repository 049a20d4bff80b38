"""DPoP-bound tokens (RFC 9449) from the sign-in to the API. The faulty provider and API check the proofs."""

from __future__ import annotations

import asyncio
import json
import secrets

import pytest

from portal.demo.compact import read
from portal.oidc.dpop import DpopKey
from tests.kit.browser import Browser
from tests.kit.faulty.api import ReceivedCall
from tests.kit.faulty.dpop import ProofVerifier
from tests.kit.provider_logout import sid_of
from tests.kit.raw import change_tenant
from tests.kit.world import World
from tests.unit.oidc.dpop_reading import Proof, read_proof


class EverChangingNonce(ProofVerifier):
    """Requires another nonce than the one it sent."""

    def headers(self) -> list[tuple[str, str]]:
        self.nonce = secrets.token_hex(4)
        return [("DPoP-Nonce", "never the right one")]


async def _signed_in(world: World) -> Browser:
    change_tenant(world, "acme", dpop=True)
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    return browser


async def _key(world: World, browser: Browser) -> DpopKey:
    login = await world.login_of(browser, "acme")
    assert login is not None
    key = world.running.tokens.open(login).dpop_key
    assert key is not None
    return key


def _proof(call: ReceivedCall) -> Proof:
    (value,) = [value for name, value in call.headers if name.lower() == "dpop"]
    return read_proof(value)


def _refreshes(world: World) -> int:
    return world.acme.requests["refresh"]


@pytest.mark.gen_test
async def test_a_bound_token_is_requested_received_and_used_with_a_proof(world: World) -> None:
    browser = await _signed_in(world)
    key = await _key(world, browser)
    requested = next(one for one in world.acme.received if one.endpoint == "authorize")
    assert requested.parameters["dpop_jkt"] == [key.thumbprint]
    response = await browser.fetch(world.at("/t/acme/api/echo?q=1"), "POST", body=b"{}")
    assert response.status == 200, response.text
    proof = _proof(world.acme_api.received[-1])
    assert proof.thumbprint == key.thumbprint
    assert proof.claims["htm"] == "POST"
    assert proof.claims["htu"] == f"{world.parts.api_url('acme')}/echo"
    assert {"ath", "iat", "jti"} <= proof.claims.keys()


@pytest.mark.gen_test
async def test_every_call_has_its_own_proof(world: World) -> None:
    browser = await _signed_in(world)
    responses = await asyncio.gather(*(browser.fetch(world.at("/t/acme/api/echo")) for _ in range(20)))
    assert {response.status for response in responses} == {200}
    assert len(world.acme_api.proofs.seen) == 20


@pytest.mark.gen_test
async def test_each_login_has_its_own_key(world: World) -> None:
    one, two = await _signed_in(world), await _signed_in(world)
    assert await _key(world, one) != await _key(world, two)


@pytest.mark.gen_test
async def test_the_browsers_proof_and_the_apis_nonce_are_not_forwarded(world: World) -> None:
    browser = await _signed_in(world)
    world.acme_api.proofs.nonce = "n-1"
    response = await browser.fetch(world.at("/t/acme/api/echo"), headers={"DPoP": "forged"})
    assert response.status == 200
    assert "DPoP-Nonce" not in response.headers
    _proof(world.acme_api.received[-1])
    await world.quick_sign_in(browser, "globex")  # its tokens are not bound
    await browser.fetch(world.at("/t/globex/api/echo"), headers={"DPoP": "forged"})
    assert "dpop" not in {name.lower() for name, _ in world.globex_api.received[-1].headers}


@pytest.mark.gen_test
async def test_a_nonce_of_the_api_is_used_in_a_second_call_without_a_refresh(world: World) -> None:
    browser = await _signed_in(world)
    world.acme_api.proofs.nonce = "n-1"
    response = await browser.fetch(world.at("/t/acme/api/echo"), "POST", body=b"kept")
    assert (response.status, json.loads(response.body)["body"]) == (200, "kept")
    first, second = [_proof(call).claims for call in world.acme_api.received]
    assert ("nonce" in first, second["nonce"]) == (False, "n-1")
    assert first["jti"] != second["jti"]
    assert _refreshes(world) == 0
    assert (await browser.fetch(world.at("/t/acme/api/echo"))).status == 200
    assert world.acme_api.calls["echo"] == 3  # the nonce was cached


@pytest.mark.gen_test
async def test_many_parallel_calls_all_use_the_new_nonce(world: World) -> None:
    browser = await _signed_in(world)
    for nonce in ("n-1", "n-2"):
        world.acme_api.proofs.nonce = nonce
        responses = await asyncio.gather(*(browser.fetch(world.at("/t/acme/api/echo")) for _ in range(20)))
        assert {response.status for response in responses} == {200}
    assert _refreshes(world) == 0


@pytest.mark.gen_test
async def test_a_refused_token_is_refreshed_with_the_same_key_and_then_uses_the_nonce(world: World) -> None:
    browser = await _signed_in(world)
    key = await _key(world, browser)
    world.acme_api.refuse_next = 1
    world.acme_api.proofs.nonce = "n-1"
    world.acme.proofs.nonce = "p-1"
    response = await browser.fetch(world.at("/t/acme/api/echo"), "POST", body=b"kept")
    assert (response.status, json.loads(response.body)["body"]) == (200, "kept")
    assert await _key(world, browser) == key
    assert _refreshes(world) == 2  # the provider first required its nonce
    assert {_proof(call).thumbprint for call in world.acme_api.received} == {key.thumbprint}


@pytest.mark.gen_test
async def test_a_nonce_that_changes_during_the_refresh_is_used_too(world: World) -> None:
    browser = await _signed_in(world)
    world.acme_api.refuse_next = 1
    api = world.acme_api
    world.acme.faults.mutate_token_response = lambda _: setattr(api.proofs, "nonce", "n-2")
    response = await browser.fetch(world.at("/t/acme/api/echo"), "POST", body=b"kept")
    assert (response.status, json.loads(response.body)["body"]) == (200, "kept")
    assert (_refreshes(world), api.calls["echo"]) == (1, 3)


@pytest.mark.gen_test
async def test_a_nonce_challenge_and_then_a_refused_token_cause_one_refresh(world: World) -> None:
    browser = await _signed_in(world)
    world.acme_api.proofs.nonce = "n-1"
    token = await world.expire_access_token(browser, "acme")
    assert (await browser.fetch(world.at("/t/acme/api/echo"))).status == 200
    assert _refreshes(world) == 1
    login = await world.login_of(browser, "acme")
    assert login is not None
    assert world.running.tokens.open(login).access_token != token


@pytest.mark.gen_test
async def test_an_api_that_never_accepts_a_nonce_is_called_twice_and_its_401_forwarded(world: World) -> None:
    browser = await _signed_in(world)
    world.acme_api.proofs = EverChangingNonce(world.clock)
    response = await browser.fetch(world.at("/t/acme/api/echo"))
    assert (response.status, world.acme_api.calls["echo"]) == (401, 2)
    assert _refreshes(world) == 0
    assert await world.login_of(browser, "acme") is not None


@pytest.mark.gen_test
async def test_a_streamed_body_is_not_sent_again_and_the_401_is_forwarded(world: World) -> None:
    browser = await _signed_in(world)
    world.acme_api.proofs.nonce = "n-1"
    body = b"x" * (1024 * 1024)
    response = await browser.fetch(world.at("/t/acme/api/upload"), "POST", body=body)
    assert (response.status, world.acme_api.calls["upload"]) == (401, 1)
    assert _refreshes(world) == 0
    again = await browser.fetch(world.at("/t/acme/api/upload"), "POST", body=body)
    assert again.status == 200  # the nonce was learned from the challenge


@pytest.mark.gen_test
async def test_a_provider_that_issues_bearer_tokens_with_dpop_is_refused(world: World) -> None:
    change_tenant(world, "acme", dpop=True)
    world.acme.faults.token_type = "Bearer"
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    response = await browser.step(callback, site="cross-site")
    assert response.status == 502
    assert "without the required protection" in response.text
    assert browser.cookie("localhost", "portal") is None


@pytest.mark.gen_test
async def test_the_providers_nonce_challenge_does_not_use_up_the_code(world: World) -> None:
    world.acme.proofs.nonce = "p-1"
    browser = await _signed_in(world)
    assert (await browser.fetch(world.at("/t/acme/api/echo"))).status == 200
    assert world.acme.requests["code"] == 2


@pytest.mark.gen_test
async def test_a_stolen_bound_token_is_useless_without_the_key(world: World) -> None:
    browser = await _signed_in(world)
    login = await world.login_of(browser, "acme")
    assert login is not None
    token = world.running.tokens.open(login).access_token.reveal()
    assert "cnf" in read(token)[1]
    thief = world.browser()
    for scheme in ("Bearer", "DPoP"):
        response = await thief.fetch(
            f"{world.parts.api_url('acme')}/echo", headers={"Authorization": f"{scheme} {token}"}
        )
        assert response.status == 401


@pytest.mark.gen_test
async def test_logins_from_before_the_option_was_enabled_continue(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    change_tenant(world, "acme", dpop=True)
    await world.expire_access_token(browser, "acme")
    assert (await browser.fetch(world.at("/t/acme/api/echo"))).status == 200
    assert _refreshes(world) == 1


@pytest.mark.gen_test
async def test_claims_of_userinfo_are_requested_with_the_bound_token_and_shown(world: World) -> None:
    change_tenant(world, "acme", dpop=True, userinfo=True)
    world.acme.proofs.nonce = "p-1"
    world.acme.faults.mutate_userinfo = lambda claims: claims.update(department="road works", sid="forged")
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    login = await world.login_of(browser, "acme")
    assert login is not None
    assert login.claims["department"] == "road works"
    sid = await sid_of(world, browser)
    assert login.sid == world.running.vault.sid_hash("acme", login.issuer, sid)
    assert "sid" not in login.claims
    assert "road works" in (await browser.open(world.at("/t/acme/developer"))).text


@pytest.mark.gen_test
async def test_userinfo_of_another_user_fails_the_sign_in_and_nothing_is_stored(world: World) -> None:
    change_tenant(world, "acme", userinfo=True)
    world.acme.faults.mutate_userinfo = lambda claims: claims.update(sub="acme-002")
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    response = await browser.step(callback, site="cross-site")
    assert response.status == 502
    assert "sent data about two different users" in response.text
    assert browser.cookie("localhost", "portal") is None
