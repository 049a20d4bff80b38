"""What people do on the pages of a draft, for tests."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

from portal.admin import drafts as portal_drafts
from portal.admin.actors import Actor, ActorType
from portal.admin.drafts import OpenDraft
from tests.kit.browser import Browser, Response
from tests.kit.console import ConsoleWorld

DRAFT = "/admin/t/globex/draft"
YAML = f"{DRAFT}/yaml"
PUBLISH = f"{DRAFT}/publish"


def textarea(page: Response) -> str:
    found = re.search(r"(?s)<textarea[^>]*>\n(.*?)</textarea>", page.text)
    assert found is not None, page.text
    return html.unescape(found[1])


def words(page: Response) -> str:
    """The text of a page on one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


async def save(
    console: ConsoleWorld,
    browser: Browser,
    text: str | None = None,
    *,
    add: str = "",
    page: Response | None = None,
) -> Response:
    """Save a text as YAML, or what is there with a line more."""
    page = page or await console.get(browser, YAML)
    browser.page = page
    typed = (textarea(page) if text is None else text) + add
    return await browser.submit(page.form("/draft/yaml"), {"content": typed.replace("\n", "\r\n")})


async def press(
    console: ConsoleWorld, browser: Browser, act: str, values: Mapping[str, str] | None = None
) -> Response:
    """Press a button of the page of the publication."""
    page = await console.get(browser, PUBLISH)
    return await browser.submit(page.form("/draft/publish"), {**(values or {}), "act": act})


async def add_tests(
    console: ConsoleWorld, slug: str = "globex", actor: str = Actor(ActorType.ADMIN, "gina").as_json()
) -> OpenDraft:
    """A test login at every provider of the draft."""
    drafts = console.services.drafts
    draft = await drafts.get(slug)
    assert draft.loaded is not None
    for id_ in draft.loaded.tenant.providers:
        test = portal_drafts.TestResult(
            provider=id_,
            registration=portal_drafts.sign_in_fingerprint(draft.loaded.tenant, id_),
            at=console.world.running.portal.clock(),
            actor=actor,
            claims={"sub": "gina", "email": "gina@globex.example"},
            subject="gina",
            issuer=draft.loaded.tenant.providers[id_].issuer,
        )
        await drafts.record_test(slug, test, version=draft.version)
    return draft
