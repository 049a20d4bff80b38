"""Missing parts of a login are logged once, and shown to the user."""

from __future__ import annotations

import io
import json

import pytest

from portal.demo.compact import JsonObject
from tests.kit.provider_logout import set_claims
from tests.kit.world import World

NO_REFRESH_TOKEN = "sign-in service did not issue the refresh token that the portal requested"
LEFT_OUT = "The sign-in service left out"


def warnings(log_lines: io.StringIO) -> list[tuple[str, str]]:
    lines = [json.loads(line) for line in log_lines.getvalue().replace("\0", "").splitlines()]
    return [(line["event"], line["tenant"]) for line in lines if line["level"] == "warning"]


def leave_out_refresh_token(document: JsonObject) -> None:
    document.pop("refresh_token", None)


@pytest.mark.gen_test
async def test_a_missing_refresh_token_is_logged_once_and_shown_on_each_page(
    world: World, log_lines: io.StringIO
) -> None:
    for provider in (world.acme, world.globex):
        provider.faults.mutate_token_response = leave_out_refresh_token
    for browser in (world.browser(), world.browser()):
        for tenant in ("acme", "globex"):
            page = await world.developer_page(browser, tenant)
            assert NO_REFRESH_TOKEN in page.text
            assert "You will have to sign in again at " in page.text
    assert warnings(log_lines) == [("refresh_token_missing", "acme"), ("refresh_token_missing", "globex")]


@pytest.mark.gen_test
async def test_distributed_claims_are_logged_once_and_named_on_the_page(
    world: World, log_lines: io.StringIO
) -> None:
    world.acme.faults.mutate_id_token = set_claims(
        _claim_names={"groups": "src1", "<b>x</b>": "src1"},
        _claim_sources={"src1": {"endpoint": "https://graph.example/members?token=t"}},
    )
    for browser in (world.browser(), world.browser()):
        page = await world.developer_page(browser, "acme")
        assert LEFT_OUT in page.text
        assert '<bdi class="strong">groups</bdi>, <bdi class="strong">&lt;b&gt;x&lt;/b&gt;</bdi>' in page.text
        assert "graph.example" not in page.text
        assert "_claim_" not in page.text
    assert warnings(log_lines) == [("claims_held_elsewhere", "acme")]
    assert "graph.example" not in log_lines.getvalue()


@pytest.mark.gen_test
async def test_a_complete_login_causes_no_warning(world: World, log_lines: io.StringIO) -> None:
    page = await world.developer_page(world.browser(), "acme")
    assert NO_REFRESH_TOKEN not in page.text
    assert LEFT_OUT not in page.text
    assert warnings(log_lines) == []


@pytest.mark.gen_test
async def test_a_refresh_token_that_was_not_requested_is_not_missed(
    world: World, log_lines: io.StringIO
) -> None:
    path = world.parts.tenants_folder / "acme.yaml"
    path.write_text(path.read_text().replace("- offline_access\n", ""))
    world.running.portal.registry.load()
    page = await world.developer_page(world.browser(), "acme")
    assert "It cannot be renewed" in page.text
    assert NO_REFRESH_TOKEN not in page.text
    assert warnings(log_lines) == []
