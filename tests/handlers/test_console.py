"""The console: who may open it, and its pages."""

from __future__ import annotations

import pytest

from tests.kit.console import ConsoleWorld


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
