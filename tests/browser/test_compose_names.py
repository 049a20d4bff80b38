"""Host names below `localhost`, as in docker-compose.yml: one for the portal and one for each provider."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.stage import Stage
from tests.browser.visitor import Look, Visitor
from tests.kit.faulty.provider import FaultyMint
from tests.kit.world import World

NAMES = {"acme": "keycloak.localhost", "globex": "login.globex.localhost"}


def rename_providers(world: World) -> None:
    for tenant, name in NAMES.items():
        provider = world.provider(tenant)
        issuer = f"http://{name}:{urlsplit(provider.issuer).port}"
        path = world.parts.tenants_folder / f"{tenant}.yaml"
        path.write_text(path.read_text().replace(provider.issuer, issuer))
        provider.settings = replace(provider.settings, issuer=issuer)
        provider.mint = FaultyMint(provider.settings, provider.keys, provider.faults)
    world.running.portal.registry.load()
    assert not world.running.portal.registry.problems


def _issuer_of(world: World, tenant: str) -> str:
    return world.provider(tenant).issuer


@pytest.fixture
def compose_stage(tmp_path: Path, log_lines: io.StringIO) -> Iterator[Stage]:
    stage = Stage(tmp_path, host="portal.localhost")
    try:
        stage.ask(rename_providers)
        stage.issuers = {tenant: stage.ask(partial(_issuer_of, tenant=tenant)) for tenant in NAMES}
        yield stage
    finally:
        stage.close()


@pytest.mark.parametrize("look", [Look(), Look(390, "dark", scripts=False)], ids=str)
def test_signing_out_reaches_providers_whose_names_are_below_localhost(
    chromium: Browser, compose_stage: Stage, look: Look
) -> None:
    visitor = Visitor(chromium, compose_stage, look)
    try:
        page = visitor.arrive("acme")
        visitor.arrive("globex")
        visitor.open("/t/acme/")
        page.get_by_role("main").get_by_role("button", name="Sign out of Acme Corporation").click()
        expect(page).to_have_url(compose_stage.at("/t/acme/signed-out"))
        assert ended(compose_stage) == [1, 0]
        visitor.arrive("acme")
        visitor.open("/account")
        page.get_by_role("main").get_by_role("button", name="Sign out everywhere").click()
        expect(page).to_have_url(compose_stage.at("/signed-out"))
        assert ended(compose_stage) == [2, 1]
        visitor.check_no_errors()
    finally:
        visitor.close()


def ended(stage: Stage) -> list[int]:
    """How often the browser called the end_session_endpoint of each provider."""
    return stage.ask(lambda world: [world.provider(tenant).requests["end_session"] for tenant in NAMES])
