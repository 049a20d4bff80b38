"""The pages of a draft: editing it as YAML, who comes second, publishing, proposing and discarding it."""

from __future__ import annotations

import contextlib
import html
import re
from collections.abc import Iterator
from unittest import mock

import pytest

from portal.admin.actors import Actor, ActorType
from portal.admin.events import Act
from portal.admin.viewers import BoundSetupLink
from portal.errors import ConfigurationError, StoreUnavailable
from portal.stores.tenant_records import Draft, TenantRecord, TenantStatus
from portal.tenancy.stored import FORMAT
from tests.contract.entries import new_event
from tests.kit.browser import Browser
from tests.kit.console import ConsoleWorld
from tests.kit.draft_pages import DRAFT, PUBLISH, YAML, add_tests, press, save, textarea, words
from tests.kit.raw import change_tenant, until


@pytest.mark.gen_test
async def test_an_admin_edits_sees_the_changes_and_publishes(console: ConsoleWorld) -> None:
    page = await console.get(console.admin, DRAFT)
    assert "There is no draft" in page.text
    saved = await save(console, console.admin, add="session: {idle: 12m}\n")
    assert (saved.status, saved.trail[-1].endswith(YAML)) == (200, True)
    assert "secret: sealed:" in textarea(saved)
    page = await console.get(console.admin, DRAFT)
    assert "Last changed by" in page.text
    review = await console.get(console.admin, PUBLISH)
    assert "diff-added" in review.text
    assert "session: {idle: 12m}" in words(review)
    done = await press(console, console.admin, "publish", {"reason": "our colour"})
    assert done.trail[-1].endswith(f"{DRAFT}?published=2")
    assert "Published as revision 2" in done.text
    await console.until_served(2)
    revision = await console.services.tenants.revision("globex")
    assert (revision.number, revision.reason) == (2, "our colour")
    assert '"type": "admin"' in revision.author
    [event, *_] = [
        one
        for one in await console.services.store.list_events(tenant="globex")
        if one.kind == "tenant_published"
    ]
    assert (event.reason, event.client) == ("our colour", "127.0.0.0/24")
    assert event.request_id


@pytest.mark.gen_test
async def test_what_is_not_yaml_is_not_stored_and_stays_in_the_form(console: ConsoleWorld) -> None:
    typed = "name: Globex <b>&amp;\nissuer: [x\nclient: {}\n"
    refused = await save(console, console.admin, typed)
    assert refused.status == 422
    assert textarea(refused) == typed
    assert "Nothing was stored." in refused.text
    assert "Line 2:" in refused.text
    assert "issuer: [x" in refused.text[refused.text.index("problem-line") :]
    assert (await console.services.drafts.get("globex")).record is None
    too_long = await save(console, console.admin, "a: " + "x" * 70_000)
    assert (too_long.status, "too long" in too_long.text) == (422, True)


@pytest.mark.gen_test
async def test_an_invalid_tenant_is_a_draft_with_its_problems_beside_the_line(console: ConsoleWorld) -> None:
    page = await console.get(console.admin, YAML)
    saved = await save(console, console.admin, textarea(page).replace("name:", "nmae:"))
    assert saved.status == 200
    assert "Saved as a draft." in saved.text
    assert "did you mean" in words(saved)
    assert "problem-caret" in saved.text
    steps = words(await console.get(console.admin, DRAFT))
    assert "did you mean" in steps
    review = await console.get(console.admin, PUBLISH)
    assert "must be corrected first" in review.text
    assert not [form for form in review.forms if "publish" in form.action]


@pytest.mark.gen_test
async def test_the_second_of_two_admins_sees_the_first_change_and_loses_nothing(
    console: ConsoleWorld,
) -> None:
    mine = await console.get(console.admin, YAML)
    await save(console, console.operator, add="session: {idle: 11m}\n")
    typed = textarea(mine) + "max_age: 1h\n"
    conflict = await save(console, console.admin, typed, page=mine)
    assert conflict.status == 409
    assert textarea(conflict) == typed
    assert "operator" in words(conflict)
    assert "session: {idle: 11m}" in html.unescape(conflict.text[: conflict.text.index("<textarea")])
    assert "Save mine in place of theirs" in conflict.text
    assert "idle: 11m" in (await console.services.drafts.get("globex")).stored
    saved = await save(console, console.admin, typed, page=conflict)
    assert saved.status == 200
    stored = (await console.services.drafts.get("globex")).stored
    assert "idle: 11m" not in stored
    assert "max_age: 1h" in stored


@pytest.mark.gen_test
async def test_a_stale_tab_does_not_blame_somebody_else(console: ConsoleWorld) -> None:
    yaml, general = (
        await console.get(console.admin, YAML),
        await console.get(console.admin, f"{DRAFT}/general"),
    )
    provider = await console.get(console.admin, f"{DRAFT}/providers/default")
    typed = textarea(yaml) + "max_age: 1h\n"
    await save(console, console.admin, add="session: {idle: 11m}\n")
    mine = "You changed this draft in another tab"
    conflict = await save(console, console.admin, typed, page=yaml)
    assert (conflict.status, mine in words(conflict)) == (409, True)
    for page, path in ((general, "/draft/general"), (provider, "/providers/default")):
        console.admin.page = page
        conflict = await console.admin.submit(page.form(path), {})
        assert (conflict.status, mine in words(conflict)) == (409, True)
        assert "Somebody else" not in conflict.text
    await save(console, console.operator, add="userinfo: true\n")
    console.admin.page = general
    conflict = await console.admin.submit(general.form("/draft/general"), {})
    assert "Somebody else changed this draft meanwhile" in words(conflict)


@pytest.mark.gen_test
async def test_publishing_an_old_page_changes_nothing_and_says_so(console: ConsoleWorld) -> None:
    await save(console, console.admin, add="session: {idle: 12m}\n")
    page = await console.get(console.admin, PUBLISH)
    await console.publish(console.typed.replace("Globex", "Globex Group"))
    stale = await console.admin.submit(page.form("/draft/publish"), {"act": "publish"})
    assert stale.status == 409
    assert "Another revision became live" in stale.text
    assert "undoes its changes" in words(stale)
    assert (await console.services.drafts.get("globex")).record is not None
    page = await console.get(console.admin, PUBLISH)
    await save(console, console.operator, add="max_age: 2h\n")
    stale = await console.admin.submit(page.form("/draft/publish"), {"act": "publish"})
    assert (stale.status, "The draft was changed" in stale.text) == (409, True)
    assert (await console.services.tenants.get("globex")).live == 2


@pytest.mark.gen_test
async def test_an_earlier_revision_with_a_name_that_another_tenant_has_now_is_not_published_again(
    console: ConsoleWorld,
) -> None:
    act = Act(Actor(ActorType.OPERATOR, "root"))
    await console.publish(console.typed + "hosts: [login.acme.example]\n")
    await console.publish(console.typed)
    await console.until_served(3)
    change_tenant(console.world, "acme", hosts=["login.acme.example"])
    registry = console.world.running.portal.registry
    await until(lambda: registry.get("acme").hosts, "the host of Acme is not read")  # type: ignore[union-attr]
    with pytest.raises(ConfigurationError, match="is used by another organisation here"):
        await console.services.tenants.roll_back("globex", 2, act)
    assert (await console.services.tenants.get("globex")).live == 3


@pytest.mark.gen_test
async def test_a_draft_is_discarded_after_a_question(console: ConsoleWorld) -> None:
    await save(console, console.admin, add="max_age: 1h\n")
    old = await console.get(console.admin, f"{DRAFT}/discard")
    await save(console, console.operator, add="userinfo: true\n")
    console.admin.page = old
    refused = await console.admin.submit(old.form("/draft/discard"))
    assert (refused.status, "Nothing was discarded" in refused.text) == (409, True)
    done = await console.admin.submit(refused.form("/draft/discard"))
    assert "There is no draft" in done.text
    assert (await console.services.drafts.get("globex")).record is None


@contextlib.contextmanager
def setup_link(console: ConsoleWorld, browser: Browser, *, publishes: bool = False) -> Iterator[None]:
    """Make a browser that of a setup link of Globex."""
    viewers = console.services.viewers

    async def find(cookie: str) -> BoundSetupLink | None:
        return BoundSetupLink("globex", "Peter", 1_796_000_000.0) if cookie == "secret" else None

    browser.cookies.setdefault("localhost", {})["portal-setup"] = "secret"
    with mock.patch.multiple(viewers, _find_setup_link=find, _link_publishes=publishes):
        yield


@pytest.mark.gen_test
async def test_a_setup_link_proposes_and_an_admin_publishes(console: ConsoleWorld) -> None:
    guest = console.stranger
    with setup_link(console, guest):
        await save(console, guest, add="session: {idle: 12m}\n")
        review = await console.get(guest, PUBLISH)
        assert "Propose to publish it" in review.text
        assert "Publish for everybody" not in review.text
        await press(console, guest, "publish", {"reason": "please"})
        assert (await console.services.tenants.get("globex")).live == 1, "it may only propose"
        assert "Proposed by setup link Peter" in words(await console.get(guest, DRAFT))
    page = words(await console.get(console.admin, DRAFT))
    assert "Proposed by setup link Peter" in page
    assert "please" in page
    done = await press(console, console.admin, "publish")
    assert "Published as revision 2" in done.text


@pytest.mark.gen_test
async def test_a_setup_link_publishes_where_the_operator_allows_it(console: ConsoleWorld) -> None:
    with setup_link(console, console.stranger, publishes=True):
        await save(console, console.stranger, add="session: {idle: 12m}\n")
        done = await press(console, console.stranger, "publish")
        assert "Published as revision 2" in done.text
        assert "Globex is live" in words(done)
        assert "There is no draft" not in done.text
        assert f"Your users sign in here: {console.at('/t/globex/')}" in words(done)
        assert "it works in this browser until 30 November 2026, 00:53 UTC" in words(done)
        assert "The admins that its settings name" in words(done)
    assert '"setup_link"' in (await console.services.tenants.revision("globex")).author


@pytest.mark.gen_test
async def test_who_locks_themselves_out_confirms_it_and_reads_the_result(console: ConsoleWorld) -> None:
    typed = textarea(await console.get(console.admin, YAML)).replace("equals: gina@", "equals: hank@")
    await save(console, console.admin, typed)
    login = await console.world.login_of(console.admin, "globex")
    assert login is not None
    await add_tests(console, actor=Actor(ActorType.ADMIN, login.subject, login.issuer).as_json())
    review = await console.get(console.admin, PUBLISH)
    assert "you would no longer be an admin" in review.text
    refused = await press(console, console.admin, "publish")
    assert refused.status == 422
    assert "Tick this to give up your own access" in words(refused)
    assert (await console.services.tenants.get("globex")).live == 1
    done = await press(console, console.admin, "publish", {"give-up": "1"})
    assert done.status == 200
    assert "Globex is live" in words(done)
    assert "You are no longer an admin of this organisation" in words(done)
    assert "/admin/" not in done.text[done.text.index("<main") : done.text.index("</main>")]
    await console.until_served(2)
    assert (await console.get(console.admin, DRAFT)).status in {401, 404}


@pytest.mark.gen_test
async def test_a_new_tenant_is_set_up_in_five_steps(console: ConsoleWorld) -> None:
    now = console.world.running.portal.clock()
    record = TenantRecord("hooli", TenantStatus.LIVE, 0, now, now)
    await console.services.store.add_tenant(record, event=new_event())
    page = await console.get(console.operator, "/admin/t/hooli/draft")
    text = words(page)
    assert "Set up Hooli" in text
    assert "You can leave and come back to this page." in text
    page = await console.get(console.operator, "/admin/t/hooli/draft/yaml")
    await save(console, console.operator, "name: Hooli Inc.\n", page=page)
    for path in ("draft", "draft/yaml", "draft/publish", "draft/checks", "draft/test", "draft/discard"):
        page = await console.get(console.operator, f"/admin/t/hooli/{path}")
        assert '<bdi class="strong">Hooli Inc.</bdi>' in page.text, path
    assert text.index("Choose your provider Next") < text.index("Enter its values Later")
    assert text.index("Test the login") < text.index("Publish Later")
    content = textarea(await console.get(console.admin, YAML)).replace("Globex", "Hooli")
    content = re.sub("secret: sealed:[0-9a-f]+", "secret: hunter2", content)
    page = await console.get(console.operator, "/admin/t/hooli/draft/yaml")
    await save(console, console.operator, content, page=page)
    text = words(await console.get(console.operator, "/admin/t/hooli/draft"))
    assert "Test the login Next" in text
    assert "nobody has made a test login yet" in text
    await add_tests(console, "hooli")
    text = words(await console.get(console.operator, "/admin/t/hooli/draft"))
    assert "Publish Next" in text
    page = await console.get(console.operator, "/admin/t/hooli/draft/publish")
    done = await console.operator.submit(page.form("/draft/publish"), {"act": "publish"})
    assert "Published as revision 1" in done.text
    await console.until_served(1, "hooli")


@pytest.mark.gen_test
async def test_nothing_is_published_or_lost_while_the_database_is_down(console: ConsoleWorld) -> None:
    await save(console, console.admin, add="session: {idle: 12m}\n")
    form = await console.get(console.admin, YAML)
    review = await console.get(console.admin, PUBLISH)
    down = StoreUnavailable("no response")
    store = console.services.store
    typed = textarea(form) + "max_age: 1h\n"
    with (
        mock.patch.object(store, "get_draft", side_effect=down),
        mock.patch.object(store, "publish", side_effect=down),
    ):
        refused = await save(console, console.admin, typed, page=form)
        assert refused.status == 503
        assert textarea(refused) == typed
        assert refused.headers["Retry-After"]
        console.admin.page = review
        refused = await console.admin.submit(review.form("/draft/publish"), {"act": "publish"})
        assert refused.status == 503
    assert (await console.services.tenants.get("globex")).live == 1
    assert (await save(console, console.admin, typed, page=form)).status == 200


@pytest.mark.gen_test
async def test_the_form_comes_back_even_when_the_session_cannot_be_read(console: ConsoleWorld) -> None:
    form = await console.get(console.admin, YAML)
    sessions = console.world.running.portal.sessions
    with mock.patch.object(sessions, "open_session", side_effect=StoreUnavailable("no response")):
        refused = await save(console, console.admin, "name: <b>Globex\n", page=form)
        assert (refused.status, textarea(refused)) == (503, "name: <b>Globex\n")
        other = await console.admin.step(console.at(YAML), "POST", "version=x", site="same-origin")
        assert (other.status, "<textarea" in other.text) == (503, False)


@pytest.mark.gen_test
async def test_a_draft_of_a_later_version_is_shown_and_kept(console: ConsoleWorld) -> None:
    store, now = console.services.store, console.world.running.portal.clock()
    later = Draft("globex", "neu: sealed:abc.def\n", FORMAT + 1, 7, 1, "{}", "", now)
    await store.put_draft(later, replaces=None, event=new_event())
    page = await console.get(console.admin, YAML)
    assert "A later version of the portal made this" in page.text
    assert "Save the draft" not in page.text
    assert "sealed:abc" not in page.text
    assert "A later version of the portal made this draft" in (await console.get(console.admin, DRAFT)).text
    assert "later version" in words(await console.get(console.admin, PUBLISH))
    refused = await save(console, console.admin, "name: Globex\n", page=page)
    assert refused.status == 409
    assert await store.get_draft("globex") == later


@pytest.mark.gen_test
async def test_the_draft_of_a_file_is_not_edited_here(console: ConsoleWorld) -> None:
    for path in ("draft", "draft/yaml", "draft/publish", "draft/discard"):
        page = await console.get(console.file_admin, f"/admin/t/acme/{path}")
        assert page.status == 409
        assert "tenants/acme.yaml" in page.text
