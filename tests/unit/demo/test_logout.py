"""Logout at the development provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from portal.demo.provider import Delivery
from tests.kit.samples import ManualClock
from tests.unit.demo.parties import CLIENT, PUBLIC, SIGNED_OUT, claims, returned, serving


class _LogoutTokenReceiver(RequestHandler):
    def initialize(self, received: list[str]) -> None:
        self.received = received

    def post(self) -> None:
        self.received.append(self.get_body_argument("logout_token"))


@asynccontextmanager
async def backchannel_endpoint() -> AsyncIterator[tuple[str, list[str]]]:
    """The URL of a back-channel logout endpoint, and the tokens it received."""
    received: list[str] = []
    sockets = bind_sockets(0, address="127.0.0.1")
    server = HTTPServer(Application([("/backchannel", _LogoutTokenReceiver, {"received": received})]))
    server.add_sockets(sockets)
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}/backchannel", received
    finally:
        server.stop()
        await server.close_all_connections()


@pytest.mark.gen_test
async def test_a_matching_hint_signs_out_without_confirmation(signing_key: RSAPrivateKey) -> None:
    clock = ManualClock()
    async with serving(signing_key, clock=clock) as party:
        hint = (await party.tokens())["id_token"]
        clock.advance(3600)
        response = await party.browser.step(
            party.url("/logout", id_token_hint=hint, post_logout_redirect_uri=SIGNED_OUT, state="a b&c")
        )
        assert response.headers["Location"] == f"{SIGNED_OUT}?state=a+b%26c"
        assert returned(await party.ask(prompt="none"))["error"] == "login_required"


@pytest.mark.parametrize("hinted", [True, False])
@pytest.mark.gen_test
async def test_without_a_matching_hint_the_user_must_confirm(
    signing_key: RSAPrivateKey, hinted: bool
) -> None:
    async with serving(signing_key) as party:
        hint = (await party.tokens())["id_token"] if hinted else None
        await party.sign_in("bob", "pw-bob", prompt="login")
        page = await party.browser.step(
            party.url(
                "/logout",
                id_token_hint=hint,
                client_id=CLIENT.client_id,
                post_logout_redirect_uri=SIGNED_OUT,
                state="s1",
            )
        )
        assert page.status == 200
        assert "code" in returned(await party.ask(prompt="none"))
        assert (await party.send_form(page, "confirm", _xsrf="")).status == 403
        assert "code" in returned(await party.ask(prompt="none"))
        response = await party.send_form(page, "confirm")
        assert response.headers["Location"] == f"{SIGNED_OUT}?state=s1"
        assert returned(await party.ask(prompt="none"))["error"] == "login_required"


@pytest.mark.parametrize(
    "parameters",
    [
        {"client_id": CLIENT.client_id, "post_logout_redirect_uri": SIGNED_OUT + "/"},
        {"client_id": CLIENT.client_id, "post_logout_redirect_uri": "https://evil.example/"},
        {"client_id": PUBLIC.client_id, "post_logout_redirect_uri": SIGNED_OUT},
        {"post_logout_redirect_uri": SIGNED_OUT},
        {"client_id": CLIENT.client_id, "id_token_hint": "not.a.token"},
    ],
)
@pytest.mark.gen_test
async def test_an_invalid_logout_request_changes_nothing(
    signing_key: RSAPrivateKey, parameters: dict[str, str]
) -> None:
    async with serving(signing_key) as party:
        await party.sign_in()
        response = await party.browser.step(party.url("/logout", **parameters))
        assert response.status == 400
        assert "Location" not in response.headers
        assert "code" in returned(await party.ask(prompt="none"))


@pytest.mark.gen_test
async def test_a_hint_of_another_client_is_refused(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        hint = (await party.tokens())["id_token"]
        response = await party.browser.step(party.url("/logout", id_token_hint=hint, client_id="public"))
        assert response.status == 400


@pytest.mark.gen_test
async def test_signing_out_twice_is_accepted(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        url = party.url("/logout", client_id=CLIENT.client_id, post_logout_redirect_uri=SIGNED_OUT)
        assert (await party.browser.step(url)).headers["Location"] == SIGNED_OUT
        assert "signed out" in (await party.browser.step(party.url("/logout"))).text


@pytest.mark.gen_test
async def test_signing_out_at_the_front_page_notifies_the_clients_of_the_session(
    signing_key: RSAPrivateKey,
) -> None:
    async with backchannel_endpoint() as (address, received):
        client = replace(CLIENT, backchannel_logout_uri=address)
        unused = replace(PUBLIC, backchannel_logout_uri=address)
        async with serving(signing_key, clients=(client, unused)) as party:
            identity = claims((await party.tokens())["id_token"])
            page = await party.browser.step(party.url("/"))
            assert "alice@acme.example" in page.text
            await party.send_form(page, "confirm")
            assert len(received) == 1
            logout_claims = party.provider.keys.verify(received[0])
            assert logout_claims["iss"] == party.provider.issuer
            assert logout_claims["aud"] == CLIENT.client_id
            assert logout_claims["sub"] == identity["sub"]
            assert logout_claims["sid"] == identity["sid"]
            assert logout_claims["events"] == {"http://schemas.openid.net/event/backchannel-logout": {}}
            assert logout_claims["jti"]
            assert "nonce" not in logout_claims


@pytest.mark.gen_test
async def test_signing_in_as_another_user_ends_the_first_session(signing_key: RSAPrivateKey) -> None:
    async with backchannel_endpoint() as (address, received):
        client = replace(CLIENT, backchannel_logout_uri=address)
        async with serving(signing_key, clients=(client,)) as party:
            await party.sign_in()
            await party.sign_in("bob", "pw-bob", prompt="login")
            assert [claims(token)["sub"] for token in received] == ["sub-alice"]


@pytest.mark.gen_test
async def test_an_administrator_can_sign_a_user_out_everywhere(signing_key: RSAPrivateKey) -> None:
    async with backchannel_endpoint() as (address, received):
        client = replace(CLIENT, backchannel_logout_uri=address)
        async with serving(signing_key, clients=(client,)) as party:
            await party.sign_in()
            party.browser.cookies.clear()
            await party.sign_in()
            party.browser.cookies.clear()
            await party.sign_in("bob", "pw-bob")
            assert await party.provider.sign_out_user("alice") == [Delivery(client.client_id, 200)] * 2
            assert len({claims(token)["sid"] for token in received}) == 2
            assert "code" in returned(await party.ask(prompt="none"))


@pytest.mark.gen_test
async def test_a_client_that_is_down_does_not_prevent_the_sign_out(signing_key: RSAPrivateKey) -> None:
    async with backchannel_endpoint() as (address, _):
        pass
    client = replace(CLIENT, backchannel_logout_uri=address)
    async with serving(signing_key, clients=(client,)) as party:
        await party.sign_in()
        assert await party.provider.sign_out_user("alice") == [Delivery(client.client_id, None)]
        assert returned(await party.ask(prompt="none"))["error"] == "login_required"


@pytest.mark.gen_test
async def test_tokens_without_offline_access_end_with_the_session(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        offline = await party.tokens()
        online = await party.tokens(scope="openid")
        await party.provider.sign_out_user("alice")
        assert (await party.get("/userinfo", online["access_token"])).code == 401
        assert (await party.get("/userinfo", offline["access_token"])).code == 200
        assert (await party.refresh(offline["refresh_token"])).code == 200
