"""THREATS A3, A4, A7, S1 and T6: hostile texts in drafts, names and addresses of others, lock-outs."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest

from portal.admin.actors import Actor, ActorType
from portal.admin.content import shown, stored, text_difference
from portal.admin.drafts import NotPublishable
from portal.admin.events import Act
from portal.errors import ConfigurationError, OutboundRefused
from tests.kit.console import ACT, ConsoleWorld
from tests.kit.draft_pages import DRAFT, PUBLISH, YAML, add_tests, press, save, textarea, words
from tests.kit.world import World
from tests.kit.world import world as make_world


@pytest.mark.gen_test
async def test_A7_a_change_of_the_provider_needs_a_test_login(console: ConsoleWorld) -> None:
    page = await console.get(console.admin, YAML)
    await save(console, console.admin, textarea(page) + "max_age: 1h\n")
    review = await console.get(console.admin, PUBLISH)
    assert "It has changed since it was published; test it again" in words(review)
    assert "Publish without a test login" not in review.text
    forced = await press(console, console.admin, "publish-without-test")
    assert (forced.status, "Nothing was published" in forced.text) == (409, True)
    await add_tests(console)
    assert "Publish for everybody" in (await console.get(console.admin, PUBLISH)).text
    done = await press(console, console.admin, "publish")
    assert "Published as revision 2" in done.text


@pytest.mark.gen_test
async def test_A7_rules_that_lock_everybody_out_are_refused_and_an_operator_rolls_back(
    console: ConsoleWorld,
) -> None:
    await save(
        console, console.admin, add="access: {require: [{claim: email, ends_with: '@typo.example'}]}\n"
    )
    await add_tests(console)
    review = await console.get(console.admin, PUBLISH)
    assert "The account of the test login may not sign in" in words(review)
    assert "Publish without a test login" not in review.text
    review = await console.get(console.operator, PUBLISH)
    assert "Publish without a test login" in review.text
    assert "Publish for everybody" not in review.text
    assert (await press(console, console.operator, "publish")).status == 409
    done = await press(console, console.operator, "publish-without-test", {"reason": "they insist"})
    assert "Published as revision 2" in done.text
    kinds = {one.kind for one in await console.services.store.list_events(tenant="globex")}
    assert "published_without_test" in kinds
    act = Act(Actor(ActorType.OPERATOR, "root"))
    assert (await console.services.tenants.roll_back("globex", 1, act)).number == 3


@pytest.mark.gen_test
async def test_A7_an_admin_who_locks_themselves_out_is_warned(console: ConsoleWorld) -> None:
    page = await console.get(console.admin, YAML)
    await save(console, console.admin, textarea(page).replace("equals: gina@", "equals: jane@"))
    draft = await console.services.drafts.get("globex")
    assert draft.record is not None
    assert "would no longer be an admin" not in words(await console.get(console.admin, PUBLISH))
    await add_tests(console, actor=draft.record.author)
    assert "you would no longer be an admin" in words(await console.get(console.admin, PUBLISH))
    assert "no longer be an admin" not in words(await console.get(console.operator, PUBLISH))


@pytest.mark.gen_test
async def test_A7_a_session_that_ends_at_once_is_not_published_by_an_operator_either(
    console: ConsoleWorld,
) -> None:
    await save(console, console.admin, add="session: {idle: 1s}\n")
    assert "Logins must last at least 5 minutes" in words(await console.get(console.operator, PUBLISH))
    drafts = console.services.drafts
    version = (await drafts.get("globex")).version or 0
    act = Act(Actor(ActorType.OPERATOR, "root"))
    with pytest.raises(NotPublishable):
        await drafts.publish("globex", act, version=version, without_test=True)


@pytest.mark.gen_test
async def test_A4_what_a_tenant_of_the_database_may_not_name_is_said_beside_the_line(
    console: ConsoleWorld,
) -> None:
    page = await console.get(console.admin, YAML)
    secret = re.sub("secret: sealed:[0-9a-f]+", "secret: file:/etc/passwd", textarea(page))
    refused = await save(console, console.admin, secret)
    assert refused.status == 422
    assert "cannot name a file or variable of the portal's host here" in words(refused)
    acme = console.world.running.portal.registry.get("acme")
    assert acme is not None
    text = textarea(page)
    taken_name = re.sub(
        r"(?m)^email_domains:(.*\n?.*)globex\.example", rf"email_domains:\1{acme.email_domains[0]}", text
    )
    assert taken_name != text
    taken = await save(console, console.admin, taken_name)
    assert taken.status == 200, words(taken)
    assert "is used by another organisation here" in words(taken)
    assert "acme" not in words(taken).replace("acme.example", "").lower()
    assert "must be corrected first" in (await console.get(console.admin, PUBLISH)).text


@pytest.mark.gen_test
async def test_T6_a_tenant_that_was_never_published_reaches_no_private_address(tmp_path: Path) -> None:
    """Only tenants of files may, where `allow_private_networks` is true."""

    async def fetch(world: World, slug: str) -> int:
        url = f"{world.acme.issuer}/.well-known/openid-configuration"
        return (await world.running.portal.http.fetch("GET", url, tenant=slug)).status

    async with make_world(tmp_path, public_url="https://portal.example") as world:
        await world.running.portal.admin.tenants.make("initech", "Initech", ACT)
        assert await fetch(world, "acme") == 200, "a tenant of a file"
        requests = world.acme.requests["discovery"]
        for slug in ("initech", "nobody"):
            with pytest.raises(OutboundRefused, match="loopback"):
                await fetch(world, slug)
        assert world.acme.requests["discovery"] == requests


@pytest.mark.gen_test
@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "{{ 7*7 }}{% raw %}", "</textarea><b>"])
async def test_A3_what_is_typed_is_shown_as_text(console: ConsoleWorld, hostile: str) -> None:
    for typed in (f"name: {hostile}\n", f"name: [{hostile}\n", f"# {hostile}\nname: x\n"):
        page = await save(console, console.admin, typed)
        assert textarea(page) == typed
        assert hostile not in page.text or hostile == "{{ 7*7 }}{% raw %}"
        for path in (DRAFT, PUBLISH):
            shown = await console.get(console.admin, path)
            assert (shown.status, "<script>alert" in shown.text) == (200, False)


@pytest.mark.gen_test
async def test_S1_another_site_changes_no_draft(console: ConsoleWorld) -> None:
    draft = await save(console, console.admin, add="max_age: 1h\n")
    version = draft.form("/draft/yaml").fields
    for path, body in (
        ("yaml", "content=name%3A+x&version="),
        ("publish", "act=publish&version=1&live=1"),
        ("discard", f"version={dict(version)['version']}"),
    ):
        response = await console.admin.step(console.at(f"{DRAFT}/{path}"), "POST", body, site="cross-site")
        assert response.status == 403
    assert (await console.services.drafts.get("globex")).record is not None


HOSTILE_YAML = {
    "aliases": "a: &a [x, x]\n" + "".join(f"b{n}: [*a, *a]\n" for n in range(1_000)),
    "an object": "name: !!python/object/apply:os.system [id]\n",
    "a merge": "a: {<<: *b}\n",
    "deep nesting": "a: " + "[" * 30_000,
    "deep mappings": "a: " + "{b: " * 10_000,
    "many keys": "".join(f"k{n}: 1\n" for n in range(8_000)),
    "one long line": "name: '" + "x" * 60_000,
    "quotes": "name: " + '"' * 60_000,
    "a control character": "name: a\x07b\n",
    "a changed direction": "name: a\u202eb\n",
    "an escaped direction": 'name: "a\\u2066b"\n',
    "two documents": "name: a\n---\nname: b\n",
    "no secret": "client: {secret: ~}\n",
}


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("kind", HOSTILE_YAML)
async def test_A3_hostile_yaml_is_refused_and_nothing_is_stored(console: ConsoleWorld, kind: str) -> None:
    """The fixtures fail when it holds the event loop."""
    typed = HOSTILE_YAML[kind]
    refused = await save(console, console.admin, typed)
    assert refused.status == 422
    assert textarea(refused) == typed
    assert (await console.services.drafts.get("globex")).record is None


@pytest.mark.gen_test(timeout=60)
async def test_A3_a_megabyte_is_refused_before_it_is_read(console: ConsoleWorld) -> None:
    page = await console.get(console.admin, YAML)
    fields = dict(page.form("/draft/yaml").fields)
    body = urlencode({**fields, "content": "name: x\n" + "#" * 1_000_000})
    refused = await console.admin.step(console.at(YAML), "POST", body, site="same-origin")
    assert refused.status == 413
    assert (await console.services.drafts.get("globex")).record is None


@pytest.mark.gen_test(timeout=60)
async def test_A3_a_large_draft_does_not_hold_the_event_loop(console: ConsoleWorld) -> None:
    """The fixtures fail when it does. It has nearly the most values, lines and bytes."""
    page = await console.get(console.admin, YAML)
    typed = textarea(page) + "more:\n" + "".join(f"  k{n}: [1]\n" for n in range(2_300)) + "#\n" * 10_000
    saved = await save(console, console.admin, typed)
    assert saved.status == 200
    other = typed.replace("#\n", "##\n")[: 64 * 1024]
    conflict = await save(console, console.admin, other, page=page)
    assert conflict.status == 409
    for path in (DRAFT, PUBLISH):
        assert (await console.get(console.admin, path)).status == 200


SLOW_DIFFERENCES = {
    "repeated": [str(number % 101) for number in range(16_000)],
    "repeated, few": [str(number % 101) for number in range(990)],
    "alternating": ["#", "#y"] * 2_500,
    "half of it": [f"{number}" if number % 2 else "#" for number in range(5_000)],
}


@pytest.mark.parametrize("kind", SLOW_DIFFERENCES)
def test_A3_a_difference_takes_bounded_time(kind: str) -> None:
    """Python's `difflib` takes 15 seconds for the first one: its time is quadratic."""
    lines = SLOW_DIFFERENCES[kind]
    before = "\n".join(["name: x", *lines])
    for others in (lines[::7], ["#"] * 198, [str(number * 2) for number in range(len(lines))]):
        after = "\n".join(["name: x", *others])
        begun = time.thread_time()
        assert text_difference(before, after)
        assert time.thread_time() - begun < 1.0


def test_A3_many_secrets_are_kept_in_bounded_time() -> None:
    """Each was compared with each stored one, by a hash that was made anew: three seconds."""
    many = ",".join(f"a{number}" for number in range(1_300))
    before = stored(f"client: {{secret: [{many}]}}\n", "acme", seal=lambda secret: secret * 30)
    unknown = ",".join(f"sealed:{number:010x}" for number in range(3_000))
    begun = time.thread_time()
    with pytest.raises(ConfigurationError):
        stored(f"client: {{secret: [{unknown}]}}\n", "acme", before=before, seal=str)
    assert time.thread_time() - begun < 1.0


def test_A3_the_secrets_of_a_deep_content_are_found_in_bounded_time() -> None:
    deep = "{a: " * 14 + "[" + ",".join("1" * 4_900) + "]" + "}" * 14
    begun = time.thread_time()
    assert shown(f"providers: {{a: {{authorize_params: {deep}}}}}\n", "acme")
    assert time.thread_time() - begun < 0.5


def test_D5_no_page_of_the_console_takes_the_threads_that_all_tenants_share() -> None:
    """What reads contents takes its turn in `ContentWorker`, one piece of work of each tenant at a time."""
    for file in Path("portal/web/admin").glob("*.py"):
        assert not re.search("to_thread|run_in_executor", file.read_text()), file


@pytest.mark.gen_test
async def test_D5_a_page_of_a_revision_waits_for_the_turn_of_its_tenant(console: ConsoleWorld) -> None:
    begun, end = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        end.wait(20)

    busy = asyncio.create_task(console.services.contents.run("globex", work))
    while not begun.is_set():
        await asyncio.sleep(0)
    page = asyncio.create_task(console.get(console.admin, "/admin/t/globex/revisions/1"))
    done, _ = await asyncio.wait({page}, timeout=0.5)
    end.set()
    assert not done
    assert (await page).status == 200
    await busy


HIDDEN_CHANGES = {
    "a line like the header of a diff": """\
admins: [{claim: email, equals: gina@globex.example}, {claim: dept, equals: "it
++ ops"}, {claim: email, equals: mallory@evil.example}, {claim: dept, equals: "a
-- b"}]
""",
    "the end of a long line": "admins: [{claim: dept, one_of: ["
    + ", ".join(f"staff-{number:02}" for number in range(95))
    + "]}, {claim: email, equals: mallory@evil.example}]\n",
    "behind many spaces": "admins: [{claim: dept, equals: a},"
    + " " * 5_000
    + "{claim: email, equals: mallory@evil.example}]\n",
    "after many lines": "#\n" * 2_100 + "admins: [{claim: email, equals: mallory@evil.example}]\n",
}


@pytest.mark.gen_test
@pytest.mark.parametrize("kind", HIDDEN_CHANGES)
async def test_A7_who_publishes_a_draft_sees_all_that_it_changes(console: ConsoleWorld, kind: str) -> None:
    page = await console.get(console.admin, YAML)
    typed = re.sub(r"(?m)^admins:.*\n", lambda _: HIDDEN_CHANGES[kind], textarea(page))
    assert (await save(console, console.admin, typed)).status == 200
    review = await console.get(console.operator, PUBLISH)
    assert "mallory@evil.example" in review.text
    if "++ ops" in typed:
        assert "++ ops" in review.text
        assert "-- b" in review.text
    assert (await press(console, console.operator, "publish-without-test")).status == 200
    revision = await console.get(
        console.operator, "/admin/t/globex/revisions/2"
    )  # no rule names the admin now
    assert "mallory@evil.example" in revision.text[: revision.text.index("<pre")]
