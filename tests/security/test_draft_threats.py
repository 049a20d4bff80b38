"""THREATS A3, A4, A7 and S1: hostile texts in drafts, names of others, and rules that lock everybody out."""

from __future__ import annotations

import re
import time
from urllib.parse import urlencode

import pytest

from portal.admin.actors import Actor, ActorType
from portal.admin.content import text_difference
from portal.admin.events import Act
from tests.kit.console import ConsoleWorld
from tests.kit.draft_pages import DRAFT, PUBLISH, YAML, add_tests, press, save, textarea, words


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


def test_A3_a_difference_of_repeated_lines_takes_bounded_time() -> None:
    """Python's `difflib` takes 15 seconds for the first one: its time is quadratic."""
    for count in (16_000, 990):
        before = "\n".join(str(number % 101) for number in range(count))
        after = "\n".join(str(number * 7 % 101) for number in range(count))
        begun = time.thread_time()
        assert text_difference(before, after)
        assert time.thread_time() - begun < 2.0
