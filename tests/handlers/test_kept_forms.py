"""A form that is posted to an ended session can be sent again after signing in; nothing of it is stored."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from tests.kit.browser import Browser, Form, Response
from tests.kit.console import ConsoleWorld
from tests.kit.draft_pages import YAML, textarea
from tests.kit.world import World


def again(page: Response, action: str) -> Form:
    """The form that sends it again."""
    return next(form for form in page.forms if form.action == action)


@pytest.mark.gen_test
async def test_the_explorers_form_is_sent_again_after_signing_in(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    home = await browser.open(world.at("/t/acme/developer"))
    await browser.fetch(world.at("/t/acme/logout"), "POST", body="")
    typed = {"method": "POST", "path": "/echo", "body": 'a "quoted"\r\n<b>text</b> & more'}
    explorer = next(form for form in home.forms if "body" in dict(form.fields))
    page = await browser.submit(explorer, typed)
    assert page.status == 401
    assert page.headers["Cache-Control"] == "no-store"
    assert "/t/acme/login" in page.links
    form = again(page, "/t/acme/developer")
    await world.quick_sign_in(browser, "acme")
    browser.page = page
    sent = await browser.submit(form)
    assert sent.status == 200
    assert world.acme_api.received[-1].method == "POST"
    assert "&quot;quoted&quot;\r\n&lt;b&gt;text&lt;/b&gt; &amp; more</textarea>" in sent.text


@pytest.mark.gen_test
async def test_a_draft_is_sent_again_after_signing_in(console: ConsoleWorld) -> None:
    operator = console.operator
    page = await console.get(operator, YAML)
    text = textarea(page) + "# my change & <more>\n"
    session = operator.cookies["localhost"].pop("portal")
    operator.page = page
    typed = {"content": text.replace("\n", "\r\n")}
    refused = await operator.submit(page.form("/draft/yaml"), typed)
    assert refused.status == 401
    assert "Your session has ended" in refused.text
    form = again(refused, YAML)
    assert [name for name, _ in form.fields].count("_xsrf") == 1
    operator.cookies["localhost"]["portal"] = session
    operator.page = refused
    saved = await operator.submit(form)
    assert saved.status == 200, saved.text
    assert "# my change & <more>" in textarea(await console.get(operator, YAML))


async def post(world: World, browser: Browser, body: str, *, site: str | None, **headers: str) -> Response:
    return await browser.fetch(
        world.at("/admin/t/acme/draft/yaml"),
        "POST",
        body=body,
        site=site,
        csrf=False,
        headers={"Accept": "text/html", **headers},
    )


@pytest.mark.gen_test
async def test_S1_what_another_site_sends_is_not_offered_to_be_sent_again(world: World) -> None:
    browser = world.browser()
    body = urlencode({"content": "evil: true"})
    own = await post(world, browser, body, site="same-origin")
    assert (own.status, "evil: true" in own.text) == (401, True)
    for site, headers in (
        ("cross-site", {}),
        ("same-site", {}),
        ("none", {}),
        (None, {"Origin": "https://evil.example"}),
        (None, {"Origin": "null"}),
        (None, {}),
    ):
        page = await post(world, browser, body, site=site, **headers)
        assert (page.status, "evil: true" in page.text) == (403, False), (site, headers)


@pytest.mark.gen_test
async def test_only_forms_of_a_bounded_size_are_kept(world: World) -> None:
    browser = world.browser()
    browser.cookies["localhost"] = {"portal": f"{'a' * 22}.{'b' * 43}"}
    kept = await post(world, browser, urlencode({"content": "x" * 120_000}), site="same-origin")
    assert (kept.status, "x" * 120_000 in kept.text) == (401, True)
    dropped = await post(world, browser, urlencode({"content": "x" * 140_000}), site="same-origin")
    assert (dropped.status, "x" * 100 in dropped.text) == (401, False)
    plain = {"Content-Type": "text/plain"}
    other = await post(world, browser, '{"content": "evil"}', site="same-origin", **plain)
    assert (other.status, "evil" in other.text) == (401, False)


@pytest.mark.gen_test
async def test_names_and_values_are_text_on_the_page(world: World) -> None:
    body = urlencode({'"><script>alert(1)</script>': '"><script>alert(2)</script>', "_xsrf": "stale"})
    page = await post(world, world.browser(), body, site="same-origin")
    assert "<script>alert" not in page.text
    (form,) = [form for form in page.forms if form.action == "/admin/t/acme/draft/yaml"]
    assert ('"><script>alert(1)</script>', '"><script>alert(2)</script>') in form.fields
    assert ("_xsrf", "stale") not in form.fields
