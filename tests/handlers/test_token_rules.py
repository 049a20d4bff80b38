"""The rules in docs/protocol.md "Token endpoint" that are visible to a user or a tenant admin."""

from __future__ import annotations

import io
import json

import pytest

from tests.kit.world import World


@pytest.mark.gen_test
async def test_a_narrower_scope_than_requested_is_stored_and_shown(world: World) -> None:
    world.acme.faults.mutate_token_response = lambda response: response.update(
        scope="openid profile email roles offline_access read:orders"
    )
    browser = world.browser()
    page = await world.developer_page(browser, "acme")
    login = await world.login_of(browser, "acme")
    assert login is not None
    scope = world.running.tokens.open(login).scope
    assert "read:orders" in scope
    assert "write:orders" not in scope
    assert '<li class="chip chip-missing"><bdi>write:orders</bdi></li>' in page.text
    assert '<li class="chip chip-missing"><bdi>read:orders</bdi></li>' not in page.text


@pytest.mark.parametrize("error", ["invalid_grant", "invalid_client", "unauthorized_client", "invalid_scope"])
@pytest.mark.gen_test
async def test_an_error_of_the_token_endpoint_is_logged_with_the_tenant_and_shown_with_advice(
    world: World, log_lines: io.StringIO, error: str
) -> None:
    world.acme.faults.code_error = error
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    response = await browser.step(callback, site="cross-site")
    assert response.status == 502
    assert "ask the administrator of your organisation" in response.text
    (line,) = [json.loads(one) for one in log_lines.getvalue().splitlines() if "request_failed" in one]
    assert line["code"] == "token_request_rejected"
    assert f"error={error}" in line["detail"]
    assert line["tenant"] == "acme"
    assert line["request_id"]
    code = callback.partition("code=")[2].partition("&")[0]
    secret = world.acme.settings.clients[0].client_secret
    assert secret is not None
    for value in (code, secret):
        assert value not in log_lines.getvalue() + response.text
    assert world.acme.requests["code"] == 1
