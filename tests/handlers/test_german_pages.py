"""The pages in German: no text of the portal stays in English."""

from __future__ import annotations

import html
import json
import re
from contextlib import closing
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from babel.messages.pofile import read_po

from portal.errors import AccessDenied, NotFound, RequestRefused
from portal.web.languages.languages import LOCALES
from tests.kit.browser import Browser, Response
from tests.kit.console import ACT, ConsoleWorld
from tests.kit.draft_pages import textarea
from tests.kit.page_tree import Node, PageParser
from tests.kit.raw import change_tenant
from tests.kit.world import World

_DATA = {"code", "pre", "textarea", "bdi", "option"}
"""Elements whose text is not the portal's, or that may hold such text."""
_BOTH = {"API", "Name", "Test", "Status", "Version", "Code", "Admin", "Admins", "Details", "Logo", "Domain"}
"""Texts that are the same in both languages."""


@cache
def english() -> re.Pattern[str]:
    """Matches a text of the portal that has another text in German."""
    with (LOCALES / "de.po").open("rb") as file:
        catalog = read_po(file, locale="de")
    texts = []
    for entry in catalog:
        if not entry.id or entry.id == entry.string:
            continue
        for text in [entry.id] if isinstance(entry.id, str) else entry.id:
            plain = html.unescape(re.sub(r"<[^>]+>", "", text))
            pattern = re.sub(r"%\\\(\w+\\\)s", ".+", re.escape(plain))
            if re.search(r"[a-z]{3}", re.sub(r"\\?\(\w+\\?\)", "", plain.replace("%", ""))):
                texts.append(pattern)
    return re.compile("|".join(texts), re.DOTALL)


def untranslated(page: Response) -> list[str]:
    """The English texts of a page."""
    assert page.headers["Content-Language"] == "de", page.url
    root = PageParser(page.text).root
    assert root.all("html")[0].attrs == {"lang": "de", "dir": "ltr"}
    found = []
    for node in root.all():
        if node.tag in _DATA or any(outer.tag in _DATA for outer in node.ancestors()):
            continue
        texts = [" ".join(part.split()) for part in node.content if isinstance(part, str)]
        texts += [node.attrs[name] for name in ("aria-label", "placeholder") if name in node.attrs]
        found += [text for text in texts if english().fullmatch(text) and text not in _BOTH]
    return found


async def german(browser: Browser, console: ConsoleWorld) -> None:
    """Choose German at the foot of a page."""
    page = await console.get(browser, "/account")
    shown = await browser.submit(page.form("/language"), {"language": "de"})
    assert shown.url.endswith("/account")


async def choose(console: ConsoleWorld, language: str, page: str) -> Response:
    """Press the button of a language on the page at an address."""
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html", "Referer": page}
    body = urlencode({"language": language})
    return await console.user.fetch(
        console.at("/language"), "POST", headers=headers, body=body, site="same-origin"
    )


CONSOLE_PAGES = (
    "/admin/",
    "/admin/?q=nobody",
    "/admin/?removed=old&ended=2",
    "/admin/new",
    "/admin/t/acme/",
    "/admin/t/globex/",
    "/admin/t/globex/draft",
    "/admin/t/globex/draft/yaml",
    "/admin/t/globex/draft/general",
    "/admin/t/globex/draft/applications",
    "/admin/t/globex/draft/apis",
    "/admin/t/globex/draft/api",
    "/admin/t/globex/draft/checks",
    "/admin/t/globex/draft/publish",
    "/admin/t/globex/draft/discard",
    "/admin/t/globex/draft/test",
    "/admin/t/globex/draft/test/default",
    "/admin/t/globex/draft/providers/new",
    "/admin/t/globex/draft/providers/new?q=okta",
    "/admin/t/globex/draft/providers/default",
    "/admin/t/globex/draft/providers/default/remove",
    "/admin/t/globex/domains",
    "/admin/t/globex/sessions",
    "/admin/t/globex/sessions?ended=3",
    "/admin/t/globex/revisions?made=1",
    "/admin/t/globex/revisions/1",
    "/admin/t/globex/events",
    "/admin/t/globex/links",
    "/admin/t/globex/status",
    "/admin/t/globex/status?ended=1",
    "/admin/t/initech/draft",
    "/admin/t/initech/",
    "/admin/nowhere",
)


@pytest.mark.gen_test
async def test_the_console_is_german(console: ConsoleWorld) -> None:
    await console.services.tenants.make("initech", "Initech", ACT)
    await german(console.operator, console)
    drafted = await console.get(console.operator, "/admin/t/globex/draft/yaml")
    await console.operator.submit(
        drafted.form("/draft/yaml"),
        {"content": textarea(drafted).replace("name: Globex", "name: Globex Ltd")},
    )
    await console.prove("globex.example", "email_domains")
    for path in CONSOLE_PAGES:
        page = await console.get(console.operator, path)
        assert untranslated(page) == [], path
        assert page.status in {200, 404}, path


@pytest.mark.gen_test
async def test_the_pages_of_users_are_german(console: ConsoleWorld) -> None:
    await german(console.user, console)
    for path in ("/", "/account", "/signed-out", "/t/globex/", "/t/globex/developer", "/t/acme/", "/nowhere"):
        page = await console.get(console.user, path)
        assert untranslated(page) == [], path


@pytest.mark.gen_test
async def test_forms_with_errors_are_german(console: ConsoleWorld) -> None:
    await german(console.operator, console)
    for path, fields in (
        ("/admin/new", {"slug": "-", "name": "x" * 200}),
        ("/admin/t/globex/remove", {"confirm": "acme"}),
        ("/admin/t/globex/links", {"name": "a\x00b", "valid": "3y"}),
        ("/admin/t/globex/sessions/end-all", {"reason": "x" * 1_000}),
    ):
        page = await console.post(console.operator, path, **fields)
        assert page.status == 422, path
        assert untranslated(page) == [], path


@pytest.mark.gen_test
async def test_an_error_page_is_german_and_a_problem_is_english(console: ConsoleWorld) -> None:
    await german(console.user, console)
    page = await console.get(console.user, "/nowhere")
    assert "Seite nicht gefunden" in page.text
    assert untranslated(page) == []
    problem = await console.user.fetch(console.at("/nowhere"), headers={"Accept": "application/json"})
    assert NotFound.title in problem.text


@pytest.mark.gen_test
async def test_the_explorer_says_in_german_why_a_call_failed(world: World) -> None:
    change_tenant(
        world,
        "acme",
        access={
            "paths": [{"path": "/orders", "require": [{"claim": "x", "equals": "y"}]}],
            "contact": "help@acme.example",
        },
    )
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    page = await browser.open(world.at("/account"))
    await browser.submit(page.form("/language"), {"language": "de"})
    for path, title, detail in (
        ("/orders", AccessDenied.title, "help@acme.example"),
        ("/../secret", RequestRefused.title, "Segment"),
    ):
        page = await browser.step(
            world.at("/t/acme/developer"),
            "POST",
            urlencode({"method": "GET", "path": path}),
            site="same-origin",
        )
        assert untranslated(page) == [], path
        shown = with_attribute(page, "data-problem").all("p")
        german = problem_texts_of(page)
        assert shown[0].text == german[title]
        assert detail in shown[1].text
        problem = await browser.fetch(world.at(f"/t/acme/api{path}"), headers={"Accept": "application/json"})
        said = json.loads(problem.text)
        assert [german[said["title"]], german[said["detail"]]] == [shown[0].text, shown[1].text]


def problem_texts_of(page: Response) -> dict[str, str]:
    """The texts of problems that the script of the explorer finds in its page."""
    found = with_attribute(page, "data-problem-texts").attrs["data-problem-texts"]
    texts: dict[str, str] = json.loads(found or "")
    return texts


def with_attribute(page: Response, name: str) -> Node:
    (node,) = (node for node in PageParser(page.text).root.all() if name in node.attrs)
    return node


@pytest.mark.gen_test
async def test_the_explorer_of_an_english_page_has_no_translations(world: World) -> None:
    page = await world.developer_page(world.browser(), "acme")
    assert "data-problem-texts" not in page.text


@pytest.mark.gen_test
async def test_the_choice_of_a_language_keeps_the_page_and_nothing_else(console: ConsoleWorld) -> None:
    for path in ("//evil.example/", "/\\evil.example", ".evil.example/", "/" + "a" * 2000):
        response = await choose(console, "de", console.at(path))
        assert (response.status, response.headers["Location"]) == (303, "/"), path
    assert (await choose(console, "de", "https://evil.example/account")).headers["Location"] == "/"
    kept = await choose(console, "de", console.at("/t/globex/?q=x"))
    assert kept.headers["Location"] == "/t/globex/"
    assert "portal-language=de" in kept.headers["Set-Cookie"]
    unknown = await choose(console, "xx<", console.at("/"))
    assert "portal-language" not in unknown.headers.get("Set-Cookie", "")


def test_every_catalogue_has_a_name_that_is_a_tag() -> None:
    assert [path.stem for path in Path(LOCALES).glob("*.po")] == ["de"]


@pytest.mark.gen_test
async def test_a_provider_is_told_the_language_that_was_asked_for(console: ConsoleWorld) -> None:
    for header, query, expected in (
        ("de-AT,en;q=0.5", "", "de"),
        ("fr", "", None),
        ("de", "?ui_locales=en", "en-GB"),
    ):
        with closing(Browser()) as browser:
            response = await browser.fetch(
                console.at(f"/t/globex/login{query}"), headers={"Accept-Language": header}, csrf=False
            )
        sent = parse_qs(urlsplit(response.headers["Location"]).query).get("ui_locales")
        assert sent == ([expected] if expected else None), header
