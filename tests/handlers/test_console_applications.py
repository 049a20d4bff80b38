"""The form of the console for the applications that an organisation's page leads to."""

from __future__ import annotations

import html
from unittest import mock

import pytest

from portal.admin.editing import values
from portal.admin.link_form import HOME_FIELD, LINK_FIELDS, LINKS, MOST_LINKS
from portal.errors import StoreUnavailable
from portal.tenancy.schema.tenant import TenantBase
from tests.handlers.test_console_forms import DRAFT, draft_of, error_of, post_form, send, words
from tests.kit.browser import Browser, Response
from tests.kit.console import ACT, ConsoleWorld

PAGE = f"{DRAFT}/applications"
COMMENTED = """\
links:   # as on the intranet
  # the desk
  - title: Order desk   # keep
    url: /desk/globex/   # a path
  - {title: Wiki, url: https://wiki.globex.example/}   # in one line
"""


async def begin(console: ConsoleWorld, added: str = COMMENTED) -> None:
    """Add text to the draft."""
    before = await draft_of(console)
    await console.services.drafts.save("globex", before.shown + added, ACT, replaces=before.version)


async def press(
    console: ConsoleWorld,
    page: Response,
    act: str,
    typed: dict[str, str] | None = None,
    browser: Browser | None = None,
) -> Response:
    """Press a button of the form, after typing."""
    form = post_form(page, PAGE)
    assert ("act", act) in form.buttons, act
    return await (browser or console.admin).submit(form, {**(typed or {}), "act": act})


@pytest.mark.gen_test
async def test_an_application_and_links_are_added_without_a_script(console: ConsoleWorld) -> None:
    page = await console.get(console.admin, PAGE)
    typed = {
        "home-url": "/desk/globex/",
        "title-0": "Order desk",
        "url-0": "https://desk.globex.example/",
        "description-0": "Place and follow orders.",
    }
    more = await press(console, page, "add", typed)
    assert more.status == 200
    assert 'value="Order desk"' in more.text
    assert (await draft_of(console)).record is None, "nothing is stored yet"
    saved = await press(console, more, "save", {"title-1": "Wiki", "url-1": "/wiki/"})
    assert "Saved in the draft" in words(saved)
    draft = await draft_of(console)
    assert draft.problems == ()
    root = values(draft.shown)
    assert root["home_url"] == "/desk/globex/"
    assert root["links"] == [
        {
            "title": "Order desk",
            "url": "https://desk.globex.example/",
            "description": "Place and follow orders.",
        },
        {"title": "Wiki", "url": "/wiki/"},
    ]


@pytest.mark.gen_test
async def test_a_removed_link_can_be_taken_back_and_the_comments_stay(console: ConsoleWorld) -> None:
    await begin(console)
    before = (await draft_of(console)).shown
    page = await press(console, await console.get(console.admin, PAGE), "remove 0")
    assert "Removed when you save" in words(page)
    assert (await draft_of(console)).shown == before
    undone = await press(console, page, "undo 0")
    assert 'value="Order desk"' in undone.text
    assert (await press(console, undone, "save")).status == 200
    assert (await draft_of(console)).shown == before
    assert (await press(console, page, "save")).status == 200
    text = (await draft_of(console)).shown
    assert values(text)["links"] == [{"title": "Wiki", "url": "https://wiki.globex.example/"}]
    assert "# in one line" in text
    assert "# as on the intranet" in text


@pytest.mark.gen_test
async def test_links_change_their_order_with_their_comments(console: ConsoleWorld) -> None:
    await begin(console)
    page = await press(console, await console.get(console.admin, PAGE), "up 1", {"title-1": "Pages"})
    assert (await press(console, page, "save")).status == 200
    text = (await draft_of(console)).shown
    assert [one["title"] for one in values(text)["links"]] == ["Pages", "Order desk"]
    assert "  - {title: Pages, url: https://wiki.globex.example/}   # in one line\n  # the desk\n" in text
    assert "  - title: Order desk   # keep\n" in text


@pytest.mark.parametrize(
    ("typed", "field", "sentence"),
    [
        ({"title-1": ""}, "title-1", "Title is missing."),
        ({"url-1": ""}, "url-1", "Address is missing."),
        ({"url-1": "http://wiki.globex.example/"}, "url-1", "Address must be an https URL, or a path"),
        ({"url-1": "javascript:alert(1)"}, "url-1", "Address must be an https URL, or a path"),
        ({"title-1": "x" * 101}, "title-1", "Title must be one line of 1 to 100"),
        ({"home-url": "//evil.example"}, "home-url", "Main application must be an https URL, or a path"),
    ],
)
@pytest.mark.gen_test
async def test_mistakes_are_said_beside_the_field(
    console: ConsoleWorld, typed: dict[str, str], field: str, sentence: str
) -> None:
    await begin(console)
    page = await press(console, await console.get(console.admin, PAGE), "save", typed)
    assert sentence in error_of(page, field), words(page)
    assert "with 1 problem" in words(page)
    for name, value in typed.items():
        assert f'name="{name}" value="{html.escape(value)}"' in page.text


@pytest.mark.gen_test
async def test_two_admins_at_once_lose_nothing(console: ConsoleWorld) -> None:
    await begin(console)
    mine = await console.get(console.admin, PAGE)
    other = await press(console, await console.get(console.operator, PAGE), "add", browser=console.operator)
    typed = {"title-2": "Theirs", "url-2": "/theirs/", "home-url": "/their-home/"}
    assert (await press(console, other, "save", typed, browser=console.operator)).status == 200
    page = await press(console, mine, "save", {"title-0": "Mine", "home-url": "/my-home/"})
    assert page.status == 409
    text = words(page)
    assert "In the draft now, and not below: Order desk /desk/globex/ Theirs /theirs/" in text
    assert "In the draft now: /their-home/" in text
    assert 'value="Mine"' in page.text
    assert values((await draft_of(console)).shown)["links"][2]["title"] == "Theirs"
    again = await press(console, page, "save")
    assert again.status == 200
    links = values((await draft_of(console)).shown)["links"]
    assert [one["title"] for one in links] == ["Mine", "Wiki"]
    assert "title: Mine   # keep" in (await draft_of(console)).shown


@pytest.mark.gen_test
async def test_pressing_a_button_after_somebody_else_saved_still_says_so(console: ConsoleWorld) -> None:
    await begin(console)
    mine = await console.get(console.admin, PAGE)
    assert (await send(console, console.operator, PAGE, {"title-0": "Theirs"})).status == 200
    more = await press(console, mine, "add")
    assert more.status == 200
    assert (await press(console, more, "save")).status == 409


@pytest.mark.gen_test
async def test_nothing_typed_is_lost_while_the_database_is_down(console: ConsoleWorld) -> None:
    page = await console.get(console.admin, PAGE)
    store = type(console.services.store)
    typed = {"title-0": "Mine", "url-0": "/mine/"}
    with mock.patch.object(store, "put_draft", side_effect=StoreUnavailable("down")):
        refused = await press(console, page, "save", typed)
    assert refused.status == 503
    assert 'value="Mine"' in refused.text
    assert "database does not respond" in words(refused)
    assert (await press(console, refused, "save")).status == 200
    assert values((await draft_of(console)).shown)["links"] == [{"title": "Mine", "url": "/mine/"}]


@pytest.mark.gen_test
async def test_links_that_the_form_cannot_show_are_left_alone(console: ConsoleWorld) -> None:
    await begin(console, "links: [{title: 1, url: /x/}]   # odd\n")
    page = await console.get(console.admin, PAGE)
    assert "Set in a form that this page cannot show" in words(page)
    assert 'name="title-0"' not in page.text
    assert (await press(console, page, "save", {"home-url": "/home/"})).status == 200
    text = (await draft_of(console)).shown
    assert "links: [{title: 1, url: /x/}]   # odd\n" in text
    assert values(text)["home_url"] == "/home/"


@pytest.mark.gen_test
async def test_the_form_has_as_many_links_as_a_tenant_may_have(console: ConsoleWorld) -> None:
    [limit] = [
        one.max_length for one in TenantBase.model_fields[LINKS].metadata if hasattr(one, "max_length")
    ]
    assert limit == MOST_LINKS
    many = "".join(f"  - {{title: T{number}, url: /t{number}/}}\n" for number in range(MOST_LINKS))
    await begin(console, f"links:\n{many}")
    page = await console.get(console.admin, PAGE)
    assert page.text.count('name="title-') == MOST_LINKS
    assert ("act", "add") not in post_form(page, PAGE).buttons
    more = await console.admin.submit(post_form(page, PAGE), {"act": "add"})
    assert more.text.count('name="title-') == MOST_LINKS


@pytest.mark.gen_test
async def test_what_no_page_sends_changes_nothing(console: ConsoleWorld) -> None:
    await begin(console)
    before = (await draft_of(console)).shown
    version = str((await draft_of(console)).version)
    for typed in (
        {"act": "drop 0"},
        {"act": "remove"},
        {"rows": "x"},
        {"gone-0": "2"},
        {"title-0": "a\u202eb"},
    ):
        page = await console.post(console.admin, PAGE, **{"replaces": version, "rows": "1", **typed})
        assert page.status == 422, typed
    for act in ("remove 19", "up 0", "undo 7", "up 99"):
        page = await console.post(console.admin, PAGE, act=act, rows="1", **{"title-0": "Mine"})
        assert page.status == 200, act
        assert 'value="Mine"' in page.text
    assert (await draft_of(console)).shown == before


def test_every_field_says_what_to_type() -> None:
    for one in (HOME_FIELD, *LINK_FIELDS):
        assert one.help, one.name
        assert one.example, one.name
