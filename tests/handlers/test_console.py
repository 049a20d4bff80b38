"""The console: who may open it, and its pages."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kit.console import OPERATOR, ConsoleWorld
from tests.kit.raw import until
from tests.kit.world import world


@pytest.mark.gen_test
async def test_each_viewer_sees_their_tenants_and_nothing_else(console: ConsoleWorld) -> None:
    overview = await console.get(console.operator, "/admin/")
    assert overview.status == 200
    assert {"/admin/t/acme/", "/admin/t/globex/"} <= set(overview.links)
    overview = await console.get(console.admin, "/admin/")
    assert "/admin/t/globex/" in overview.links
    assert "acme" not in overview.text.lower()
    for browser, path, status in (
        (console.operator, "/admin/t/acme/", 200),
        (console.operator, "/admin/t/globex/", 200),
        (console.operator, "/admin/t/nobody/", 404),
        (console.admin, "/admin/t/globex/", 200),
        (console.admin, "/admin/t/acme/", 404),
        (console.file_admin, "/admin/t/acme/", 200),
        (console.file_admin, "/admin/t/globex/", 404),
        (console.user, "/admin/", 404),
        (console.user, "/admin/t/globex/", 404),
        (console.stranger, "/admin/", 401),
        (console.stranger, "/admin/t/globex/", 401),
        (console.stranger, "/admin/t/nobody/", 401),
    ):
        page = await console.get(browser, path)
        assert page.status == status, path


@pytest.mark.gen_test
async def test_only_who_may_open_the_console_is_led_there(console: ConsoleWorld) -> None:
    assert "/admin/" in (await console.get(console.operator, "/")).links
    assert "/admin/" in (await console.get(console.admin, "/t/globex/")).links
    assert "/admin/" not in (await console.get(console.user, "/t/globex/")).links


@pytest.mark.gen_test
async def test_a_tenant_of_a_file_says_where_it_lives(console: ConsoleWorld) -> None:
    page = await console.get(console.file_admin, "/admin/t/acme/")
    assert "tenants/acme.yaml" in page.text
    assert str(console.world.parts.tenants_folder) not in page.text


@pytest.mark.gen_test
async def test_operators_of_a_tenant_without_a_file_are_reported(
    tmp_path: Path, log_lines: io.StringIO
) -> None:
    operators = (OPERATOR, replace(OPERATOR, tenant="acmee"))
    async with world(tmp_path, operators=operators):
        pass
    (line,) = [line for line in log_lines.getvalue().splitlines() if "operators_without_tenant_file" in line]
    assert json.loads(line)["tenants"] == ["acmee"]


@pytest.mark.gen_test
async def test_a_running_call_ends_with_the_login_that_an_admin_ends(console: ConsoleWorld) -> None:
    call = asyncio.create_task(console.user.fetch(console.at("/t/globex/api/stream?count=500")))
    await until(lambda: console.world.globex_api.open_streams, "the call did not begin")
    login = await console.world.login_of(console.user, "globex")
    assert login is not None
    begun = asyncio.get_running_loop().time()
    (listed, *_) = [
        one
        for one in (await console.services.logins.list("globex")).logins
        if one.found.login.subject == login.subject
    ]
    assert await console.services.logins.end("globex", listed.reference, console.act)
    with contextlib.suppress(ConnectionError):
        await call
    assert asyncio.get_running_loop().time() - begun < 5
