"""Test logins with the draft of a tenant, at the real callback."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from portal.admin.actors import Actor, ActorType
from portal.admin.editing import values
from portal.admin.events import EventKind
from portal.stores.tenant_records import TenantRecord, TenantStatus
from tests.kit.console import ACT, ConsoleWorld
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.faulty.endpoints import Response as ProviderResponse
from tests.kit.raw import until
from tests.kit.test_logins import PAGE, Tester

RULES = "access: {require: [{claim: email, equals: gina@globex.example}, {claim: team, equals: red}]}\n"


def text(html: str) -> str:
    """The visible text of a page."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


@pytest.mark.gen_test
async def test_the_result_shows_what_the_provider_said(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft(lambda content: content + RULES)
    page = await tester.test()
    assert (page.status, urlsplit(page.url).path) == (200, f"{PAGE}/default"), page.text
    said = text(page.text)
    assert "The test login succeeded" in said
    assert "gina@globex.example" in said
    assert "email_verified boolean true" in said
    assert "Met: email must be &quot;gina@globex.example&quot;" in said
    assert "Not met: team must be &quot;red&quot; Found no such claim." in said
    assert "This account may not sign in" in said
    assert "would be an admin of this organisation" in said
    assert "Refresh token Yes" in said
    draft = await tester.open()
    event = (await console.services.store.list_events(tenant="globex"))[0]
    assert (event.kind, event.outcome, event.target) == (EventKind.TEST_LOGIN, "done", "provider default")
    assert (event.client, event.request_id != "") == ("127.0.0.0/24", True)
    test = draft.state.tests["default"]
    assert event.actor == test.actor
    assert test.claims["email"] == "gina@globex.example"
    assert (test.issuer, test.refresh_token, test.warnings) == (tester.provider.issuer, True, ())
    login = await console.world.login_of(console.admin, "globex")
    assert login is not None
    assert test.actor == Actor(ActorType.ADMIN, login.subject, login.issuer).as_json()


@pytest.mark.gen_test
async def test_the_tokens_of_a_test_are_revoked(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft()
    before = tester.provider.requests["revocation"]
    await tester.test()
    assert tester.provider.requests["revocation"] == before + 1


@pytest.mark.gen_test
async def test_a_test_can_demand_a_new_sign_in(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft()
    begun = await tester.begin(again=True)
    assert parse_qs(urlsplit(begun.headers["Location"]).query)["prompt"] == ["login"]
    begun = await tester.begin()
    assert "prompt" not in parse_qs(urlsplit(begun.headers["Location"]).query)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "keys",
    [
        "response_mode: form_post\n",
        "response_mode: jwt\n",
        "response_mode: form_post.jwt\n",
        "par: true\n",
        "dpop: true\n",
        "userinfo: true\n",
    ],
)
async def test_a_test_login_works_as_a_login(console: ConsoleWorld, keys: str) -> None:
    tester = Tester(console)
    await tester.draft(lambda content: content + keys)
    page = await tester.test()
    assert "The test login succeeded" in page.text, text(page.text)


@pytest.mark.gen_test
async def test_a_test_login_with_a_client_assertion(console: ConsoleWorld) -> None:
    tester = Tester(console)
    client = tester.provider.settings.clients[0].client_id
    tester.provider.assertion_audiences[client] = frozenset({"issuer"})
    tester.provider.client_keys[client] = console.at("/.well-known/jwks.json")
    await tester.draft(
        lambda content: re.sub(
            r"client:\n(?:  .*\n)+",
            f"client: {{id: {client}, auth: private_key_jwt, signing_alg: ES256}}\n",
            content,
        )
    )
    assert "private_key_jwt" in (await tester.open()).shown
    page = await tester.test()
    assert "The test login succeeded" in page.text, text(page.text)


@pytest.mark.gen_test
async def test_the_error_of_the_provider_is_shown_to_the_admin(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft(
        lambda content: re.sub(r"secret: .*", "secret: not-the-secret-that-was-registered", content)
    )
    page = await tester.test()
    assert (page.status, urlsplit(page.url).path) == (200, f"{PAGE}/default")
    said = text(page.text)
    assert "The last test login failed" in said
    assert "error=invalid_client" in said
    assert "not-the-secret-that-was-registered" not in page.text
    failed = (await tester.open()).state.failed["default"]
    assert failed.code == "token_request_rejected"
    event = (await console.services.store.list_events(tenant="globex"))[0]
    assert (event.kind, event.outcome, event.reason) == (EventKind.TEST_LOGIN, "refused", failed.title)
    assert event.actor == failed.actor
    assert (await tester.open()).state.tests == {}


@pytest.mark.gen_test
async def test_a_refusal_of_the_provider_is_shown_in_its_words(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft()
    callback = await tester.to_callback()
    parts = urlsplit(callback)
    sent = {name: values[0] for name, values in parse_qs(parts.query).items() if name != "code"}
    refused = urlencode(sent | {"error": "access_denied", "error_description": "Ask <b>your admin"})
    page = await tester.browser.open(parts._replace(query=refused).geturl())
    assert urlsplit(page.url).path == f"{PAGE}/default"
    assert "Ask &lt;b&gt;your admin" in page.text
    assert "error=access_denied" in page.text


@pytest.mark.gen_test
async def test_a_failure_leaves_the_test_that_succeeded(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft()
    await tester.test()
    tester.provider.faults.endpoints["token"] = EndpointFault(response=ProviderResponse(500, b""))
    page = await tester.test()
    assert "The last test login failed" in page.text
    assert "The last test login that succeeded" in page.text
    del tester.provider.faults.endpoints["token"]
    page = await tester.test()
    assert "The test login succeeded" in page.text
    assert (await tester.open()).state.failed == {}


@pytest.mark.gen_test
async def test_a_provider_that_does_not_respond_is_a_failed_test(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft()
    tester.provider.faults.endpoints["discovery"] = EndpointFault(response=ProviderResponse(404, b""))
    begun = await tester.begin()
    assert (begun.status, begun.headers["Location"]) == (303, f"{PAGE}/default")
    page = await console.get(tester.browser, f"{PAGE}/default")
    assert "responded with 404" in page.text


@pytest.mark.gen_test
async def test_a_tenant_that_was_never_published_is_tested_at_its_callback(console: ConsoleWorld) -> None:
    tester = Tester(console, console.operator)
    content = (await tester.open()).shown
    services = console.services
    await services.tenants.remove("globex", ACT)
    now = console.world.clock()
    event = ACT.event(EventKind.TENANT_ADDED, tenant="globex", at=now)
    assert await services.store.add_tenant(
        TenantRecord("globex", TenantStatus.LIVE, live=0, created_at=now, changed_at=now), event=event
    )
    typed = re.sub(r"secret: .*", f"secret: {tester.provider.settings.clients[0].client_secret}", content)
    await services.drafts.save("globex", typed, ACT, replaces=None)
    await until(lambda: console.world.running.portal.registry.get("globex") is None, "it is still served")
    page = await tester.test()
    assert "The test login succeeded" in page.text, text(page.text)
    assert (await console.get(console.stranger, "/t/globex/")).status == 404


@pytest.mark.gen_test
async def test_a_suspended_tenant_can_be_tested(console: ConsoleWorld) -> None:
    tester = Tester(console, console.operator)
    await tester.draft()
    await console.services.tenants.set_status("globex", TenantStatus.SUSPENDED, ACT)
    await until(lambda: console.world.running.portal.registry.get("globex") is None, "it is still served")
    page = await tester.test()
    assert "The test login succeeded" in page.text, text(page.text)


@pytest.mark.gen_test
async def test_the_claims_of_name_and_roles_are_chosen_after_a_test(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft()
    page = await tester.test()
    form = page.form(f"{PAGE}/default/claims")
    saved = await tester.browser.submit(form, {"name": "email", "email": "email", "roles": ""})
    assert (saved.status, urlsplit(saved.url).path) == (200, f"{PAGE}/default")
    draft = await tester.open()
    assert draft.loaded is not None
    assert (draft.loaded.tenant.claims.name, draft.loaded.tenant.claims.email) == ("email", "email")
    assert "# changed" in draft.shown
    assert "The test login succeeded" in saved.text, "the choice needs no second test"


@pytest.mark.gen_test
async def test_only_a_claim_that_was_received_can_be_chosen(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft()
    form = (await tester.test()).form(f"{PAGE}/default/claims")
    again = await tester.browser.submit(form, {"name": "no_such_claim", "email": "email", "roles": ""})
    assert again.status == 422
    assert "Choose one of the claims." in again.text
    assert (await tester.open()).shown.endswith("# changed\n")


@pytest.mark.gen_test
async def test_a_choice_in_a_draft_that_somebody_else_changed_is_shown_again(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft()
    form = (await tester.test()).form(f"{PAGE}/default/claims")
    await tester.draft()
    again = await tester.browser.submit(form, {"name": "email", "email": "email", "roles": ""})
    assert again.status == 409
    assert "Somebody else changed the draft meanwhile" in again.text
    saved = await tester.browser.submit(
        again.form(f"{PAGE}/default/claims"), {"name": "email", "email": "email", "roles": ""}
    )
    assert saved.status == 200
    draft = await tester.open()
    assert draft.loaded is not None
    assert draft.loaded.tenant.claims.name == "email"


@pytest.mark.gen_test
async def test_only_who_tested_sees_what_the_claims_contain(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft()
    mine = await tester.test()
    theirs = await console.get(console.operator, f"{PAGE}/default")
    assert theirs.status == 200
    assert "gina@globex.example" in mine.text
    assert "gina@globex.example" not in theirs.text
    assert "email_verified" in theirs.text
    assert "/claims" not in theirs.text


@pytest.mark.gen_test
async def test_without_a_draft_there_is_nothing_to_test(console: ConsoleWorld) -> None:
    tester = Tester(console)
    page = await console.get(tester.browser, PAGE)
    assert "There is no draft" in page.text
    refused = await console.get(tester.browser, f"{PAGE}/default")
    assert refused.status == 409
    assert (await console.get(tester.browser, f"{PAGE}/other")).status == 404


@pytest.mark.gen_test
async def test_a_tenant_begins_few_test_logins_at_once(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft()
    statuses = [(await tester.begin()).status for _ in range(11)]
    assert statuses == [303] * 10 + [429]
    console.world.clock.advance(7)
    assert (await tester.begin()).status == 303


@pytest.mark.gen_test
async def test_who_tested_makes_themselves_an_admin(console: ConsoleWorld) -> None:
    tester = Tester(console)
    await tester.draft(lambda content: re.sub(r"admins: .*\n", "", content))
    page = await tester.test()
    publish = await console.get(console.admin, "/admin/t/globex/draft/publish")
    assert "can open this console afterwards" in text(publish.text)
    assert "Make gina@globex.example an admin" in text(page.text)
    done = await tester.browser.submit(page.form(f"{PAGE}/default/admin"))
    assert done.status == 200
    assert "This account would be an admin" in text(done.text)
    assert f"{PAGE}/default/admin" not in done.text
    draft = await tester.open()
    assert draft.problems == ()
    email = {"claim": "email", "equals": "gina@globex.example", "verified_by": "email_verified"}
    assert values(draft.shown)["admins"] == [email]
    publish = await console.get(console.admin, "/admin/t/globex/draft/publish")
    assert "can open this console afterwards" not in text(publish.text)


@pytest.mark.gen_test
async def test_only_who_tested_with_an_account_that_may_sign_in_makes_it_an_admin(
    console: ConsoleWorld,
) -> None:
    tester = Tester(console)
    await tester.draft(lambda content: re.sub(r"admins: .*\n", "", content))
    form = (await tester.test()).form(f"{PAGE}/default/admin")
    theirs = await console.get(console.operator, f"{PAGE}/default")
    assert "/default/admin" not in theirs.text
    await tester.draft(lambda content: content + RULES)
    refused = await tester.browser.submit(form)
    assert refused.status == 409
    assert "one that may sign in" in text(refused.text)
    await tester.draft(lambda content: content.replace(RULES, ""))
    changed = await tester.browser.submit(form)
    assert changed.status == 409
    assert "Somebody else changed the draft" in text(changed.text)
    assert "admins" not in values((await tester.open()).shown)
