"""THREATS A1 and T5: the console tells nobody anything about a tenant that is not theirs.

Every address of ADMIN_ROUTES is tried by every kind of viewer, with every method, with ids that exist and
with ids that do not; new routes are included, and a route with a new kind of id needs an example in IDS.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from portal.access.accounts import AccountRule, Operator
from portal.access.rules import Comparison, Rule
from portal.admin.change_limit import BURST
from portal.admin.editing import set_values
from portal.admin.events import EventKind
from portal.admin.viewers import BoundSetupLink
from portal.web.admin.reference import Kind, kinds, methods_of, refusal
from portal.web.admin.routes import ADMIN_ROUTES
from tests.kit.browser import Browser, Response
from tests.kit.console import ACT, OPERATOR, ConsoleWorld, console_world
from tests.security.test_secrets_in_sinks import secrets_of

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
TENANTS = ("globex", "acme", "nobody")
"""One of the database, one of a file, and one that does not exist."""
LINK = "0123456789ab"
"""The id of a setup link of Globex; see `add_setup_link`."""
IDS: dict[str, tuple[str, str]] = {
    "number": ("1", "99"),
    "provider": ("default", "none"),
    "api": ("billing", "none"),
    "link": (LINK, "ffffffffffff"),
}
"""For each kind of id in an address except the tenant: one that exists at Globex, and one that does not."""
_GROUP = re.compile(r"\(\?P<(\w+)>(?:[^()\[]|\[[^\]]*\])*\)")
_FORM = "application/x-www-form-urlencoded"
_REFUSED_FORM = f"reason={'x' * 2_000}"
"""No form of the console accepts it, so that a page that a viewer may open changes nothing."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address of the console, and the handler and tenant of it."""

    path: str
    handler: Any
    slug: str | None
    ids_exist: bool


def addresses(tenants: tuple[str, ...] = TENANTS) -> Iterator[Address]:
    """Each route with each tenant, and with ids that exist and that do not."""
    for pattern, handler in ADMIN_ROUTES:
        for slug in tenants if "?P<tenant>" in pattern else (None,):
            for place in range(2):
                path = _GROUP.sub(
                    lambda found, slug=slug, place=place: (  # type: ignore[misc]
                        slug if found[1] == "tenant" else IDS[found[1]][place]
                    ),
                    pattern,
                ).replace("\\", "")
                yield Address(path, handler, slug, ids_exist=place == 0)
                if not _GROUP.findall(pattern.replace("?P<tenant>", "")):
                    break


async def add_setup_link(console: ConsoleWorld) -> None:
    """Add the setup link of IDS to Globex."""
    made = (await console.services.setup_links.make("globex", ACT)).link
    event = ACT.event(EventKind.SETUP_LINK_MADE, tenant="globex", at=made.created_at)
    link = replace(made, id=LINK, token_hash="0" * 64)
    assert await console.services.store.add_setup_link(link, event=event)


async def add_apis(console: ConsoleWorld) -> None:
    """Publish the API of IDS at Globex, and a default API."""
    changes = {
        ("api", "base_url"): "https://api.globex.example",
        ("apis", "billing", "base_url"): "https://billing.globex.example",
    }
    await console.publish(set_values(console.typed, changes))


def with_setup_link(console: ConsoleWorld, slug: str) -> Browser:
    """A browser with a live setup link of a tenant, and without any login."""
    browser = console.world.browser()
    value = f"link-of-{slug}"
    browser.cookies["localhost"] = {"portal-setup": value}
    viewers = console.services.viewers
    before = viewers._find_setup_link

    async def found(cookie: str) -> BoundSetupLink | None:
        return BoundSetupLink(slug, "Ann") if cookie == value else await before(cookie)

    viewers._find_setup_link = found
    return browser


def viewers_of(console: ConsoleWorld) -> dict[str, Browser]:
    """The browsers of the kinds of viewers of Globex."""
    return {
        "stranger": console.stranger,
        "user": console.user,
        "admin of another": console.file_admin,
        "setup link of another": with_setup_link(console, "initech"),
        "admin": console.admin,
        "setup link": with_setup_link(console, "globex"),
        "operator": console.operator,
    }


async def ask(console: ConsoleWorld, browser: Browser, path: str, method: str = "GET") -> Response:
    headers = {"Accept": "text/html"}
    body = None
    if method not in {"GET", "HEAD", "OPTIONS"}:
        headers["Content-Type"], body = _FORM, _REFUSED_FORM
    return await browser.fetch(console.at(path), method, headers=headers, body=body, csrf=False)


def bytes_of(response: Response) -> tuple[int, dict[str, str], str]:
    """A response without what differs in every one: request id, date, masked XSRF token, seconds left.

    Also without the address that the browser posted to, to which a refused form can be sent again.
    """
    request_id = response.headers["X-Request-Id"]
    text = re.sub(
        r'name="_xsrf" value="[^"]*"|data-ends-in="[0-9]+"|(?<=<form method="post" )action="[^"]*"',
        "",
        response.text.replace(request_id, "ID"),
    )
    varying = {"Date", "X-Request-Id", "Set-Cookie", "Content-Length"}
    headers = {name: value for name, value in response.headers.items() if name not in varying}
    return response.status, headers, text


@pytest.mark.gen_test(timeout=120)
async def test_T5_each_viewer_gets_the_stated_response_at_every_address(console: ConsoleWorld) -> None:
    """As docs/reference/console.md says."""
    await add_setup_link(console)
    await add_apis(console)
    for kind in kinds("globex", "acme"):
        browser = viewers_of(console)[kind.title]
        for address in addresses(("globex",)):
            expected = refusal(kind, address.handler, address.slug)
            for method in methods_of(address.handler):
                response = await ask(console, browser, address.path, method)
                found = response.status if response.status in (401, 404) else None
                if expected is None and not address.ids_exist:
                    continue  # 404 for an id that does not exist
                assert found == expected, (kind.title, method, address.path, response.status)
                if expected is None:
                    assert response.status in {200, 303, 400, 409, 422}, (method, address.path)


def refused_kinds() -> list[Kind]:
    return [kind for kind in kinds("globex", "acme") if kind.title not in {"operator", "admin", "setup link"}]


@pytest.mark.gen_test(timeout=120)
@pytest.mark.parametrize("title", [kind.title for kind in refused_kinds()])
async def test_A1_what_is_not_for_a_viewer_is_as_what_does_not_exist(
    console: ConsoleWorld, title: str
) -> None:
    """The same bytes with every method, whether the tenant and the ids exist or not."""
    (kind,) = [kind for kind in refused_kinds() if kind.title == title]
    browser = viewers_of(console)[title]
    own = {"admin of another": "acme", "setup link of another": "initech"}.get(title)
    for method in METHODS:
        nowhere = bytes_of(await ask(console, browser, "/admin/no/such/page", method))
        outside = bytes_of(await ask(console, browser, "/no-such-page", method))
        assert nowhere[0] == (401 if title == "stranger" else 404)
        if title != "stranger":
            assert nowhere == outside
        tried = 0
        for address in addresses():
            if address.slug == own or refusal(kind, address.handler, address.slug) is None:
                continue
            tried += 1
            response = await ask(console, browser, address.path, method)
            assert bytes_of(response) == nowhere, (method, address.path)
        assert tried >= 20


@pytest.mark.gen_test
async def test_A1_json_tells_no_more_than_a_page(console: ConsoleWorld) -> None:
    async def problem(path: str) -> str:
        response = await console.user.fetch(console.at(path), headers={"Accept": "application/json"})
        assert response.headers["Content-Type"].startswith("application/problem+json")
        return response.text.replace(response.headers["X-Request-Id"], "ID")

    nowhere = await problem("/admin/no/such/page")
    assert await problem("/admin/t/globex/") == await problem("/admin/t/nobody/status") == nowhere


@pytest.mark.gen_test
async def test_A1_the_tenant_of_a_refused_request_is_not_looked_up(
    console: ConsoleWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So its time cannot depend on it: neither the registry nor the database is asked."""
    registry, asked = console.world.running.portal.registry, []

    def noting(name: str, original: Any) -> Any:
        def called(slug: str) -> Any:
            asked.append((name, slug))
            return original(slug)

        return called

    for name in ("get", "file_of", "loaded", "problems_of"):
        monkeypatch.setattr(registry, name, noting(name, getattr(registry, name)))
    store = console.services.store
    for name in dir(store):
        if not name.startswith("_") and asyncio.iscoroutinefunction(getattr(store, name)):
            original = getattr(store, name)
            if name not in {"tenants_version", "add_events"}:  # what each process does once in a while
                monkeypatch.setattr(store, name, _refusing(name, asked, original))
    for browser in (console.stranger, console.user, console.file_admin):
        for address in addresses(("globex", "nobody")):
            if address.slug is None:
                continue
            for method in ("GET", "POST"):
                asked.clear()
                response = await ask(console, browser, address.path, method)
                assert response.status in (401, 404)
                own = {"acme"} if browser is console.file_admin else {"globex"}
                others = [one for one in asked if one[0] != "get" or one[1] not in own]
                assert not others, (address.path, method)


def _refusing(name: str, asked: list[tuple[str, str]], original: Any) -> Any:
    async def called(*arguments: Any, **named: Any) -> Any:
        asked.append((name, str(arguments)))
        return await original(*arguments, **named)

    return called


@pytest.mark.gen_test(timeout=120)
async def test_A1_the_time_is_that_of_what_does_not_exist(console: ConsoleWorld) -> None:
    """Medians of many requests in turns; a difference must show three times to count."""
    browser = console.file_admin

    async def seconds(path: str) -> float:
        begun = time.perf_counter()
        assert (await ask(console, browser, path)).status == 404
        return time.perf_counter() - begun

    paths = ("/admin/t/globex/", "/admin/t/nobody/", "/admin/no/such/page")
    differences = []
    for _ in range(3):
        times: dict[str, list[float]] = {path: [] for path in paths}
        for _ in range(60):
            for path in paths:
                times[path].append(await seconds(path))
        medians = [statistics.median(times[path]) for path in paths]
        differences.append(max(medians) / min(medians))
        if differences[-1] < 1.2:
            return
    pytest.fail(f"the medians differ by the factors {differences}")


@pytest.mark.gen_test
async def test_T5_no_page_of_an_admin_names_another_tenant(console: ConsoleWorld) -> None:
    await console.services.tenants.make("initech", "Initech", console.act)
    foreign = ("acme", "initech", "alice", "bob@")
    pages = 0
    for address in addresses(("globex",)):
        if not console.viewer_of_admin.may(address.handler.right, address.slug):
            continue
        response = await ask(console, console.admin, address.path)
        pages += response.status == 200
        found = [word for word in foreign if word in response.text.lower()]
        assert not found, (address.path, found)
    assert pages >= 6


@pytest.mark.gen_test
async def test_T5_a_conflict_does_not_name_the_other_tenant_to_an_admin(console: ConsoleWorld) -> None:
    acme = console.world.running.portal.registry.get("acme")
    assert acme is not None
    path = console.world.parts.tenants_folder / "acme.yaml"
    path.write_text(path.read_text() + "hosts: [portal.acme.example]\n")
    await console.until(lambda: console.registry.by_host("portal.acme.example"), "the host is not served")
    await console.publish(console.typed + "hosts: [portal.acme.example]\n")
    await console.prove("portal.acme.example", "hosts")
    await console.until(lambda: console.registry.has_conflict("globex"), "there is no conflict")
    page = await console.get(console.admin, "/admin/t/globex/")
    assert "another organisation here has" in page.text
    assert "acme" not in page.text.replace("portal.acme.example", "")
    page = await console.get(console.operator, "/admin/t/globex/")
    assert "belongs to the tenant acme" in page.text


@pytest.mark.gen_test
async def test_A1_the_login_of_another_tenant_cannot_be_ended(console: ConsoleWorld) -> None:
    """Not even when its browser has a login at both that was made at the same time."""
    store, own = console.world.running.portal.store, await console.world.login_of(console.user, "globex")
    login = await console.world.login_of(console.file_admin, "acme")
    assert login is not None
    assert own is not None
    await store.put_login(replace(own, session=login.session, signed_in_at=login.signed_in_at))
    page = await console.get(console.file_admin, "/admin/t/acme/sessions")
    references = [dict(form.fields).get("login", "") for form in page.forms]
    for reference in (*filter(None, references), "", "x" * 999, "é"):
        done = await console.post(console.admin, "/admin/t/globex/sessions/end", login=reference)
        assert done.headers.get("Location", "").endswith("?ended=gone")
    assert await console.services.logins.count("acme") == 2
    assert await console.services.logins.count("globex") == 3
    assert (await console.post(console.admin, "/admin/t/globex/sessions/end")).status == 400


@pytest.mark.gen_test
async def test_A1_an_event_of_another_tenant_begins_no_page(console: ConsoleWorld) -> None:
    await console.services.tenants.make("initech", "Initech", console.act)
    (foreign, *_) = await console.services.store.list_events(tenant="initech")
    page = await console.get(console.admin, f"/admin/t/globex/events?before={foreign.id}")
    assert "initech" not in page.text.lower()


@pytest.mark.gen_test(timeout=120)
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {},
    ],
    ids=str,
)
async def test_S1_no_other_site_can_change_anything_in_the_console(
    console: ConsoleWorld, headers: dict[str, str]
) -> None:
    before = await state(console)
    tried = 0
    for address in addresses(("globex",)):
        for method in ("POST", "PUT", "DELETE"):
            response = await console.operator.fetch(
                console.at(address.path),
                method,
                headers={**headers, "Content-Type": _FORM},
                body="status=suspended&confirm=globex&slug=initech&name=Initech&reason=&why=",
                site=None,
            )
            assert response.status == 403, (method, address.path)
            tried += 1
    assert tried >= 30
    assert await state(console) == before


@pytest.mark.gen_test
async def test_S1_a_request_without_origin_needs_the_token_of_the_form(console: ConsoleWorld) -> None:
    page = await console.get(console.operator, "/admin/t/globex/status")
    token = dict(page.form("/status").fields)["_xsrf"]

    async def post(body: str) -> int:
        path = console.at("/admin/t/globex/status")
        headers = {"Content-Type": _FORM}
        return (
            await console.operator.fetch(path, "POST", headers=headers, body=body, site=None, csrf=False)
        ).status

    assert await post("status=no_new_logins") == 403
    assert await post("status=no_new_logins&_xsrf=0") == 403
    assert await post(f"status=no_new_logins&_xsrf={token}") == 303


async def state(console: ConsoleWorld) -> object:
    store = console.services.store
    return (
        await store.list_tenants(),
        await store.list_events(),
        await console.services.logins.count("globex"),
        await store.get_draft("globex"),
    )


def is_secret(part: str) -> bool:
    """Whether a part of a cookie is one: not the header of a sealed value, nor its version."""
    return len(part) > 15 and not part.startswith("eyJ")


@pytest.mark.gen_test
async def test_S9_no_page_of_the_console_has_a_token_a_cookie_or_a_secret(console: ConsoleWorld) -> None:
    secrets = secrets_of(console.world)
    for browser in console.world.browsers:
        for name, value in browser.cookies.get("localhost", {}).items():
            if name not in {"portal-xsrf", "portal-language"}:
                secrets |= {part: name for part in value.split(".") if is_secret(part)}
    pages = 0
    for address in addresses(("globex", "acme")):
        response = await ask(console, console.operator, address.path)
        found = {what for secret, what in secrets.items() if secret in response.text}
        assert not found, (address.path, found)
        pages += response.status == 200
    assert pages >= 10


@pytest.mark.gen_test
async def test_T5_the_console_is_not_on_the_host_of_a_tenant(console: ConsoleWorld) -> None:
    host = "portal.globex.example"
    await console.publish(console.typed + f"hosts: [{host}]\n")
    await console.prove(host, "hosts")
    await console.until(lambda: console.registry.by_host(host), "the host is not served")
    for browser in (console.operator, console.stranger):
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.get("localhost", {}).items())
        port = console.world.url.rpartition(":")[2]
        headers = {"Host": f"{host}:{port}", "Cookie": cookie, "Accept": "text/html"}
        response = await browser.fetch(console.at("/admin/"), headers=headers)
        assert response.status == 404
        page = await browser.fetch(console.at("/t/globex/"), headers=headers)
        assert "/admin/" not in page.links


@pytest.mark.gen_test
async def test_T5_a_login_of_a_stored_tenant_gives_no_rights_of_a_file_in_its_place(tmp_path: Path) -> None:
    """The admin of a stored tenant decides what its provider says, until a file takes its place."""
    rule = Rule(("email",), Comparison.EQUALS, ("gina@globex.example",))
    operators = (OPERATOR, Operator("globex", AccountRule(rule)))
    async with console_world(tmp_path, operators=operators) as console:
        assert (await console.get(console.admin, "/admin/t/globex/")).status == 200
        (console.world.parts.tenants_folder / "globex.yaml").write_text(console.typed)
        await console.until(lambda: console.registry.is_of_operator("globex"), "the file is not served")
        assert await console.world.login_of(console.admin, "globex") is not None
        for path in ("/admin/", "/admin/new", "/admin/t/acme/events", "/admin/t/globex/"):
            assert (await console.get(console.admin, path)).status == 404
        await console.world.sign_in(console.admin, "globex", "gina")
        assert (await console.get(console.admin, "/admin/new")).status == 200


@pytest.mark.gen_test
async def test_T5_the_admin_of_a_file_sees_nothing_of_a_stored_tenant_with_its_slug(
    console: ConsoleWorld,
) -> None:
    """The file is of another organisation: another client, at the provider of Acme."""
    world, services = console.world, console.services
    await services.logins.end_all("globex", replace(ACT, reason="the secret merger"))
    for browser, user in ((console.admin, "gina"), (console.user, "hank")):
        await world.sign_in(browser, "globex", user)
    await let_another_organisation_have_globex(console)
    bob = world.browser()
    await world.fill_in(bob, await world.to_provider(bob, "globex"), "acme", "bob")
    page = await console.get(bob, "/admin/t/globex/sessions")
    assert page.status == 200
    assert "bob@acme.example" in page.text
    assert "hank" not in page.text
    assert "gina" not in page.text
    assert await services.logins.count("globex") == 1
    events = "/admin/t/globex/events"
    assert "No events" in (await console.get(bob, events)).text
    await services.tenants.remove("globex", ACT)
    act = replace(ACT, reason="of the file")
    await services.store.add_events(
        [act.event(EventKind.LOGINS_ENDED, tenant="globex", target="1 logins", at=world.clock() + 1)]
    )  # a second later: the order within a millisecond is not defined
    found = await services.store.list_events(tenant="globex", most=500)
    for query in ("", *(f"?before={event.id}" for event in found), f"?before={'f' * 32}"):
        text = (await console.get(bob, events + query)).text
        assert "the secret merger" not in text
        assert ("of the file" in text) is (query == "" or "ffff" in query)
    assert "the secret merger" in (await console.get(console.operator, events)).text


@pytest.mark.gen_test(timeout=60)
async def test_D5_admins_and_links_cannot_fill_the_database(console: ConsoleWorld) -> None:
    services = console.services
    address = "/admin/t/globex/revisions/1/rollback"
    refused = await console.post(console.admin, address, reason="")
    assert refused.status == 409
    assert "the same as the live revision" in refused.text
    await services.logins.end_all("globex", ACT)
    before = await services.store.list_events(tenant="globex", most=500)
    assert await services.logins.end_all("globex", ACT) == 0
    assert await services.store.list_events(tenant="globex", most=500) == before
    await console.world.sign_in(console.admin, "globex", "gina")
    statuses = [(await console.post(console.admin, address, reason="")).status for _ in range(BURST + 20)]
    assert set(statuses) == {409, 429}
    assert statuses.count(409) < BURST + 10
    response = await console.post(console.admin, "/admin/t/globex/draft/yaml", content="", version="")
    assert response.status == 429
    assert response.headers["Retry-After"] == "60"
    assert (await console.get(console.admin, "/admin/t/globex/draft/yaml")).status == 200
    assert (await console.post(console.operator, address, reason="")).status == 409


async def let_another_organisation_have_globex(console: ConsoleWorld) -> None:
    """Put a file with the slug of the stored tenant: another client at the provider of Acme."""
    world = console.world
    settings, folder = world.acme.settings, world.parts.tenants_folder
    client = settings.clients[0]
    theirs = replace(client, client_id="newcorp", redirect_uris=(console.at("/t/globex/callback"),))
    world.acme.settings = replace(settings, clients=(*settings.clients, theirs))
    content = (folder / "acme.yaml").read_text().replace(client.client_id, "newcorp")
    content = content.replace("name: Acme", "name: Newcorp").replace("email_domains:\n- acme.example\n", "")
    (folder / "globex.yaml").write_text(content)
    await console.until(
        lambda: (live := console.registry.get("globex")) is not None and live.name.startswith("Newcorp"),
        "the file is not served",
    )


@pytest.mark.gen_test
async def test_T5_an_admin_whose_claims_change_is_no_admin_any_more(console: ConsoleWorld) -> None:
    await console.publish(console.typed.replace("gina@globex.example", "hank@globex.example"))
    await console.until_served(2)
    assert (await console.get(console.admin, "/admin/t/globex/")).status == 404
    assert (await console.get(console.user, "/admin/t/globex/")).status == 200


@pytest.mark.gen_test
async def test_L8_texts_of_admins_and_users_are_text_on_every_page(console: ConsoleWorld) -> None:
    hostile = "<script>alert(1)</script>{{ 7*7 }}"
    typed = console.typed.replace(
        "name: Globex", f"name: {json.dumps(hostile)}\nlabel: {json.dumps(hostile)}"
    )
    rule = f"{{claim: [{json.dumps(hostile)}], present: true}}"
    typed += f"access: {{paths: [{{path: /x, require: [{rule}]}}], contact: {json.dumps(hostile)}}}\n"
    act = replace(console.act, reason=hostile + "\u202e", device=hostile, client=hostile, request_id=hostile)
    await console.services.tenants.publish("globex", typed, act, resolve=console.resolve)
    await console.services.tenants.make("initech", hostile, act)
    await console.until_served(2)
    login = await console.world.login_of(console.user, "globex")
    assert login is not None
    claims = {**login.claims, "name": hostile, "email": hostile}
    await console.world.running.portal.store.put_login(replace(login, claims=claims, subject=hostile))
    seen = 0
    for address in addresses(("globex", "initech")):
        response = await ask(console, console.operator, address.path)
        assert "<script>alert" not in response.text, address.path
        assert "\u202e" not in response.text, address.path
        seen += "&lt;script&gt;alert(1)&lt;/script&gt;{{ 7*7 }}" in response.text
    assert seen >= 8
