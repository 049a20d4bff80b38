"""The forms of the console: a draft's providers, general settings, and live checks."""

from __future__ import annotations

import asyncio
import html
import re
from typing import Any
from unittest import mock

import pytest

from portal.admin import check_runs
from portal.admin.draft_reading import OpenDraft
from portal.admin.editing import values
from portal.admin.provider_fields import asked_fields
from portal.errors import StoreUnavailable
from portal.stores.tenant_records import TenantRecord, TenantStatus
from portal.tenancy.checks.live.model import CheckResult, Status
from portal.tenancy.checks.live.runner import run_live_checks
from portal.tenancy.presets import built_in
from portal.web.admin.provider_views import parts_of
from tests.contract.entries import new_event
from tests.kit.browser import Browser, Form, Response
from tests.kit.console import ACT, ConsoleWorld

DRAFT = "/admin/t/globex/draft"
NEW = f"{DRAFT}/providers/new"
PROVIDER = f"{DRAFT}/providers/default"
GENERAL = f"{DRAFT}/general"
CHECKS = f"{DRAFT}/checks"
EMPTY = "initech"


def words(page: Response) -> str:
    """The text of a page on one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


def error_of(page: Response, name: str) -> str:
    """The sentence beside a field."""
    found = re.search(rf'(?s)id="error-{name}">(.*?)</p>', page.text)
    return html.unescape(found[1]) if found else ""


async def add_tenant(console: ConsoleWorld) -> None:
    """Make a tenant without a revision, whose draft has a name only."""
    record = TenantRecord(EMPTY, TenantStatus.LIVE, live=0, created_at=1.0, changed_at=1.0)
    assert await console.services.store.add_tenant(record, event=new_event())
    await console.services.drafts.save(EMPTY, "# Initech\nname: Initech\n", ACT, replaces=None)


async def draft_of(console: ConsoleWorld, slug: str = "globex") -> OpenDraft:
    return await console.services.drafts.get(slug)


async def send(console: ConsoleWorld, browser: Browser, path: str, typed: dict[str, str]) -> Response:
    """Open a page, fill in its form and send it."""
    return await browser.submit(post_form(await console.get(browser, path), path), typed)


def post_form(page: Response, path: str) -> Form:
    """The form of a page that changes something."""
    return next(one for one in page.forms if one.method == "POST" and one.action == path)


@pytest.mark.parametrize("name", ["auth0", "okta", "entra", "google", "keycloak"])
def test_a_new_admin_fills_in_five_fields_at_most(name: str) -> None:
    preset = built_in().find(name)
    assert preset is not None
    asked = [one for one in asked_fields(preset, several=False) if not one.more]
    assert 1 < len(asked) <= 5


def test_no_full_stop_stands_alone_after_a_url() -> None:
    parts = parts_of("Under X, add {callback_url}.", {"callback_url": "https://a.example"})
    assert [part.text for part in parts] == ["Under X, add ", "https://a.example"]
    parts = parts_of("Add {callback_url} to X.", {"callback_url": "https://a.example"})
    assert [part.text for part in parts] == ["Add ", "https://a.example", " to X."]


@pytest.mark.gen_test
async def test_a_provider_is_added_with_its_preset_and_the_content_keeps_its_comment(
    console: ConsoleWorld,
) -> None:
    await add_tenant(console)
    base = f"/admin/t/{EMPTY}/draft/providers"
    page = await send(console, console.operator, f"{base}/new", {"preset": "auth0"})
    assert page.url.endswith(f"{base}/default")
    text = words(page)
    assert "At Auth0" in text
    assert page.text.count(f'data-copy="{console.at(f"/t/{EMPTY}/callback")}"') == 1
    assert page.text.count(f'data-copy="{console.at(f"/t/{EMPTY}/signed-out")}"') == 1, "not listed twice"
    assert "Not checked against the provider’s documentation" in text
    typed = {"domain": "initech.eu.auth0.com", "client_id": "abc", "client_secret": "s3cret-of-initech"}
    saved = await console.operator.submit(page.form("/providers/default"), typed)
    assert saved.status == 200
    assert "Saved in the draft" in words(saved)
    assert "s3cret-of-initech" not in saved.text
    assert "Leave this empty to keep it" in words(saved)
    draft = await draft_of(console, EMPTY)
    assert draft.problems == ()
    assert draft.shown.startswith("# Initech\nname: Initech\npreset: auth0\ndomain: initech.eu.auth0.com\n")
    assert "s3cret-of-initech" not in draft.stored
    again = await console.operator.submit(saved.form("/providers/default"), {"client_id": "xyz"})
    assert again.status == 200
    kept = await draft_of(console, EMPTY)
    assert kept.stored == draft.stored.replace("id: abc", "id: xyz")


@pytest.mark.parametrize(
    ("preset", "typed", "field", "sentence"),
    [
        ("okta", {"domain": "acme-admin.okta.com"}, "domain", "Okta domain is Okta's Admin Console"),
        ("entra", {"directory_id": "acme"}, "directory_id", "Directory (tenant) ID looks like "),
        ("auth0", {"domain": "a.eu.auth0.com", "client_id": "<the client id>"}, "client_id", "placeholder"),
        (
            "keycloak",
            {"issuer": "http://login.example.com/realms/a"},
            "issuer",
            "URL of the realm must begin with https://.",
        ),
        (
            "keycloak",
            {"issuer": "https://l.example/realms/a", "more-scopes": "profile"},
            "more-scopes",
            "openid",
        ),
        ("google", {"more-api": "ftp://x"}, "more-api", "must begin with https://."),
        ("google", {}, "hosted_domain", "Needed, unless you state in General settings who may sign in"),
    ],
)
@pytest.mark.gen_test
async def test_mistakes_are_said_beside_the_field_as_for_files(
    console: ConsoleWorld, preset: str, typed: dict[str, str], field: str, sentence: str
) -> None:
    await add_tenant(console)
    base = f"/admin/t/{EMPTY}/draft/providers"
    page = await send(console, console.operator, f"{base}/new", {"preset": preset})
    filled = {"client_id": "portal", "client_secret": "s3cret", **typed}
    saved = await console.operator.submit(page.form("/providers/default"), filled)
    assert sentence in error_of(saved, field), words(saved)
    for name, value in typed.items():
        assert html.escape(value) in saved.text, name


@pytest.mark.gen_test
async def test_a_pasted_metadata_url_finds_the_preset_and_is_cut(console: ConsoleWorld) -> None:
    await add_tenant(console)
    base = f"/admin/t/{EMPTY}/draft/providers"
    pasted = "https://sso.initech.example/realms/staff/.well-known/openid-configuration"
    found = await console.get(console.operator, f"{base}/new?q={pasted}")
    assert "This is Keycloak" in words(found)
    page = await console.operator.submit(post_form(found, f"{base}/new"), {"preset": "keycloak"})
    assert 'value="https://sso.initech.example/realms/staff"' in page.text
    again = await console.operator.submit(page.form("/default"), {"issuer": pasted, "client_id": "a"})
    assert 'value="https://sso.initech.example/realms/staff"' in again.text
    assert "that was the URL of the metadata" in words(again)
    unknown = await console.get(console.operator, f"{base}/new?q=https://login.initech.example")
    assert "No provider is known by this address" in words(unknown)


@pytest.mark.gen_test
async def test_a_second_provider_changes_the_callback_url_of_the_first(console: ConsoleWorld) -> None:
    before = await draft_of(console)
    page = await console.get(console.admin, NEW)
    assert "The callback URL of “Another provider” changes" in words(page)
    bad = await send(console, console.admin, NEW, {"preset": "okta", "id": "Staff!", "first_id": "new"})
    assert bad.status == 422
    assert "Use small letters" in error_of(bad, "id")
    assert "choose another one" in error_of(bad, "first_id")
    assert 'value="Staff!"' in bad.text
    page = await console.admin.submit(
        post_form(bad, NEW), {"preset": "okta", "id": "partners", "first_id": "staff"}
    )
    assert page.url.endswith("/providers/partners")
    assert console.at("/t/globex/callback/partners") in page.text
    draft = await draft_of(console)
    root = values(draft.shown)
    assert list(root["providers"]) == ["staff", "partners"]
    assert root["providers"]["staff"]["client"] == values(before.shown)["client"]
    first = await console.get(console.admin, f"{DRAFT}/providers/staff")
    assert console.at("/t/globex/callback/staff") in first.text
    question = await console.get(console.admin, f"{DRAFT}/providers/partners/remove")
    assert "is the only one" in words(question)
    await console.admin.submit(question.form("/partners/remove"), {})
    draft = await draft_of(console)
    assert list(values(draft.shown)["providers"]) == ["staff"]
    assert draft.problems == ()


@pytest.mark.gen_test
async def test_a_kept_secret_is_not_sent_to_another_issuer(console: ConsoleWorld) -> None:
    page = await send(console, console.admin, PROVIDER, {"issuer": "https://login.elsewhere.example"})
    assert page.status == 422
    assert "would be sent to another address now; type it again" in error_of(page, "client_secret").lower()
    assert 'value="https://login.elsewhere.example"' in page.text
    assert (await draft_of(console)).record is None
    typed = {"issuer": "https://login.elsewhere.example", "client_secret": "another"}
    assert (await send(console, console.admin, PROVIDER, typed)).status == 200
    assert values((await draft_of(console)).shown)["issuer"] == "https://login.elsewhere.example"


@pytest.mark.gen_test
async def test_who_comes_second_sees_both_and_loses_nothing(console: ConsoleWorld) -> None:
    mine = await console.get(console.admin, PROVIDER)
    theirs = await send(console, console.operator, PROVIDER, {"client_id": "theirs"})
    assert theirs.status == 200
    page = await console.admin.submit(mine.form("/providers/default"), {"client_id": "mine"})
    assert page.status == 409
    assert "Somebody else changed this draft meanwhile" in words(page)
    assert 'value="mine"' in page.text
    assert "In the draft now: theirs" in words(page)
    assert values((await draft_of(console)).shown)["client"]["id"] == "theirs"
    again = await console.admin.submit(page.form("/providers/default"), {"client_id": "mine"})
    assert again.status == 200
    assert values((await draft_of(console)).shown)["client"]["id"] == "mine"


@pytest.mark.parametrize(("path", "name"), [(PROVIDER, "client_id"), (GENERAL, "name")])
@pytest.mark.gen_test
async def test_nothing_typed_is_lost_while_the_database_is_down(
    console: ConsoleWorld, path: str, name: str
) -> None:
    page = await console.get(console.admin, path)
    store = type(console.services.store)
    with mock.patch.object(store, "put_draft", side_effect=StoreUnavailable("down")):
        refused = await console.admin.submit(post_form(page, path), {name: "mine"})
    assert refused.status == 503
    assert 'value="mine"' in refused.text
    assert "database does not respond" in words(refused)
    assert "In the draft now" not in words(refused)
    again = await console.admin.submit(post_form(refused, path), {})
    assert again.status == 200
    assert "mine" in (await draft_of(console)).shown


@pytest.mark.gen_test
async def test_general_settings_and_rules_are_saved(console: ConsoleWorld) -> None:
    typed = {
        "name": "Globex GmbH",
        "color": "#123456",
        "claim-roles": "roles",
        "who": "email",
        "endings": "globex.example @partner.example",
        "verified": "1",
        "contact": "help@globex.example",
        "admin-emails": "gina@globex.example\r\nhank@globex.example",
        "admin-verified": "0",
        "admin-claim": "https://globex.example/roles",
        "admin-values": "portal-admin",
    }
    page = await send(console, console.admin, GENERAL, typed)
    assert page.status == 200, words(page)
    root = values((await draft_of(console)).shown)
    assert root["name"] == "Globex GmbH"
    assert root["branding"] == {"color": "#123456"}
    assert root["access"] == {
        "require": [
            {
                "claim": "email",
                "ends_with": ["@globex.example", "@partner.example"],
                "verified_by": "email_verified",
            }
        ],
        "contact": "help@globex.example",
    }
    assert root["admins"] == [
        {"claim": "email", "one_of": ["gina@globex.example", "hank@globex.example"]},
        {"claim": ["https://globex.example/roles"], "contains": "portal-admin"},
    ]
    shown = await console.get(console.admin, GENERAL)
    assert 'value="@globex.example @partner.example"' in shown.text
    assert "gina@globex.example\nhank@globex.example" in shown.text
    wrong = await send(console, console.admin, GENERAL, {**typed, "who": "claim", "claim": "", "values": "x"})
    assert wrong.status == 422
    assert "Type the name of the claim" in words(wrong)
    bad = await send(console, console.admin, GENERAL, {**typed, "color": "red"})
    assert error_of(bad, "color") == "Colour must be like #1f6feb."
    assert "with 1 problem" in words(bad)
    assert "A secret has to be typed again" not in words(wrong)


@pytest.mark.gen_test
async def test_rules_that_the_form_does_not_know_are_shown_and_left_alone(console: ConsoleWorld) -> None:
    before = await draft_of(console)
    rules = "access:\n  require:  # mine\n  - {claim: a, present: true}\n  - {claim: b, equals: 1}\n"
    text = f"{before.shown}\n{rules}"
    await console.services.drafts.save("globex", text, ACT, replaces=before.version)
    page = await console.get(console.admin, GENERAL)
    assert "Other rules, which stay as they are" in words(page)
    saved = await send(
        console, console.admin, GENERAL, {"name": "Globex 2", "admin-emails": "gina@globex.example"}
    )
    assert saved.status == 200
    assert rules in (await draft_of(console)).shown


@pytest.mark.gen_test
async def test_control_characters_are_refused_with_what_was_typed(console: ConsoleWorld) -> None:
    for value in ("a\u202eb", "a\x07b", "x" * 501):
        page = await send(console, console.admin, PROVIDER, {"client_id": value})
        assert page.status == 422
        assert error_of(page, "client_id")
    assert (await draft_of(console)).record is None


@pytest.mark.gen_test
async def test_checks_run_in_the_background_and_show_their_results(console: ConsoleWorld) -> None:
    gate = asyncio.Event()

    async def held(*args: Any, **named: Any) -> Any:
        await gate.wait()
        return await run_live_checks(*args, **named)

    page = await console.get(console.admin, CHECKS)
    with mock.patch.object(check_runs, "run_live_checks", held):
        begun = await console.admin.submit(page.form("/draft/checks"), {})
    assert begun.status == 200
    assert 'http-equiv="refresh"' in begun.text
    gate.set()
    await until_done(console)
    done = await console.get(console.admin, CHECKS)
    assert 'http-equiv="refresh"' not in done.text
    text = words(done)
    assert "In order Metadata discovery" in text
    report = await console.check_report()
    assert report is not None
    assert {one.check for one in report.results} >= {"dns", "discovery", "redirect_uri"}
    again = await console.admin.submit(done.form("/draft/checks"), {})
    assert again.status == 429
    assert again.headers["Retry-After"]
    assert "Test a sign-in" in text


@pytest.mark.gen_test
async def test_a_check_that_failed_is_named_and_leads_to_its_form(console: ConsoleWorld) -> None:
    async def failing(*_: Any, **__: Any) -> list[CheckResult]:
        skipped = [
            CheckResult("globex", "default", name, Status.SKIPPED, "the metadata is not known: see discovery")
            for name in ("jwks", "scopes", "clock")
        ]
        return [
            CheckResult(
                "globex", "default", "discovery", Status.FAIL, "It failed.; The words " + "long words " * 60
            ),
            *skipped,
        ]

    await edit(console)
    page = await console.get(console.admin, DRAFT)
    with mock.patch.object(check_runs, "run_live_checks", failing):
        begun = await console.admin.submit(page.form("/draft/checks"), {})
        assert begun.trail[-1].endswith(CHECKS), "one press begins the run"
        await until_done(console)
    done = await console.get(console.admin, CHECKS)
    text = words(done)
    assert "3 more checks could not be made; most wait for this one" in text
    assert done.text.index("<details") < done.text.index("Keys of the provider")
    assert re.search(r"(words|long) … ", text), "no word is cut"
    assert "It failed. The words" in text
    assert f'href="{DRAFT}/providers/default">Change the provider' in done.text
    steps = words(await console.get(console.admin, DRAFT))
    assert "Run the checks Failed" in steps
    assert "1 failed: Metadata" in steps
    assert "See the results" in steps
    assert "Test the login Later" in steps
    test = await console.get(console.admin, f"{DRAFT}/test")
    assert "does not send you back, return here and run the checks" in words(test)


async def edit(console: ConsoleWorld) -> None:
    """Begin a draft that needs a test login."""
    drafts = console.services.drafts
    now = await drafts.get("globex")
    await drafts.save("globex", now.shown + "max_age: 1h\n", console.act, replaces=now.version)


async def until_done(console: ConsoleWorld, slug: str = "globex") -> None:
    for _ in range(150):
        report = await console.check_report(slug)
        if report is not None and report.state is check_runs.RunState.DONE:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the checks did not end")


@pytest.mark.parametrize(
    ("typed", "where", "sentence"),
    [
        (
            {"endings": "@globex.example"},
            "endings",
            "You typed endings, but chose “As usual for the provider”",
        ),
        ({"who": "anyone", "claim": "roles"}, "claim", "Choose “Who has a value in a claim”, or empty"),
        ({"who": "anyone", "values": "staff"}, "values", "You typed values"),
        ({"contact": "help@globex.example"}, "contact", "You typed a contact"),
        ({"admin-emails": "gina@globex.example\r\nmilton"}, "admin-emails", "not an e-mail address: milton"),
    ],
)
@pytest.mark.gen_test
async def test_nothing_typed_is_dropped_silently(
    console: ConsoleWorld, typed: dict[str, str], where: str, sentence: str
) -> None:
    page = await send(console, console.admin, GENERAL, typed)
    assert page.status == 422
    assert sentence in words(page), words(page)
    assert html.escape(typed[where].splitlines()[-1]) in page.text
    assert (await draft_of(console)).record is None


@pytest.mark.gen_test
async def test_another_choice_replaces_the_rule_that_was_there(console: ConsoleWorld) -> None:
    typed = {"who": "email", "endings": "@globex.example", "contact": "help@globex.example"}
    assert (await send(console, console.admin, GENERAL, typed)).status == 200
    assert (await send(console, console.admin, GENERAL, {"who": "anyone"})).status == 200
    assert values((await draft_of(console)).shown)["access"] == "anyone"


@pytest.mark.gen_test
async def test_rules_of_another_form_can_be_chosen_again_after_a_mistake(console: ConsoleWorld) -> None:
    before = await draft_of(console)
    text = f"{before.shown}\naccess: {{require: [{{claim: a, present: true}}, {{claim: b, equals: 1}}]}}\n"
    await console.services.drafts.save("globex", text, ACT, replaces=before.version)
    page = await send(console, console.admin, GENERAL, {"who": "claim", "claim": "roles"})
    assert page.status == 422
    assert 'value="other"' in page.text
    saved = await console.admin.submit(post_form(page, GENERAL), {"who": "other", "claim": ""})
    assert saved.status == 200
    assert "present: true" in (await draft_of(console)).shown


@pytest.mark.gen_test
async def test_domains_and_hosts_are_typed_one_a_line(console: ConsoleWorld) -> None:
    typed = {"email-domains": "@globex.example\r\nglobex.test, ", "hosts": "login.globex.example"}
    page = await send(console, console.admin, GENERAL, typed)
    assert page.status == 200, words(page)
    root = values((await draft_of(console)).shown)
    assert root["email_domains"] == ["globex.example", "globex.test"]
    assert root["hosts"] == ["login.globex.example"]
    assert "\nglobex.example\nglobex.test</textarea>" in page.text
    wrong = await send(
        console, console.admin, GENERAL, {"email-domains": "globex.example\r\nhttps://x.example"}
    )
    assert "host name alone" in error_of(wrong, "email-domains"), words(wrong)
    none = await send(console, console.admin, GENERAL, {"email-domains": " \r\n", "hosts": ""})
    assert none.status == 200
    assert not {"email_domains", "hosts"} & values((await draft_of(console)).shown).keys()


@pytest.mark.gen_test
async def test_an_issuer_with_a_path_that_is_typed_as_domain_is_kept(console: ConsoleWorld) -> None:
    await add_tenant(console)
    base = f"/admin/t/{EMPTY}/draft/providers"
    page = await send(console, console.operator, f"{base}/new", {"preset": "okta"})
    issuer = "https://acme.okta.com/oauth2/default"
    typed = {"domain": issuer, "client_id": "portal", "client_secret": "s3cret"}
    saved = await console.operator.submit(page.form("/providers/default"), typed)
    root = values((await draft_of(console, EMPTY)).shown)
    assert root["issuer"] == issuer
    assert "domain" not in root
    assert "that was a URL with a path, so it is now the Issuer" in words(saved)
    plain = {"domain": "https://acme.okta.com/", "more-issuer": "", "client_secret": "s3cret"}
    await console.operator.submit(saved.form("/providers/default"), plain)
    root = values((await draft_of(console, EMPTY)).shown)
    assert root["domain"] == "acme.okta.com"
    assert "issuer" not in root


@pytest.mark.gen_test
async def test_another_kind_takes_the_place_of_a_provider(console: ConsoleWorld) -> None:
    question = await console.get(console.admin, f"{NEW}?instead=default")
    assert "Choose a different kind" in words(question)
    assert "In place of “ Another provider ”" in words(question)
    page = await console.admin.submit(post_form(question, NEW), {"preset": "auth0"})
    assert page.url.endswith("/providers/default")
    assert "At Auth0" in words(page)
    root = values((await draft_of(console)).shown)
    assert root["preset"] == "auth0"
    assert not {"providers", "client", "issuer"} & root.keys()
    steps = words(await console.get(console.admin, DRAFT))
    assert "Choose a different kind" in steps
    assert "Add a second provider" in steps
    assert "lacks the key" not in steps


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("Okta", "This is Okta"),
        ("microsoft", "This is Microsoft Entra ID"),
        ("azure ad", "This is Microsoft Entra ID"),
        ("nobody", "No provider is known by this name"),
    ],
)
@pytest.mark.gen_test
async def test_a_provider_is_found_by_its_name(console: ConsoleWorld, typed: str, found: str) -> None:
    await add_tenant(console)
    new = f"/admin/t/{EMPTY}/draft/providers/new"
    page = await console.get(console.operator, f"{new}?q={typed.replace(' ', '+')}")
    assert found in words(page)
    chosen = re.search(r'name="preset" value="(\w+)"', page.text)
    assert chosen
    await console.operator.submit(post_form(page, new), {"preset": chosen[1]})
    root = values((await draft_of(console, EMPTY)).shown)
    assert {*root} == {"name", "preset"}
