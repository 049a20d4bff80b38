"""The forms of the console for the APIs of a draft."""

from __future__ import annotations

import html
from unittest import mock

import pytest

from portal.admin.api_form import API_FIELDS, CONNECTION_FIELDS, LIMIT_FIELDS, TOKEN_FIELDS
from portal.admin.editing import set_values, values
from portal.errors import StoreUnavailable
from tests.handlers.test_console_forms import DRAFT, draft_of, error_of, post_form, send, words
from tests.kit.browser import Browser, Form, Response
from tests.kit.console import ACT, ConsoleWorld

APIS = f"{DRAFT}/apis"
BILLING = f"{APIS}/billing"
BASE_URL = "https://billing.globex.example"
COMMENTED = f"""\
apis:   # of the finance department
  # invoices
  billing:
    base_url: {BASE_URL}   # the new one
    timeout: 5s   # it is fast
"""


async def begin(console: ConsoleWorld, added: str = COMMENTED) -> None:
    """Add text to the draft."""
    before = await draft_of(console)
    await console.services.drafts.save("globex", before.shown + added, ACT, replaces=before.version)


def add_form(page: Response) -> Form:
    """The form of the list that adds an API."""
    return next(one for one in page.forms if ("act", "add") in one.buttons)


async def press(console: ConsoleWorld, page: Response, act: str, browser: Browser | None = None) -> Response:
    """Press a button of the list."""
    form = next(one for one in page.forms if ("act", act) in one.buttons)
    return await (browser or console.admin).submit(form, {"act": act})


@pytest.mark.gen_test
async def test_an_api_is_added_and_every_setting_is_typed(console: ConsoleWorld) -> None:
    page = await console.get(console.admin, APIS)
    form = add_form(page)
    added = await console.admin.submit(form, {"act": "add", "name": "billing", "base-url": BASE_URL})
    assert added.url.endswith("/draft/apis/billing?saved=1")
    assert "Pages call it at /t/globex/apis/billing/" in words(added)
    typed = {
        "base-url": "https://billing.globex.example/v2",
        "example-paths": "/invoices?limit=1,2\r\n/orders;x\r\n",
        "access": "user",
        "resource": "https://billing.globex.example",
        "scopes": "read:invoices  write:invoices",
        "token": "refresh",
        "mtls": "false",
        "timeout": "10s",
        "idle-timeout": "2m",
        "max-body": "5MB",
        "request-headers": "Referer\r\nSec-GPC",
        "response-headers": "Server",
    }
    saved = await send(console, console.admin, BILLING, typed)
    assert saved.status == 200, words(saved)
    draft = await draft_of(console)
    assert draft.problems == ()
    assert values(draft.shown)["apis"]["billing"] == {
        "base_url": "https://billing.globex.example/v2",
        "example_paths": ["/invoices?limit=1,2", "/orders;x"],
        "access": "user",
        "resource": "https://billing.globex.example",
        "scopes": ["read:invoices", "write:invoices"],
        "token": "refresh",
        "mtls": False,
        "timeout": "10s",
        "idle_timeout": "2m",
        "max_body": "5MB",
        "request_headers": ["Referer", "Sec-GPC"],
        "response_headers": ["Server"],
    }
    emptied = await send(console, console.admin, BILLING, dict.fromkeys(typed, "") | {"base-url": BASE_URL})
    assert emptied.status == 200
    assert values((await draft_of(console)).shown)["apis"]["billing"] == {"base_url": BASE_URL}


def test_every_field_says_what_to_type() -> None:
    for one in API_FIELDS:
        assert one.help, one.name
        assert one.example or one.choices or one.secret, one.name
    assert {one.name for one in (*TOKEN_FIELDS, *LIMIT_FIELDS, *CONNECTION_FIELDS)} < {
        one.name for one in API_FIELDS
    }


@pytest.mark.gen_test
async def test_the_first_api_has_no_name_and_a_second_needs_one(console: ConsoleWorld) -> None:
    before = await draft_of(console)
    without = set_values(before.shown, {("api",): None})
    await console.services.drafts.save("globex", without, ACT, replaces=before.version)
    page = await console.get(console.admin, APIS)
    assert "Without a short name it is the default API" in words(page)
    form = add_form(page)
    added = await console.admin.submit(form, {"act": "add", "base-url": BASE_URL})
    assert added.url.endswith("/draft/api?saved=1")
    assert values((await draft_of(console)).shown)["api"] == {"base_url": BASE_URL}
    again = await console.admin.submit(form, {"act": "add", "base-url": "https://b.globex.example"})
    assert again.status == 422
    assert "there is a default API already" in error_of(again, "name")
    assert 'value="https://b.globex.example"' in again.text


@pytest.mark.parametrize(
    ("name", "url", "field", "sentence"),
    [
        ("Billing", BASE_URL, "name", "Use small letters"),
        ("-x", BASE_URL, "name", "Use small letters"),
        ("billing", BASE_URL, "name", "There is an API with this short name"),
        ("catalog", "", "base-url", "Type the URL of the API"),
        ("catalog", "https://a b", "base-url", "Type the URL of the API"),
    ],
)
@pytest.mark.gen_test
async def test_mistakes_of_a_new_api_are_said_beside_the_field(
    console: ConsoleWorld, name: str, url: str, field: str, sentence: str
) -> None:
    await begin(console)
    before = (await draft_of(console)).shown
    page = await console.get(console.admin, APIS)
    typed = {"act": "add", "name": name, "base-url": url}
    refused = await console.admin.submit(add_form(page), typed)
    assert refused.status == 422
    assert sentence in error_of(refused, field)
    assert f'value="{html.escape(name)}"' in refused.text
    assert (await draft_of(console)).shown == before


@pytest.mark.parametrize(
    ("typed", "field", "sentence"),
    [
        ({"base-url": "ftp://x"}, "base-url", "Base URL must begin with https://."),
        ({"base-url": ""}, "base-url", "Base URL is missing."),
        ({"base-url": "https://169.254.169.254/"}, "base-url", "link-local address"),
        ({"audience": "a", "resource": "https://b"}, "resource", 'Resource conflicts with "audience"'),
        ({"scopes": 'a "b"'}, "scopes", "Scopes 2 must be one scope"),
        ({"token": "exchange"}, "token", "needs audience, resource or scopes"),
        ({"access": "anonymous", "scopes": "a"}, "scopes", "has no effect with access: anonymous"),
        ({"timeout": "0s"}, "timeout", "Longest wait for a response must be between 1s and 1h"),
        ({"timeout": "soon"}, "timeout", "must be a duration such as 90s"),
        ({"max-body": "much"}, "max-body", "must be a size such as 500KB"),
        ({"request-headers": "Cookie"}, "request-headers", "never passes"),
        ({"response-headers": "Set-Cookie"}, "response-headers", "never passes"),
        ({"example-paths": "orders"}, "example-paths", "begins with one /"),
        ({"ca": "file:/etc/ssl/ca.pem"}, "ca", "Cannot name a file"),
        ({"ca": "nothing"}, "ca", "Certificate authority is not"),
    ],
)
@pytest.mark.gen_test
async def test_mistakes_are_said_beside_the_field(
    console: ConsoleWorld, typed: dict[str, str], field: str, sentence: str
) -> None:
    await begin(console)
    page = await send(console, console.admin, BILLING, typed)
    assert sentence in error_of(page, field), words(page)
    for name, value in typed.items():
        assert name == "ca" or html.escape(value) in page.text, name


@pytest.mark.gen_test
async def test_the_form_keeps_the_comments(console: ConsoleWorld) -> None:
    await begin(console)
    assert (await send(console, console.admin, BILLING, {"timeout": "9s", "scopes": "a"})).status == 200
    text = (await draft_of(console)).shown
    assert COMMENTED.replace("5s ", '"9s" ') in text
    assert "    scopes: [a]\n" in text


@pytest.mark.gen_test
async def test_an_api_is_removed_when_the_list_is_saved_and_not_before(console: ConsoleWorld) -> None:
    await begin(console)
    before = (await draft_of(console)).shown
    page = await press(console, await console.get(console.admin, APIS), "remove apis/billing")
    assert page.status == 200
    assert "Removed when you save" in words(page)
    assert (await draft_of(console)).shown == before
    undone = await press(console, page, "undo apis/billing")
    assert "Removed when you save" not in words(undone)
    saved = await press(console, page, "save")
    assert "Saved in the draft" in words(saved)
    root = values((await draft_of(console)).shown)
    assert "apis" not in root
    assert "api" in root
    assert "# of the finance" not in (await draft_of(console)).shown


@pytest.mark.gen_test
async def test_two_admins_at_once_lose_nothing(console: ConsoleWorld) -> None:
    await begin(console)
    mine, list_ = await console.get(console.admin, BILLING), await console.get(console.admin, APIS)
    marked = await press(console, list_, "remove apis/billing")
    theirs = await send(console, console.operator, BILLING, {"timeout": "7s"})
    assert theirs.status == 200
    page = await console.admin.submit(post_form(mine, BILLING), {"timeout": "8s"})
    assert page.status == 409
    assert "In the draft now: 7s" in words(page)
    assert 'value="8s"' in page.text
    refused = await press(console, marked, "save")
    assert refused.status == 409
    assert "Removed when you save" in words(refused), "the mark stays"
    assert values((await draft_of(console)).shown)["apis"]["billing"]["timeout"] == "7s"
    again = await press(console, refused, "save")
    assert again.status == 200
    assert "apis" not in values((await draft_of(console)).shown)


@pytest.mark.gen_test
async def test_an_api_is_added_beside_what_somebody_else_changed(console: ConsoleWorld) -> None:
    page = await console.get(console.admin, APIS)
    await begin(console)
    added = await console.admin.submit(
        add_form(page), {"act": "add", "name": "catalog", "base-url": "https://c.globex.example"}
    )
    assert added.status == 200
    text = (await draft_of(console)).shown
    assert {*values(text)["apis"]} == {"billing", "catalog"}
    assert COMMENTED in text


@pytest.mark.gen_test
async def test_nothing_typed_is_lost_while_the_database_is_down(console: ConsoleWorld) -> None:
    await begin(console)
    page, list_ = await console.get(console.admin, BILLING), await console.get(console.admin, APIS)
    marked = await press(console, list_, "remove apis/billing")
    store = type(console.services.store)
    with mock.patch.object(store, "put_draft", side_effect=StoreUnavailable("down")):
        refused = await console.admin.submit(post_form(page, BILLING), {"timeout": "8s"})
        kept = await press(console, marked, "save")
        typed = {"act": "add", "name": "catalog", "base-url": "https://c.globex.example"}
        unadded = await console.admin.submit(add_form(list_), typed)
    for shown in (refused, kept, unadded):
        assert shown.status == 503
        assert "database does not respond" in words(shown)
    assert 'value="8s"' in refused.text
    assert "Removed when you save" in words(kept)
    assert 'value="catalog"' in unadded.text


@pytest.mark.gen_test
async def test_an_api_that_is_not_there_has_no_page(console: ConsoleWorld) -> None:
    assert (await console.get(console.admin, f"{APIS}/nobody")).status == 404
    assert (await console.post(console.admin, f"{APIS}/nobody", **{"base-url": BASE_URL})).status == 404
    await begin(console, "apis: {billing: text}\n")
    assert (await console.get(console.admin, BILLING)).status == 404
    for act in ("remove", "remove ../x", "remove apis/UPPER", "x"):
        assert (await console.post(console.admin, APIS, act=act)).status == 422, act
    assert (await console.post(console.admin, APIS, gone="x")).status == 422
