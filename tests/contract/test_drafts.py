"""Drafts on every database: saving, test logins, proposals, publication, and who comes second."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portal.admin import drafts as portal_drafts
from portal.admin.actors import Actor, ActorType, actor_of
from portal.admin.content_worker import ContentWorker
from portal.admin.domains import Domains
from portal.admin.drafts import DraftChanged, DraftOfLaterVersion, Drafts, NotPublishable, OpenDraft
from portal.admin.events import Act
from portal.admin.setup_link_errors import SetupLinkMissing
from portal.admin.setup_links import SetupLinks
from portal.admin.tenants import TenantAdmin, TenantChanged, TenantMissing
from portal.errors import ConfigurationError
from portal.keys.key_ring import KeyRing
from portal.keys.vault import Vault
from portal.stores.tenant_records import Draft, TenantRecord, TenantStatus
from portal.stores.tenant_store import Database, TenantStore
from portal.tenancy.presets import built_in
from portal.tenancy.stored import FORMAT, ContentReader
from tests.contract.entries import new_event, new_tenant
from tests.kit.scripted_records import ScriptedRecords

FIRST = """\
name: Initech
issuer: https://login.initech.example
client: {id: portal, secret: hunter2}
access:
  require:
    - {claim: email, ends_with: "@initech.example"}
"""
CLAIMS = {"sub": "ada", "email": "ada@initech.example"}
ADMIN = Act(Actor(ActorType.ADMIN, "ada", "https://login.initech.example"), reason="a new provider")
BOB = Act(Actor(ActorType.ADMIN, "bob", "https://login.initech.example"))
OPERATOR = Act(Actor(ActorType.OPERATOR, "root"))
GUEST = Act(Actor(ActorType.SETUP_LINK, "Peter"), reason="please")


class Office:
    """Two processes on one database, and the drafts of a tenant."""

    def __init__(self, first: Database, second: Database, folder: Path) -> None:
        vault = Vault(KeyRing.create(folder / "keys.json"))
        self.time = 1_000.0
        """Seconds after the database's clock."""
        self.drafts, self.other = (self._drafts(each, vault) for each in (first, second))
        self.store: TenantStore = first.tenants
        self.other_admin = TenantAdmin(second.tenants, ContentReader(vault, built_in()), clock=self.now)
        self.links = SetupLinks(
            first.tenants, public_url="https://p.example", file_of=lambda slug: None, clock=self.now
        )
        self.domains = Domains(
            first.tenants,
            first,
            vault,
            ScriptedRecords(),
            contents=ContentWorker(ContentReader(vault, built_in())),
            owner_of=self._owner_of,
            clock=self.now,
        )

    async def _owner_of(self, name: str) -> str | None:
        return None

    def _drafts(self, database: Database, vault: Vault) -> Drafts:
        reader = ContentReader(vault, built_in())

        def clock() -> float:
            return database.time() + self.time

        self._now = clock

        admin = TenantAdmin(database.tenants, reader, clock=clock)
        self.admin = admin
        worker = ContentWorker(ContentReader(vault, built_in()))
        return Drafts(database.tenants, admin, worker, clock=clock)

    async def tested(self, draft: OpenDraft, **changes: object) -> None:
        """A test login at every provider of a draft."""
        assert draft.loaded is not None
        for id_ in draft.loaded.tenant.providers:
            test = portal_drafts.TestResult(
                provider=id_,
                registration=portal_drafts.sign_in_fingerprint(draft.loaded.tenant, id_),
                at=self.now(),
                actor=ADMIN.actor.as_json(),
                claims=CLAIMS,
                subject="ada",
                issuer="https://login.initech.example",
                scopes=("openid",),
                refresh_token=True,
                warnings=("no scope profile",),
            )
            await self.drafts.record_test(draft.slug, replace(test, **changes), version=draft.version)  # type: ignore[arg-type]

    def now(self) -> float:
        return self._now()

    async def kinds(self) -> Counter[str]:
        return Counter(event.kind for event in await self.store.list_events(tenant="initech"))


@pytest.fixture
def office(store: Database, second_store: Database, tmp_path: Path) -> Office:
    return Office(store, second_store, tmp_path)


async def published(office: Office) -> OpenDraft:
    """A tenant with a live revision and no draft."""
    await office.admin.publish("initech", FIRST, OPERATOR)
    return await office.drafts.get("initech")


@pytest.mark.gen_test(timeout=60)
async def test_a_draft_of_a_new_tenant_is_saved_tested_and_published(office: Office) -> None:
    await office.store.add_tenant(new_tenant(), event=new_event())
    empty = await office.drafts.get("initech")
    assert (empty.version, empty.stored, empty.loaded) == (None, "name: Initech\n", None)
    draft = await office.drafts.save("initech", FIRST, ADMIN, replaces=None)
    assert draft.record is not None
    assert "hunter2" not in draft.stored + draft.shown + draft.record.test
    await office.tested(draft)
    assert draft.version is not None
    revision = await office.other.publish("initech", ADMIN, version=draft.version, live=0)
    assert (revision.number, revision.content, revision.format) == (1, draft.stored, FORMAT)
    assert '{"default": {"at"' in revision.test
    assert "ada@initech.example" not in revision.test, "no claims"
    after = await office.drafts.get("initech")
    assert (after.record, after.stored) == (None, draft.stored)
    kinds = await office.kinds()
    assert (kinds["draft_saved"], kinds["tenant_published"]) == (1, 1)


@pytest.mark.gen_test(timeout=60)
async def test_who_saves_second_is_told_and_nothing_is_stored(office: Office) -> None:
    live = await published(office)
    draft = await office.drafts.save("initech", live.shown.replace("Initech", "I1"), ADMIN, replaces=None)
    for late in (None, 1):
        with pytest.raises(DraftChanged) as caught:
            await office.other.save("initech", live.shown.replace("Initech", "I2"), BOB, replaces=late)
        theirs = caught.value.theirs
        assert theirs.record is not None
        assert ("name: I1" in theirs.shown, theirs.version) == (True, draft.version)
        assert actor_of(theirs.record.author) == ADMIN.actor
    second = await office.other.save("initech", theirs.shown.replace("I1", "I2"), BOB, replaces=draft.version)
    assert "name: I2" in second.shown


@pytest.mark.gen_test(timeout=60)
async def test_of_concurrent_saves_one_is_stored(office: Office) -> None:
    live = await published(office)
    texts = [live.shown.replace("Initech", f"Initech {number}") for number in range(10)]
    done = await asyncio.gather(
        *(
            (office.drafts, office.other)[number % 2].save("initech", text, ADMIN, replaces=None)
            for number, text in enumerate(texts)
        ),
        return_exceptions=True,
    )
    won = [one for one in done if isinstance(one, OpenDraft)]
    assert len(won) == 1
    assert {type(one) for one in done} == {OpenDraft, DraftChanged}
    assert (await office.kinds())["draft_saved"] == 1


@pytest.mark.gen_test(timeout=60)
async def test_a_test_login_takes_nothing_from_who_is_editing(office: Office) -> None:
    live = await published(office)
    draft = await office.drafts.save("initech", live.shown + "max_age: 1h\n", ADMIN, replaces=None)
    await office.tested(draft)
    tested = await office.drafts.get("initech")
    assert tested.version == draft.version
    result = tested.state.tests["default"]
    assert (dict(result.claims), result.scopes, result.warnings) == (
        CLAIMS,
        ("openid",),
        ("no scope profile",),
    )
    saved = await office.other.save("initech", draft.shown + "userinfo: true\n", BOB, replaces=draft.version)
    assert saved.state.tests.keys() == {"default"}
    with pytest.raises(DraftChanged):
        await office.tested(draft)


@pytest.mark.gen_test(timeout=60)
async def test_test_logins_at_the_same_time_are_all_kept(office: Office) -> None:
    content = "name: Initech\nproviders:\n" + "".join(
        f"  p{number}: {{issuer: 'https://p{number}.example', client: {{id: portal, secret: s{number}}}}}\n"
        for number in range(4)
    )
    await published(office)
    draft = await office.drafts.save("initech", content, ADMIN, replaces=None)
    assert draft.loaded is not None, draft.problems
    result = portal_drafts.TestResult("", "", 1.0, "{}", CLAIMS, "ada", "https://p.example")
    await asyncio.gather(
        *(
            drafts.record_test("initech", replace(result, provider=id_), version=draft.version)
            for drafts, id_ in zip(
                [office.drafts, office.other] * 2, draft.loaded.tenant.providers, strict=True
            )
        )
    )
    assert (await office.drafts.get("initech")).state.tests.keys() == draft.loaded.tenant.providers.keys()


@pytest.mark.gen_test(timeout=60)
async def test_A7_a_draft_needs_a_test_login_that_its_rules_let_in(office: Office) -> None:
    live = await published(office)
    text = live.shown.replace("id: portal", "id: portal2")
    draft = await office.drafts.save("initech", text, ADMIN, replaces=None)
    assert draft.version is not None
    with pytest.raises(NotPublishable, match="nobody has made a test login yet"):
        await office.drafts.publish("initech", ADMIN, version=draft.version)
    await office.tested(draft, claims={"sub": "eve", "email": "eve@evil.example"})
    with pytest.raises(NotPublishable, match="the account of the test login may not sign in"):
        await office.drafts.publish("initech", ADMIN, version=draft.version)
    await office.tested(draft)
    locked = await office.drafts.save(
        "initech", text.replace("@initech.example", "@typo.example"), ADMIN, replaces=draft.version
    )
    assert locked.version is not None
    with pytest.raises(NotPublishable, match="may not sign in: email must end with"):
        await office.drafts.publish("initech", ADMIN, version=locked.version)
    assert (await office.admin.get("initech")).live == 1
    # branding needs no second test
    again = await office.drafts.save(
        "initech", text + "branding: {color: '#123456'}\n", ADMIN, replaces=locked.version
    )
    assert again.version is not None
    assert (await office.drafts.publish("initech", ADMIN, version=again.version)).number == 2


@pytest.mark.gen_test(timeout=60)
async def test_A7_rules_alone_need_a_test_login_and_an_operator_rolls_back(office: Office) -> None:
    live = await published(office)
    draft = await office.drafts.save(
        "initech", live.shown.replace("@initech.example", "@typo.example"), ADMIN, replaces=None
    )
    assert draft.version is not None
    with pytest.raises(NotPublishable):
        await office.drafts.publish("initech", ADMIN, version=draft.version, without_test=True)
    assert (
        await office.drafts.publish("initech", OPERATOR, version=draft.version, without_test=True)
    ).test == ""
    assert (await office.kinds())["published_without_test"] == 1
    assert (await office.admin.roll_back("initech", 1, OPERATOR)).number == 3


@pytest.mark.gen_test(timeout=60)
async def test_a_test_login_counts_for_a_day(office: Office) -> None:
    live = await published(office)
    draft = await office.drafts.save(
        "initech", live.shown.replace("id: portal", "id: p2"), ADMIN, replaces=None
    )
    assert draft.version is not None
    await office.tested(draft)
    office.time += 24 * 3600
    with pytest.raises(NotPublishable, match="older than 24 hours"):
        await office.drafts.publish("initech", ADMIN, version=draft.version)
    office.time -= 60
    assert await office.drafts.publish("initech", ADMIN, version=draft.version)


@pytest.mark.gen_test(timeout=60)
async def test_a_publication_that_races_another_changes_nothing(office: Office) -> None:
    live = await published(office)
    draft = await office.drafts.save(
        "initech", live.shown + "branding: {color: '#123456'}\n", ADMIN, replaces=None
    )
    assert draft.version is not None
    await office.admin.publish("initech", FIRST.replace("Initech", "Other"), OPERATOR)
    with pytest.raises(TenantChanged):
        await office.drafts.publish("initech", ADMIN, version=draft.version, live=1)
    assert (await office.drafts.get("initech")).version == draft.version
    review = await office.drafts.review("initech", ADMIN.actor)
    assert "-name: Other" in review.difference.splitlines()
    done = await asyncio.gather(
        *(
            drafts.publish("initech", ADMIN, version=draft.version, live=2)
            for drafts in (office.drafts, office.other)
        ),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in done) in (
        ["DraftChanged", "Revision"],
        ["Revision", "TenantChanged"],
    )
    assert [one.number for one in await office.admin.history("initech")] == [3, 2, 1]
    with pytest.raises(DraftChanged):
        await office.drafts.publish("initech", ADMIN, version=draft.version)


@pytest.mark.gen_test(timeout=60)
async def test_a_change_withdraws_a_proposal(office: Office) -> None:
    live = await published(office)
    draft = await office.drafts.save("initech", live.shown + "max_age: 1h\n", GUEST, replaces=None)
    assert draft.version is not None
    with pytest.raises(NotPublishable):
        await office.drafts.propose("initech", GUEST, version=draft.version)
    await office.tested(draft)
    await office.drafts.propose("initech", GUEST, version=draft.version)
    proposed = await office.other.get("initech")
    assert proposed.state.proposal is not None
    assert (proposed.state.proposal.actor, proposed.state.proposal.reason) == (GUEST.actor, "please")
    assert proposed.version == draft.version
    await office.drafts.propose("initech", replace(GUEST, reason="soon"), version=draft.version)
    again = (await office.other.get("initech")).state.proposal
    assert again is not None
    assert again.reason == "soon"
    assert (await office.kinds())["draft_proposed"] == 1, "events without a limit (THREATS A3)"
    same = await office.drafts.save("initech", draft.shown, BOB, replaces=draft.version)
    assert same.state.proposal is not None, "nothing was changed"
    changed = await office.drafts.save(
        "initech", draft.shown + "userinfo: true\n", BOB, replaces=draft.version
    )
    assert changed.state.proposal is None
    assert (await office.kinds())["draft_proposed"] == 1


@pytest.mark.gen_test(timeout=60)
async def test_a_discarded_draft_is_gone_and_another_has_another_version(office: Office) -> None:
    live = await published(office)
    draft = await office.drafts.save("initech", live.shown + "max_age: 1h\n", ADMIN, replaces=None)
    assert draft.version is not None
    with pytest.raises(DraftChanged):
        await office.drafts.discard("initech", BOB, version=draft.version - 1)
    await office.tested(draft)
    await office.drafts.discard("initech", BOB, version=draft.version)
    assert (await office.drafts.get("initech")).record is None
    again = await office.drafts.save("initech", live.shown + "max_age: 1h\n", ADMIN, replaces=None)
    assert again.version is not None
    assert again.version > draft.version
    assert again.state.tests == {}
    with pytest.raises(DraftChanged):
        await office.drafts.publish("initech", ADMIN, version=draft.version)


@pytest.mark.gen_test(timeout=60)
async def test_an_invalid_tenant_is_kept_with_its_problems_and_what_is_not_yaml_is_not(
    office: Office,
) -> None:
    live = await published(office)
    draft = await office.drafts.save("initech", live.shown.replace("name:", "nmae:"), ADMIN, replaces=None)
    assert draft.loaded is None
    assert any('did you mean "name"' in problem.message for problem in draft.problems), draft.problems
    assert draft.version is not None
    with pytest.raises(NotPublishable, match="problem"):
        await office.drafts.publish("initech", OPERATOR, version=draft.version, without_test=True)
    for typed in ("a: [", "a: &b 1", "x: " + "y" * 70_000, "client: {secret: ~}", "name: a\u202eb"):
        with pytest.raises(ConfigurationError):
            await office.drafts.save("initech", typed, ADMIN, replaces=draft.version)
    assert (await office.drafts.get("initech")).version == draft.version


@pytest.mark.gen_test(timeout=60)
async def test_a_draft_or_revision_of_a_later_version_is_kept_and_not_edited(office: Office) -> None:
    live = await published(office)
    later = Draft(
        "initech", "neu: !x sealed:abc.def\n", FORMAT + 1, 7, 1, ADMIN.actor.as_json(), "", office.now()
    )
    await office.store.put_draft(later, replaces=None, event=new_event())
    draft = await office.drafts.get("initech")
    assert draft.of_later_version
    assert draft.loaded is None
    assert "sealed:abc" not in draft.shown
    with pytest.raises(DraftOfLaterVersion):
        await office.drafts.save("initech", live.shown, ADMIN, replaces=7)
    with pytest.raises(NotPublishable, match="later version"):
        await office.drafts.publish("initech", OPERATOR, version=7, without_test=True)
    assert await office.store.get_draft("initech") == later


@pytest.mark.gen_test(timeout=60)
async def test_a_draft_of_a_removed_tenant_is_missing(office: Office) -> None:
    live = await published(office)
    draft = await office.drafts.save("initech", live.shown + "max_age: 1h\n", ADMIN, replaces=None)
    await office.admin.remove("initech", OPERATOR)
    assert draft.version is not None
    acts: list[Callable[[], object]] = [
        lambda: office.drafts.get("initech"),
        lambda: office.drafts.save("initech", FIRST, ADMIN, replaces=None),
        lambda: office.drafts.publish("initech", ADMIN, version=draft.version or 0),
    ]
    for act in acts:
        with pytest.raises(TenantMissing):
            await act()  # type: ignore[misc]
    await office.store.add_tenant(TenantRecord("initech", TenantStatus.LIVE, 0, 1.0, 1.0), event=new_event())
    assert (await office.drafts.get("initech")).record is None


@pytest.mark.parametrize("act", ["publish", "put_draft", "add_setup_link", "add_domain"])
@pytest.mark.gen_test(timeout=60)
async def test_T5_an_act_at_a_removed_tenant_is_not_one_at_the_next_tenant_of_its_slug(
    office: Office, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tenant is removed and made again when the act is about to be stored."""
    assert await office.admin.make("initech", "Initech", OPERATOR)
    draft = await office.drafts.get("initech")
    valid = await office.drafts.save(
        "initech", FIRST + "email_domains: [initech.example]\n", ADMIN, replaces=draft.version
    )
    assert valid.version is not None
    version = valid.version
    store = getattr(office.store, act)

    async def store_late(*arguments: Any, **named: Any) -> Any:
        await office.other_admin.remove("initech", OPERATOR)
        assert await office.other_admin.make("initech", "Initrode", OPERATOR)
        office.time += 1
        monkeypatch.setattr(office.store, act, store)
        return await store(*arguments, **named)

    monkeypatch.setattr(office.store, act, store_late)
    acts: dict[str, Callable[[], Awaitable[object]]] = {
        "publish": lambda: office.drafts.publish("initech", OPERATOR, version=version, without_test=True),
        "put_draft": lambda: office.drafts.save("initech", FIRST, ADMIN, replaces=version),
        "add_setup_link": lambda: office.links.make("initech", OPERATOR),
        "add_domain": lambda: office.domains.approve("initech", "initech.example", OPERATOR),
    }
    with pytest.raises((DraftChanged, TenantChanged, SetupLinkMissing)):
        await acts[act]()
    found = await office.store.get_tenant("initech")
    assert found is not None
    assert found.live == 0
    assert await office.store.list_setup_links("initech") == []
    assert await office.store.list_domains() == []
    assert (await office.drafts.get("initech")).stored == "name: Initrode\n"
    with pytest.raises(DraftChanged):
        await office.drafts.publish("initech", OPERATOR, version=version, without_test=True)
