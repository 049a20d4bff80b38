"""The console: who may open it, and its pages."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest

from portal.errors import StoreUnavailable
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
    (listed, *_) = [
        one
        for one in (await console.services.logins.list("globex")).logins
        if one.found.login.subject == login.subject
    ]
    assert await console.services.logins.end("globex", listed.reference, console.act)
    await until(lambda: not console.world.globex_api.open_streams, "the call goes on", seconds=5)
    call.cancel()


@pytest.mark.gen_test
async def test_a_login_ends_although_a_refresh_replaces_its_tokens_meanwhile(console: ConsoleWorld) -> None:
    logouts = console.world.running.portal.logouts
    login = await console.world.login_of(console.user, "globex")
    assert login is not None
    found = await logouts.find_login(login.session, "globex", signed_in_at=login.signed_in_at)
    assert found == login
    await console.world.expire_access_token(console.user, "globex")
    assert await logouts.end_found_login(login)
    assert await console.world.login_of(console.user, "globex") is None
    assert not await logouts.end_found_login(login)


@pytest.mark.gen_test
async def test_who_signed_in_again_meanwhile_stays_signed_in(console: ConsoleWorld) -> None:
    logouts = console.world.running.portal.logouts
    login = await console.world.login_of(console.user, "globex")
    assert login is not None
    again = replace(login, signed_in_at=login.signed_in_at + 1, tokens=f"{login.tokens} ")
    await console.world.running.portal.store.put_login(again)
    assert await logouts.find_login(login.session, "globex", signed_in_at=login.signed_in_at) is None
    assert not await logouts.end_found_login(login)
    assert await console.world.login_of(console.user, "globex") == again


@pytest.mark.gen_test
async def test_no_login_ends_without_its_event(
    console: ConsoleWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(events: object) -> None:
        raise StoreUnavailable("the test says so")

    page = await console.get(console.admin, "/admin/t/globex/sessions")
    monkeypatch.setattr(console.services.store, "add_events", down)
    for part in ("/sessions/end", "/sessions/end-all"):
        form = next(form for form in page.forms if form.action.endswith(part))
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        refused = await console.admin.fetch(
            console.at(form.action), "POST", headers=headers, body=urlencode(form.fields)
        )
        assert refused.status == 503
    assert await console.services.logins.count("globex") == 2
