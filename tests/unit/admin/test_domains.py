"""What proves a host name or e-mail domain, when the proof is lost, and who holds a name, on SQLite."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from portal.admin.actors import Actor, ActorType
from portal.admin.content_worker import ContentWorker
from portal.admin.domain_upkeep import MISSING_SECONDS, MOST_PER_ROUND, DomainUpkeep
from portal.admin.domains import (
    CHECK_SECONDS,
    GRACE_SECONDS,
    TENANT_CHECK_SECONDS,
    CheckedRecently,
    Domain,
    Domains,
    DomainState,
    DomainTaken,
    DomainUnknown,
)
from portal.admin.events import Act, EventKind
from portal.admin.stated_names import names_in
from portal.admin.tenants import TenantAdmin, TenantChanged, TenantMissing
from portal.errors import StoreUnavailable
from portal.keys.key_ring import KeyRing
from portal.keys.vault import Vault
from portal.outbound.txt_records import Finding
from portal.stores.sqlite.store import SQLiteStore
from portal.stores.tenant_records import DomainClaim, Draft, Revision
from portal.tenancy.model import Tenant
from portal.tenancy.presets import built_in
from portal.tenancy.stored import ContentReader
from tests.kit.samples import ManualClock, sample_tenant
from tests.kit.scripted_records import ScriptedRecords

T = TypeVar("T")

NAME = "acme.example"
HOST = "portal.acme.example"
CONTENT = """\
name: Acme
issuer: https://login.acme.example
client: {{id: portal, auth: none}}
hosts: [{hosts}]
email_domains: [{domains}]
"""
ACT = Act(Actor(ActorType.ADMIN, "ann", "https://login.acme.example"))
OPERATOR = Act(Actor(ActorType.OPERATOR, "root"))
DAY = 86_400.0


def content(*, hosts: str = "", domains: str = "") -> str:
    return CONTENT.format(hosts=hosts, domains=domains)


class Live:
    """The live tenants of a process, all of the database."""

    def __init__(self) -> None:
        self.tenants: dict[str, Tenant] = {}

    def get(self, slug: str) -> Tenant | None:
        return self.tenants.get(slug)

    def is_of_operator(self, slug: str) -> bool:
        return False


class Office:
    """A database with tenants, and DNS that the test scripts."""

    def __init__(self, folder: Path) -> None:
        self.store = SQLiteStore(folder / "portal.db")
        self.keys = folder / "keys.json"
        self.ring = KeyRing.create(self.keys)
        self.vault = Vault(self.ring)
        self.clock = ManualClock()
        self.records = ScriptedRecords()
        self.files: dict[str, str] = {"portal.operator.example": ""}
        """Names of tenant files, and that of the portal."""
        self.live = Live()
        self.admin = TenantAdmin(self.store.tenants, ContentReader(self.vault, built_in()), clock=self.clock)
        self.domains = self.with_clock(self.clock)

    def with_clock(self, clock: Callable[[], float]) -> Domains:
        return Domains(
            self.store.tenants,
            self.store,
            self.vault,
            self.records,
            contents=ContentWorker(ContentReader(self.vault, built_in())),
            owner_of=self.owner_of,
            clock=clock,
        )

    async def owner_of(self, name: str) -> str | None:
        return self.files.get(name)

    def upkeep(self) -> DomainUpkeep:
        """That of another process each time."""
        return DomainUpkeep(self.domains, self.store, tenants=self.live, clock=self.clock)

    async def publish(self, slug: str = "acme", **names: str) -> None:
        await self.admin.publish(slug, content(**names), ACT)

    async def live_revision(self, slug: str = "acme") -> Revision:
        return await self.admin.revision(slug)

    async def draft(self, slug: str, text: str) -> None:
        draft = Draft(slug, text, 1, 1, 1, "{}", "", self.clock())
        event = ACT.event(EventKind.DRAFT_SAVED, tenant=slug, at=self.clock())
        assert await self.store.tenants.put_draft(draft, replaces=None, event=event)

    async def of(self, slug: str, name: str = NAME) -> Domain:
        return next(one for one in await self.domains.of_tenant(slug) if one.name == name)

    async def state(self, slug: str = "acme", name: str = NAME) -> DomainState:
        return (await self.of(slug, name)).state

    async def set_record(self, slug: str = "acme", name: str = NAME) -> None:
        self.records.texts[name] = (await self.of(slug, name)).record

    async def prove(self, slug: str = "acme", name: str = NAME) -> None:
        await self.set_record(slug, name)
        self.clock.advance(CHECK_SECONDS)
        assert (await self.domains.check(slug, name, ACT)).finding is Finding.FOUND

    async def claims(self) -> dict[str, str]:
        """The tenants that hold names that count."""
        return {one.name: one.tenant for one in await self.store.tenants.list_domains() if one.proven_at}

    async def events(self, slug: str = "acme") -> list[str]:
        """Sorted by kind: their times are the same."""
        found = await self.store.tenants.list_events(tenant=slug)
        return sorted(one.kind for one in found if one.kind.startswith("domain_"))

    def run(self, work: Callable[[Office], Awaitable[T]]) -> T:
        async def opened() -> T:
            await self.store.open()
            try:
                return await work(self)
            finally:
                await self.store.close()

        return asyncio.run(opened())


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


# --- proofs


def test_a_name_waits_until_its_record_is_found(office: Office) -> None:
    async def story(at: Office) -> None:
        await at.publish(domains=NAME, hosts=HOST)
        waiting = await at.of("acme")
        assert (waiting.state, waiting.kinds, waiting.counts) == (
            DomainState.WAITING,
            ("email_domains",),
            False,
        )
        assert (await at.domains.check("acme", NAME, ACT)).finding is Finding.NO_RECORD
        assert await at.claims() == {}
        await at.prove()
        assert await at.claims() == {NAME: "acme"}
        proven = await at.of("acme")
        assert (proven.state, proven.counts, proven.record) == (DomainState.PROVEN, True, waiting.record)
        assert await at.state(name=HOST) == DomainState.WAITING
        assert await at.events() == ["domain_proven"]

    office.run(story)


def test_a_name_can_be_a_host_and_an_email_domain(office: Office) -> None:
    async def story(at: Office) -> None:
        await at.publish(domains=NAME, hosts=NAME)
        assert (await at.of("acme")).kinds == ("hosts", "email_domains")
        await at.prove()
        assert [one.name for one in await at.store.tenants.list_domains()] == [NAME]

    office.run(story)


def test_A5_each_name_of_each_tenant_has_its_own_record(office: Office) -> None:
    async def story(at: Office) -> None:
        await at.publish(domains=f"{NAME}, b.example, www.{NAME}")
        await at.publish("globex", domains=NAME)
        records = [one.record for one in await at.domains.of_tenant("acme")]
        records += [one.record for one in await at.domains.of_tenant("globex")]
        assert len(set(records)) == 4
        for text in records[1:]:  # of a sibling, a child, another tenant, or what a wildcard gives
            at.records.texts[NAME] = text
            at.clock.advance(CHECK_SECONDS)
            assert (await at.domains.check("acme", NAME, ACT)).finding is Finding.OTHER_RECORDS
        assert await at.claims() == {}

    office.run(story)


def test_A5_the_record_of_a_removed_tenant_proves_nothing_for_the_next_of_its_slug(office: Office) -> None:
    async def story(at: Office) -> None:
        await at.publish(domains=NAME)
        await at.prove()
        await at.admin.remove("acme", OPERATOR)
        assert await at.store.tenants.list_domains() == []
        at.clock.advance(DAY)
        await at.publish(domains=NAME)
        assert (await at.domains.check("acme", NAME, ACT)).finding is Finding.OTHER_RECORDS

    office.run(story)


def test_a_proof_stays_when_the_key_ring_has_new_keys_only(office: Office) -> None:
    async def story(at: Office) -> None:
        await at.publish(domains=f"{NAME}, b.example")
        await at.prove()
        await at.set_record(name="b.example")
        KeyRing.rotate(at.keys)
        at.vault.reload()
        at.clock.advance(CHECK_SECONDS)
        assert (await at.domains.check("acme", "b.example", ACT)).finding is Finding.FOUND
        document = json.loads(at.keys.read_text())
        document["keys"] = document["keys"][1:]
        at.keys.write_text(json.dumps(document))
        at.vault.reload()
        assert len(at.ring.kids) == 1
        for name in (NAME, "b.example"):
            at.clock.advance(CHECK_SECONDS)
            assert (await at.domains.check("acme", name, ACT)).finding is Finding.FOUND

    office.run(story)


def test_a_name_of_the_draft_can_be_proven_before_it_is_published(office: Office) -> None:
    async def story(at: Office) -> None:
        await at.publish()
        await at.draft("acme", content(domains=NAME) + "unknown: key\n")
        waiting = await at.of("acme")
        assert (waiting.in_live, waiting.in_draft) == (False, True)
        await at.prove()
        proven = await at.of("acme")
        assert (proven.state, proven.counts) == (DomainState.PROVEN, False)

    office.run(story)


@pytest.mark.parametrize("name", ["b.example", "www.acme.example", "example", ""])
def test_a_name_that_the_tenant_does_not_state_is_refused(office: Office, name: str) -> None:
    async def story(at: Office) -> None:
        await at.publish(domains=NAME)
        for act in (at.domains.check, at.domains.approve, at.domains.release):
            with pytest.raises(DomainUnknown):
                await act("acme", name, OPERATOR)
        assert at.records.searched == []
        with pytest.raises(TenantMissing):
            await at.domains.check("nobody", NAME, ACT)

    office.run(story)


def test_a_name_is_checked_once_in_ten_seconds(office: Office) -> None:
    async def story(at: Office) -> None:
        await at.publish(domains=f"{NAME}, b.example")
        await at.domains.check("acme", NAME, ACT)
        with pytest.raises(CheckedRecently):
            await at.domains.check("acme", NAME, ACT)
        with pytest.raises(CheckedRecently):
            await at.domains.check("acme", "b.example", ACT)
        at.clock.advance(TENANT_CHECK_SECONDS)
        await at.domains.check("acme", "b.example", ACT)
        at.clock.advance(CHECK_SECONDS - TENANT_CHECK_SECONDS)
        await at.domains.check("acme", NAME, ACT)
        assert at.records.searched == [NAME, "b.example", NAME]

    office.run(story)


# --- two tenants


def test_A4_a_name_that_another_tenant_holds_is_refused(office: Office) -> None:
    async def story(at: Office) -> None:
        for slug in ("acme", "globex"):
            await at.publish(slug, domains=NAME)
        await at.prove("acme")
        at.records.texts[NAME] = (await at.of("globex")).record
        with pytest.raises(DomainTaken):
            await at.domains.check("globex", NAME, ACT)
        with pytest.raises(DomainTaken):
            await at.domains.approve("globex", NAME, OPERATOR)
        assert await at.domains.approve_all(await at.live_revision("globex"), OPERATOR) == {NAME: "acme"}
        assert await at.claims() == {NAME: "acme"}
        assert await at.events("globex") == []

    office.run(story)


@pytest.mark.parametrize(("name", "owner"), [(NAME, "of-a-file"), ("portal.operator.example", "")])
def test_A4_a_name_of_a_tenant_file_or_of_the_portal_is_refused(
    office: Office, name: str, owner: str
) -> None:
    async def story(at: Office) -> None:
        at.files[name] = owner
        await at.publish(hosts=name)
        await at.set_record(name=name)
        with pytest.raises(DomainTaken):
            await at.domains.check("acme", name, ACT)
        revision = await at.live_revision()
        assert await at.domains.approve_all(revision, OPERATOR) == {name: owner or "the portal"}
        assert await at.claims() == {}

    office.run(story)


def test_an_import_approves_the_names_of_what_was_imported_and_no_others(office: Office) -> None:
    """Not those of a revision that an admin of the tenant published right after it."""

    async def story(at: Office) -> None:
        await at.publish(domains=NAME)
        imported = await at.live_revision()
        await at.publish(domains="bank.example")
        assert await at.domains.approve_all(imported, OPERATOR) == {}
        assert await at.claims() == {NAME: "acme"}

    office.run(story)


def test_an_import_approves_nothing_for_a_tenant_that_was_made_again_since(office: Office) -> None:
    async def story(at: Office) -> None:
        await at.publish(domains=NAME)
        imported = await at.live_revision()
        await at.admin.remove("acme", OPERATOR)
        at.clock.advance(1)
        await at.publish(domains=NAME)
        with pytest.raises(TenantChanged):
            await at.domains.approve_all(imported, OPERATOR)
        assert await at.claims() == {}

    office.run(story)


def test_a_name_that_another_tenant_only_states_is_free(office: Office) -> None:
    async def story(at: Office) -> None:
        for slug in ("squatter", "acme"):
            await at.publish(slug, domains=NAME)
        await at.domains.check("squatter", NAME, ACT)
        assert await at.store.tenants.list_domains() == []
        await at.prove("acme")
        assert await at.claims() == {NAME: "acme"}

    office.run(story)


def test_a_name_whose_proof_was_lost_can_be_proven_by_another_tenant(office: Office) -> None:
    async def story(at: Office) -> None:
        for slug in ("before", "acme"):
            await at.publish(slug, domains=NAME)
        await at.prove("before")
        claim = (await at.store.tenants.list_domains("before"))[0]
        event = ACT.event(EventKind.DOMAIN_PROOF_LOST, tenant="before", at=at.clock())
        await at.store.tenants.prove_domain(
            NAME, tenant="before", proof="", proven_at=0.0, checked_at=claim.checked_at, event=event
        )
        assert await at.state("before") == DomainState.LOST
        await at.prove("acme")
        assert await at.claims() == {NAME: "acme"}
        assert await at.events("before") == ["domain_proof_lost", "domain_proven", "domain_released"]
        assert await at.state("before") == DomainState.WAITING

    office.run(story)


def test_a_claim_that_is_approved_while_another_tenant_takes_it_stays(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(at: Office) -> None:
        for slug in ("before", "acme"):
            await at.publish(slug, domains=NAME)
        lost = DomainClaim(NAME, "before", "email_domains", "t", "", 0.0, 1.0, 1.0)
        event = ACT.event(EventKind.DOMAIN_PROVEN, tenant="before", at=at.clock())
        assert await at.store.tenants.add_domain(lost, event=event)
        delete = at.store.tenants.delete_domain

        async def approved_before(*arguments: Any, **options: Any) -> bool:
            await at.domains.approve("before", NAME, OPERATOR)
            return await delete(*arguments, **options)

        monkeypatch.setattr(at.store.tenants, "delete_domain", approved_before)
        with pytest.raises(DomainTaken):
            await at.domains.approve("acme", NAME, OPERATOR)
        assert await at.claims() == {NAME: "before"}

    office.run(story)


def test_of_tenants_that_are_approved_at_once_one_holds_the_name(office: Office) -> None:
    async def story(at: Office) -> None:
        slugs = [f"tenant{number}" for number in range(6)]
        for slug in slugs:
            await at.publish(slug, domains=NAME)
        done = await asyncio.gather(
            *(at.domains.approve(slug, NAME, OPERATOR) for slug in slugs), return_exceptions=True
        )
        lost = [one for one in done if one is not None]
        assert [type(one) for one in lost] == [DomainTaken] * 5
        [winner] = (await at.claims()).values()
        states = {slug: await at.state(slug) for slug in slugs}
        assert [slug for slug in slugs if states[slug] == DomainState.APPROVED] == [winner]
        kinds = [kind for slug in slugs for kind in await at.events(slug)]
        assert kinds == ["domain_approved"]

    office.run(story)


@pytest.mark.parametrize("lost", [False, True])
def test_T5_a_check_of_a_removed_tenant_proves_nothing_for_the_next_one(office: Office, lost: bool) -> None:
    """It is removed and made again during the check, also with a claim that has been lost."""

    async def story(at: Office) -> None:
        await at.publish(domains=NAME)
        await at.set_record()
        find = at.records.find

        async def made_again_meanwhile(*arguments: Any, **options: Any) -> Any:
            await at.admin.remove("acme", OPERATOR)
            at.clock.advance(1)
            await at.publish(domains=NAME)
            if lost:
                claim = DomainClaim(NAME, "acme", "email_domains", "", "", 0.0, at.clock(), at.clock())
                event = ACT.event(EventKind.DOMAIN_PROOF_LOST, tenant="acme", target=NAME, at=at.clock())
                assert await at.store.tenants.add_domain(claim, event=event)
            return await find(*arguments, **options)

        at.records.find = made_again_meanwhile  # type: ignore[method-assign]
        with pytest.raises(TenantChanged):
            await at.domains.check("acme", NAME, ACT)
        assert await at.claims() == {}

    office.run(story)


def test_a_tenant_that_is_removed_during_a_check_holds_nothing(office: Office) -> None:
    async def story(at: Office) -> None:
        await at.publish(domains=NAME)
        await at.set_record()
        find = at.records.find

        async def removed_meanwhile(*arguments: object, **options: object) -> object:
            await at.admin.remove("acme", OPERATOR)
            return await find(*arguments, **options)  # type: ignore[arg-type]

        at.records.find = removed_meanwhile  # type: ignore[assignment,method-assign]
        with pytest.raises(TenantMissing):
            await at.domains.check("acme", NAME, ACT)
        assert await at.store.tenants.list_domains() == []

    office.run(story)


# --- approvals and releases


def test_an_operator_approves_and_dns_does_not_change_that(office: Office) -> None:
    async def story(at: Office) -> None:
        await at.publish(domains=NAME)
        await at.domains.approve("acme", NAME, OPERATOR)
        await at.domains.approve("acme", NAME, OPERATOR)
        assert await at.state() == DomainState.APPROVED
        await at.domains.check("acme", NAME, ACT)
        at.clock.advance(30 * DAY)
        assert (await at.upkeep().round()).checked == 0
        assert await at.state() == DomainState.APPROVED
        assert await at.events() == ["domain_approved"]

    office.run(story)


def test_all_names_of_the_live_revision_are_approved_and_the_contents_are_read_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(at: Office) -> None:
        names = [f"d{number}.example" for number in range(50)]
        await at.publish(domains=", ".join(names), hosts=HOST)
        await at.draft("acme", content(domains="of-the-draft.example"))
        read, reads = at.store.tenants.read_revisions, []

        async def counted(*arguments: Any) -> Any:
            reads.append(arguments)
            return await read(*arguments)

        revision = await at.live_revision()
        monkeypatch.setattr(at.store.tenants, "read_revisions", counted)
        assert await at.domains.approve_all(revision, OPERATOR) == {}
        assert await at.domains.approve_all(revision, OPERATOR) == {}
        assert reads == []
        assert await at.claims() == dict.fromkeys([*names, HOST], "acme")
        assert await at.events() == ["domain_approved"] * 51

    office.run(story)


def test_an_approval_during_a_check_stays(office: Office) -> None:
    async def story(at: Office) -> None:
        await at.publish(domains=NAME)
        await at.prove()
        find = at.records.find
        del at.records.texts[NAME]

        async def approved_meanwhile(*arguments: object, **options: object) -> object:
            await at.domains.approve("acme", NAME, OPERATOR)
            return await find(*arguments, **options)  # type: ignore[arg-type]

        at.records.find = approved_meanwhile  # type: ignore[assignment,method-assign]
        at.clock.advance(CHECK_SECONDS)
        await at.domains.check("acme", NAME, ACT)
        assert await at.state() == DomainState.APPROVED

    office.run(story)


def test_a_released_name_waits_again(office: Office) -> None:
    async def story(at: Office) -> None:
        await at.publish(domains=NAME)
        await at.prove()
        await at.domains.release("acme", NAME, ACT)
        assert (await at.claims(), await at.state()) == ({}, DomainState.WAITING)
        with pytest.raises(DomainUnknown):
            await at.domains.release("acme", NAME, ACT)
        assert await at.events() == ["domain_proven", "domain_released"]

    office.run(story)


def test_a_publication_releases_what_it_no_longer_states(office: Office) -> None:
    async def story(at: Office) -> None:
        await at.publish(domains=f"{NAME}, b.example, c.example")
        for name in (NAME, "b.example", "c.example"):
            await at.prove(name=name)
        await at.draft("acme", content(domains="c.example"))
        await at.publish(domains=NAME)
        assert await at.claims() == {NAME: "acme", "c.example": "acme"}, "the draft states the last"
        assert await at.events() == ["domain_proven"] * 3 + ["domain_released"]
        await at.admin.roll_back("acme", 1, ACT)
        assert await at.state(name="b.example") == DomainState.WAITING

    office.run(story)


def test_a_publication_stays_when_names_cannot_be_released(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(at: Office) -> None:
        await at.publish(domains=NAME)
        await at.prove()

        async def unavailable(*_: object, **__: object) -> bool:
            raise StoreUnavailable("the test made it fail")

        with monkeypatch.context() as patched:
            patched.setattr(at.store.tenants, "delete_domain", unavailable)
            await at.publish()
        assert (await at.admin.get("acme")).live == 2
        at.live.tenants["acme"] = sample_tenant("acme")
        assert (await at.upkeep().round()).released == 1
        assert await at.claims() == {}

    office.run(story)


# --- checked again


def test_A5_a_removed_record_loses_the_proof_after_three_days(office: Office) -> None:
    async def story(at: Office) -> None:
        await at.publish(domains=NAME)
        at.live.tenants["acme"] = sample_tenant("acme", email_domains=(NAME,))
        await at.prove()
        del at.records.texts[NAME]
        assert (await at.upkeep().round()).checked == 0, "it was seen a moment ago"
        at.clock.advance(DAY)
        assert (await at.upkeep().round()).missing == 1
        missing = await at.of("acme")
        assert (missing.state, missing.counts) == (DomainState.MISSING, True)
        assert missing.counts_until == at.clock() + GRACE_SECONDS
        rounds = int(GRACE_SECONDS / MISSING_SECONDS)
        for _ in range(rounds - 1):
            at.clock.advance(MISSING_SECONDS)
            assert (await at.upkeep().round()).missing == 1
            assert await at.state() == DomainState.MISSING
        at.clock.advance(MISSING_SECONDS)
        await at.upkeep().round()
        lost = await at.of("acme")
        assert (lost.state, lost.counts, lost.checked_at) == (DomainState.LOST, False, at.clock())
        assert await at.claims() == {}
        assert await at.events() == ["domain_proof_lost", "domain_proven", "domain_record_missing"]
        at.clock.advance(DAY)
        assert (await at.upkeep().round()).checked == 0
        await at.prove()
        assert await at.claims() == {NAME: "acme"}

    office.run(story)


def test_a_record_that_returns_in_time_changes_nothing(office: Office) -> None:
    async def story(at: Office) -> None:
        await at.publish(domains=NAME)
        await at.prove()
        proven_at = (await at.store.tenants.list_domains("acme"))[0].proven_at
        record = at.records.texts.pop(NAME)
        at.clock.advance(DAY)
        await at.upkeep().round()
        at.records.texts[NAME] = record
        at.clock.advance(MISSING_SECONDS)
        await at.upkeep().round()
        assert await at.state() == DomainState.PROVEN
        assert (await at.store.tenants.list_domains("acme"))[0].proven_at == proven_at
        del at.records.texts[NAME]
        for _ in range(2):
            at.clock.advance(2 * DAY)
            await at.upkeep().round()
        assert await at.state() == DomainState.MISSING, "the three days begin again"

    office.run(story)


def test_A5_records_in_one_of_two_responses_are_missing(office: Office) -> None:
    async def story(at: Office) -> None:
        await at.publish(domains=NAME)
        await at.prove()
        at.records.finding = Finding.ONE_OF_TWO
        for _ in range(3):
            at.clock.advance(2 * DAY)
            await at.upkeep().round()
        assert await at.state() == DomainState.LOST

    office.run(story)


@pytest.mark.parametrize("finding", [Finding.ERROR, Finding.NO_RESPONSE, Finding.TOO_LARGE, Finding.BUSY])
def test_a_failure_of_dns_loses_no_proof(office: Office, finding: Finding) -> None:
    async def story(at: Office) -> None:
        await at.publish(domains=NAME)
        await at.prove()
        at.records.finding = finding
        for _ in range(10):
            at.clock.advance(DAY)
            assert (await at.upkeep().round()).unknown == 1
        assert await at.state() == DomainState.PROVEN

    office.run(story)


def test_a_seen_record_is_checked_again_once_a_day_by_one_process(office: Office) -> None:
    async def story(at: Office) -> None:
        await at.publish(domains=NAME)
        await at.prove()
        at.clock.advance(DAY)
        processes = [at.upkeep() for _ in range(4)]
        rounds = await asyncio.gather(*(process.round() for process in processes))
        assert sum(one.checked for one in rounds) == 1
        assert (await at.of("acme")).checked_at == at.clock()
        at.clock.advance(DAY - 1)
        assert [(await process.round()).checked for process in processes] == [0] * 4
        assert await at.events() == ["domain_proven"]

    office.run(story)


def test_a_round_checks_the_oldest_first_and_not_more_than_it_may(office: Office) -> None:
    async def story(at: Office) -> None:
        await at.publish()
        event = ACT.event(EventKind.DOMAIN_PROVEN, tenant="acme", at=at.clock())
        count = MOST_PER_ROUND + 10
        for number in range(count):
            seen = at.clock() - 2 * DAY + number
            claim = DomainClaim(f"d{number:03}.example", "acme", "hosts", "t", "dns", seen, seen, seen)
            assert await at.store.tenants.add_domain(claim, event=event)
        at.records.finding = Finding.ERROR
        process = at.upkeep()
        assert (await process.round()).checked == MOST_PER_ROUND
        assert sorted(at.records.searched)[-1] == f"d{MOST_PER_ROUND - 1:03}.example"
        assert (await process.round()).checked == 10, "those that failed do not keep others waiting"
        assert (await at.upkeep().round()).checked == 0, "nor in another process"

    office.run(story)


def test_upkeep_ends_when_it_is_stopped(office: Office) -> None:
    async def story(at: Office) -> None:
        stop = asyncio.Event()
        running = asyncio.ensure_future(at.upkeep().run(stop))
        await asyncio.sleep(0)
        stop.set()
        async with asyncio.timeout(5):
            await running

    office.run(story)


# --- names of a content


@pytest.mark.parametrize(
    "text",
    [
        "hosts: [",
        "hosts: acme.example",
        "hosts: {a: b}",
        "hosts: [1, null, [x]]",
        "hosts: ['*.acme.example', 'a b', 'http://acme.example', 'acme.example:1', é.example]",
        "email_domains: [acme]",
        "- hosts",
    ],
)
def test_names_of_an_invalid_content_are_left_out(text: str) -> None:
    assert names_in(text, "acme") == {}


def test_names_are_compared_in_lower_case() -> None:
    assert names_in("hosts: [Portal.Acme.Example]", "acme") == {HOST: ("hosts",)}
