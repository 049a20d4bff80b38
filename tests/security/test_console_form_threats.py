"""Forms of the console: hostile values stay values (A3), and live checks of a stranger's draft (T6)."""

from __future__ import annotations

import asyncio
import html
import re
from dataclasses import replace
from unittest import mock

import pytest

from portal.admin.check_runs import RunState
from portal.admin.editing import set_values, values
from tests.handlers.test_console_apis import APIS, BILLING
from tests.handlers.test_console_applications import PAGE as APPLICATIONS
from tests.handlers.test_console_forms import (
    CHECKS,
    GENERAL,
    NEW,
    PROVIDER,
    draft_of,
    error_of,
    post_form,
    send,
    until_done,
    words,
)
from tests.kit.browser import Form, Response
from tests.kit.console import ACT, ConsoleWorld

HOSTILE = (
    "<script>alert(1)</script>",
    "{{ page.slug }}",
    "{% raw page.slug %}",
    "{# x #}",
    "a: b",
    "a\\n b: c",
    "': \"#",
    "!!python/object:os.system",
    "&a *a",
    '"><img src=x onerror=alert(1)>',
    "- x",
    "|",
    "null",
)


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.gen_test
async def test_A3_hostile_values_are_stored_as_data_and_shown_as_text(
    console: ConsoleWorld, hostile: str
) -> None:
    before = values((await draft_of(console)).shown)
    typed = {"name": hostile, "claim-roles": hostile, "admin-emails": "gina@globex.example"}
    typed |= {"who": "claim", "claim": hostile, "values": hostile, "contact": hostile}
    page = await send(console, console.admin, GENERAL, typed)
    assert page.status == 200, words(page)
    provider = await send(console, console.admin, PROVIDER, {"client_id": hostile, "more-audience": hostile})
    assert provider.status == 200, words(provider)
    root = values((await draft_of(console)).shown)
    assert root["name"] == root["claims"]["roles"] == root["client"]["id"] == root["audience"] == hostile
    [rule] = root["access"]["require"]
    assert rule["contains"] == hostile
    assert root.keys() <= before.keys() | {"access", "audience", "admins", "claims"}
    assert root["issuer"] == before["issuer"]
    for shown in (page, provider, await console.get(console.admin, f"{NEW}?q=https://x.example")):
        assert "<script>alert" not in shown.text
        assert "<img src=x" not in shown.text
    assert hostile in {html.unescape(one) for one in re.findall(r'value="([^"]*)"', provider.text)}


async def add_api(console: ConsoleWorld) -> None:
    """Add the API whose form is at BILLING."""
    before = await draft_of(console)
    text = set_values(before.shown, {("apis", "billing", "base_url"): "https://billing.globex.example"})
    await console.services.drafts.save("globex", text, ACT, replaces=before.version)


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.gen_test
async def test_A3_hostile_values_of_apis_and_links_are_stored_as_data_and_shown_as_text(
    console: ConsoleWorld, hostile: str
) -> None:
    await add_api(console)
    before = values((await draft_of(console)).shown)
    typed = {"base-url": hostile, "audience": hostile, "timeout": hostile, "example-paths": hostile}
    api = await send(console, console.admin, BILLING, typed)
    assert api.status == 200, words(api)
    links = {"rows": "1", "title-0": hostile, "url-0": hostile, "description-0": hostile, "home-url": hostile}
    applications = await send(console, console.admin, APPLICATIONS, links)
    assert applications.status == 200, words(applications)
    general = await send(console, console.admin, GENERAL, {"logo": hostile, "claim-page": hostile})
    root = values((await draft_of(console)).shown)
    assert root["apis"] == {
        "billing": {
            "base_url": hostile,
            "audience": hostile,
            "timeout": hostile,
            "example_paths": [hostile],
        }
    }
    assert root["links"] == [{"title": hostile, "url": hostile, "description": hostile}]
    assert root["home_url"] == root["branding"]["logo_url"] == hostile
    assert root["claims"]["page"] == [hostile]
    assert root.keys() <= before.keys() | {"links", "home_url", "branding", "claims"}
    assert root["issuer"] == before["issuer"]
    removed = await send(console, console.admin, APPLICATIONS, {"act": "remove 0"})
    for page in (api, applications, general, removed, await console.get(console.admin, APIS)):
        assert "<script>alert" not in page.text
        assert "<img src=x" not in page.text
        assert page.status == 200


@pytest.mark.parametrize(
    "value", ["file:/etc/passwd", "${HOME}", "https://169.254.169.254", "https://[fe80::1]/"]
)
@pytest.mark.gen_test
async def test_A4_no_form_of_an_api_reaches_the_host_or_a_private_address(
    console: ConsoleWorld, value: str
) -> None:
    await add_api(console)
    page = await send(console, console.admin, BILLING, {"base-url": value})
    assert error_of(page, "base-url"), words(page)
    logo = await send(console, console.admin, GENERAL, {"logo": value})
    assert error_of(logo, "logo"), words(logo)
    assert (await draft_of(console)).loaded is None
    if not value.startswith("https"):
        again = await send(console, console.admin, BILLING, {"ca": value})
        assert again.status == 422
        assert "annot name a file or variable" in error_of(again, "ca")
    assert value not in str(values((await draft_of(console)).shown)["apis"]["billing"].get("tls"))


@pytest.mark.parametrize("value", ["x\u202ey", "x\u2066y", "x\x00y", "x\x1by", "x\ny", "x" * 100_000])
@pytest.mark.gen_test
async def test_A3_hidden_characters_and_long_values_are_refused(console: ConsoleWorld, value: str) -> None:
    await add_api(console)
    version = (await draft_of(console)).version
    for path, name in (
        (PROVIDER, "client_id"),
        (GENERAL, "contact"),
        (GENERAL, "name"),
        (BILLING, "base-url"),
        (BILLING, "timeout"),
        (APPLICATIONS, "title-0"),
        (APPLICATIONS, "home-url"),
    ):
        page = await send(console, console.admin, path, {name: value})
        assert page.status == 422, (path, name)
        assert len(page.text) < 60_000
    assert (await send(console, console.admin, NEW, {"preset": "okta", "id": value})).status == 422
    added = await console.post(console.admin, APIS, act="add", name=value)
    assert added.status == 422
    assert len(added.text) < 60_000
    assert (await draft_of(console)).version == version


@pytest.mark.gen_test
async def test_A3_a_field_that_no_page_has_is_not_used(console: ConsoleWorld) -> None:
    page = await console.get(console.admin, PROVIDER)
    sent = await console.admin.submit(
        post_form(page, PROVIDER), {"issuer.x": "y", "client": "z", "tls": "x", "access": "anyone"}
    )
    assert sent.status == 200
    assert (await draft_of(console)).record is None
    for name, value in (("replaces", "x"), ("replaces", "9" * 30)):
        assert (await send(console, console.admin, PROVIDER, {name: value})).status == 400
    unknown = await send(console, console.admin, NEW, {"preset": "nobody"})
    assert unknown.status == 400


@pytest.mark.gen_test
async def test_T6_checks_of_a_draft_reach_no_private_address(console: ConsoleWorld) -> None:
    """As on a portal that is not for development: only tenants of files may have private addresses."""
    connections = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    draft = await draft_of(console)
    for host in ("127.0.0.1", "localhost", "[::1]"):
        changes = {
            ("issuer",): f"http://{host}:{port}",
            ("client", "secret"): None,
            ("client", "auth"): "none",
        }
        text = set_values(draft.shown, changes)
        draft = await console.services.drafts.save("globex", text, ACT, replaces=draft.version)
        assert draft.loaded is not None, draft.problems
        transport = console.world.running.portal.http._transport
        refused = mock.patch.object(transport, "_allow_private_networks", lambda tenant: tenant != "globex")
        with refused, mock.patch("portal.admin.check_runs.PAUSE", 0.0):
            page = await console.get(console.admin, CHECKS)
            await console.admin.submit(post_form(page, CHECKS), {})
            await until_done(console)
        report = await console.check_report()
        assert report is not None
        assert report.state is RunState.DONE
        dns = next(one for one in report.results if one.check == "dns")
        assert dns.status.value == "fail"
        assert "loopback" in dns.seen
    server.close()
    assert connections == []


@pytest.mark.gen_test
async def test_T6_a_draft_with_a_private_address_is_a_problem_beside_the_field(console: ConsoleWorld) -> None:
    for url in ("https://169.254.169.254/latest", "https://[fe80::1]/", "file:///etc/passwd"):
        page = await send(console, console.admin, PROVIDER, {"issuer": url, "client_secret": "s3cret"})
        assert page.status == 200
        assert (await draft_of(console)).loaded is None, url
        assert 'id="error-issuer"' in page.text
        begun = await console.admin.submit(post_form_of_checks(await console.get(console.admin, CHECKS)), {})
        assert begun.status == 200
        assert await console.check_report() is None


def post_form_of_checks(page: Response) -> Form:
    """The page of a draft that cannot be checked has no button: the request that somebody makes up."""
    return replace(page.forms[0], action=CHECKS, method="POST")
