"""The second factor of the development provider, and the sample API's requests for a step-up."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from portal.demo.provider_model import Grant
from tests.kit.samples import ManualClock
from tests.unit.demo.parties import ALICE, claims, document, returned, serving
from tests.unit.demo.test_api import AUDIENCE, Caller, calling

ESSENTIAL = {"id_token": {"acr": {"essential": True, "values": ["gold", "mfa"]}}}


@pytest.mark.parametrize("asked", [{"acr_values": "gold mfa"}, {"claims": json.dumps(ESSENTIAL)}], ids=str)
@pytest.mark.gen_test
async def test_a_request_for_a_second_factor_shows_its_page_once(
    signing_key: RSAPrivateKey, asked: dict[str, str]
) -> None:
    clock = ManualClock()
    async with serving(signing_key, clock=clock) as party:
        page = await party.follow(await party.fill_in("alice", "pw-alice", **asked))
        clock.advance(10)
        wrong = await party.send_form(page, code="000000")
        assert (wrong.status, "The code is wrong" in wrong.text) == (401, True)
        response = returned(await party.send_form(page, code="246 810"))
        tokens = document(await party.exchange(response["code"]))
        for token in (tokens["id_token"], tokens["access_token"]):
            assert claims(token)["acr"] == "mfa"
            assert claims(token)["auth_time"] == clock()
        again = returned(await party.ask(prompt="none", **asked))
        assert claims(document(await party.exchange(again["code"]))["id_token"])["acr"] == "mfa"


@pytest.mark.gen_test
async def test_a_sign_in_that_did_not_ask_has_no_acr(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        tokens = await party.tokens()
        assert "acr" not in claims(tokens["id_token"])
        assert "acr" not in claims(tokens["access_token"])
        stated = await party.tokens(acr_values="pwd mfa")
        assert claims(stated["id_token"])["acr"] == "pwd"


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"prompt": "none", "acr_values": "mfa"}, "interaction_required"),
        (
            {"claims": '{"id_token":{"acr":{"essential":true,"value":"gold"}}}'},
            "unmet_authentication_requirements",
        ),
        ({"claims": "{"}, "invalid_request"),
        ({"claims": '{"id_token":5}'}, "invalid_request"),
        ({"claims": "[]"}, "invalid_request"),
    ],
)
@pytest.mark.gen_test
async def test_a_second_factor_that_cannot_be_asked_for_is_an_error(
    signing_key: RSAPrivateKey, asked: dict[str, str], error: str
) -> None:
    async with serving(signing_key) as party:
        await party.sign_in()
        assert returned(await party.ask(**asked))["error"] == error


@pytest.mark.gen_test
async def test_a_user_can_cancel_the_second_factor(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        page = await party.follow(await party.fill_in("alice", "pw-alice", acr_values="mfa"))
        assert returned(await party.send_form(page, button="cancel"))["error"] == "access_denied"


@pytest.mark.gen_test
async def test_the_page_needs_a_session(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        page = await party.ask(acr_values="mfa")
        assert page.headers["Location"].startswith("/sign-in/")
        path = page.headers["Location"].replace("/sign-in/", "/second-factor/")
        assert (await party.browser.step(party.absolute(path))).status == 403


def stepped_up(caller: Caller, *, acr: str | None = "mfa", scope: tuple[str, ...] = ()) -> str:
    grant = Grant("client", ALICE, scope, (AUDIENCE,), "sid", caller.api.settings.clock(), None)
    return caller.provider.mint.access_token(replace(grant, acr=acr), scope, (AUDIENCE,)).value


@pytest.mark.gen_test
async def test_the_api_asks_for_a_second_factor(signing_key: RSAPrivateKey) -> None:
    clock = ManualClock()
    async with calling(signing_key, clock) as caller:
        for acr in (None, "pwd"):
            refused = await caller.call("/secrets", stepped_up(caller, acr=acr))
            assert refused.code == 401
            assert 'error="insufficient_user_authentication"' in refused.headers["WWW-Authenticate"]
            assert refused.headers["WWW-Authenticate"].endswith('acr_values="mfa"')
        token = stepped_up(caller)
        assert (await caller.call("/secrets", token)).code == 200
        clock.advance(31)
        refused = await caller.call("/secrets?max_age=30", token)
        assert refused.headers["WWW-Authenticate"].endswith('acr_values="mfa", max_age="30"')
        assert (await caller.call("/secrets?max_age=60", token)).code == 200


@pytest.mark.gen_test
async def test_a_record_is_deleted_with_its_scope(signing_key: RSAPrivateKey) -> None:
    async with calling(signing_key) as caller:
        refused = await caller.call("/orders/A-1001", method="DELETE")
        assert refused.code == 403
        assert 'scope="delete:orders"' in refused.headers["WWW-Authenticate"]
        token = stepped_up(caller, scope=("delete:orders", "write:orders"))
        assert (await caller.call("/orders/A-1001", token, method="DELETE")).code == 204
        assert (await caller.call("/orders/A-1001", token, method="DELETE")).code == 404
        added = [await caller.call("/orders", token, method="POST", body="{}") for _ in range(2)]
        assert [json.loads(one.body)["id"] for one in added] == ["NEW-4", "NEW-5"]
