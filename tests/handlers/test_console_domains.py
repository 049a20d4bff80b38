"""The console's page of host names and e-mail domains, with a real DNS server."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from portal.admin.domain_upkeep import DomainUpkeep
from portal.admin.domains import CHECK_SECONDS, GRACE_SECONDS
from portal.config.domain_settings import DomainSettings
from portal.outbound import txt_records
from tests.kit.browser import Browser, Response
from tests.kit.console import ACT, SOON, ConsoleWorld, console_world
from tests.kit.name_server import NameServerForTests, name_server
from tests.kit.raw import until

PAGE = "/admin/t/globex/domains"
NAME = "initech.example"
"""Of no tenant yet."""
DAY = 86_400.0


@dataclass
class DomainWorld:
    """A console, and the name server that it asks."""

    console: ConsoleWorld
    dns: NameServerForTests

    async def state_names(self, *names: str, key: str = "email_domains") -> None:
        """Publish Globex with these names."""
        kept = "\n".join(
            line
            for line in self.console.typed.splitlines()
            if "email_domains" not in line and "- globex" not in line
        )
        await self.console.publish(f"{kept}\n{key}: [{', '.join(names)}]\n")

    async def open(self, browser: Browser | None = None) -> Response:
        return await self.console.get(browser or self.console.admin, PAGE)

    async def submit(self, act: str, name: str = NAME, browser: Browser | None = None) -> Response:
        """Press a button of the page."""
        browser = browser or self.console.admin
        page = await self.open(browser)
        form = page.form(f"/domains/{act}")
        return await browser.submit(form, {"name": name})

    def wait(self, seconds: float) -> None:
        self.console.world.clock.advance(seconds)

    def record(self, page: Response) -> str:
        """The value to copy from the page of a single domain."""
        [value] = {
            piece.split('"')[0]
            for piece in page.text.split('value="')[1:]
            if "portal-verification=" in piece.split('"')[0]
        }
        return value

    async def round(self) -> None:
        """What background work does."""
        portal = self.console.world.running.portal
        upkeep = DomainUpkeep(
            portal.admin.domains,
            portal.store,
            tenants=portal.registry,
            clock=portal.clock,
        )
        await upkeep.round()

    def found(self, name: str = NAME) -> bool:
        """Whether users find a tenant by this e-mail domain."""
        registry = self.console.world.running.portal.registry
        return bool(registry.search(f"ann@{name}", most=5))

    async def kinds(self) -> list[str]:
        events = await self.console.services.store.list_events(tenant="globex")
        return [event.kind for event in reversed(events) if event.kind.startswith("domain_")]


@contextlib.asynccontextmanager
async def domain_world(folder: Path) -> AsyncIterator[DomainWorld]:
    async with name_server() as dns:
        settings = DomainSettings((dns.address,))
        async with console_world(folder, domains=settings) as console:
            made = DomainWorld(console, dns)
            await made.state_names(NAME)
            yield made


@pytest.fixture
def domains(io_loop: IOLoop, tmp_path: Path, log_lines: io.StringIO) -> Iterator[DomainWorld]:
    manager = domain_world(tmp_path)
    made = io_loop.run_sync(manager.__aenter__, timeout=30)
    try:
        yield made
    finally:
        io_loop.run_sync(lambda: manager.__aexit__(None, None, None), timeout=60)


@pytest.mark.gen_test
async def test_an_admin_proves_a_domain(domains: DomainWorld) -> None:
    page = await domains.open()
    assert page.status == 200
    assert "Waiting for its record" in page.text
    assert not domains.found()
    domains.dns.set_txt(NAME, "v=spf1 -all", domains.record(page))
    checked = await domains.submit("check")
    assert checked.trail[-1].endswith(f"{PAGE}?checked={NAME}&found=found#{NAME}")
    assert f"{NAME} has the record." in checked.text
    assert "Proven" in checked.text
    await until(domains.found, "the domain does not count", seconds=SOON)
    [event] = await domains.console.services.store.list_events(tenant="globex", most=1)
    assert (event.kind, event.target, '"admin"' in event.actor) == ("domain_proven", NAME, True)
    assert event.request_id
    assert event.client.endswith("/24")


@pytest.mark.gen_test
async def test_the_page_says_what_a_check_found(domains: DomainWorld) -> None:
    checked = await domains.submit("check")
    assert f"{NAME} has no TXT record." in checked.text
    assert "Waiting for its record" in checked.text
    domains.wait(CHECK_SECONDS)
    domains.dns.records = {(NAME, "CNAME"): ["shared.example"], ("shared.example", "TXT"): ["x"]}
    checked = await domains.submit("check")
    assert (
        f"{NAME} is an alias (CNAME), so the record belongs at _portal-verification.{NAME}." in checked.text
    )
    assert not domains.found()


@pytest.mark.gen_test
async def test_D3_slow_name_servers_hold_nobody_else(
    domains: DomainWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(txt_records, "LIFETIME", 2.0)
    domains.dns.delay = 30.0
    checking = asyncio.ensure_future(domains.submit("check"))
    await until(lambda: domains.dns.asked, "nobody is asked")
    assert (await domains.open(domains.console.operator)).status == 200
    assert not checking.done()
    assert "No name server responded in time." in (await checking).text


@pytest.mark.parametrize(
    "query",
    [
        "?checked=other.example&found=found",
        f"?checked={NAME}&found=%3Cb%3E",
        "?found=found",
        f"?checked={NAME}&checked={NAME}&found=found",
    ],
)
@pytest.mark.gen_test
async def test_an_address_makes_no_other_claim(domains: DomainWorld, query: str) -> None:
    page = await domains.console.get(domains.console.admin, PAGE + query)
    assert page.status == 200
    assert not re.search(r'class="notice[^"]*" role="status"', page.text)


@pytest.mark.gen_test
async def test_a_domain_is_checked_once_in_ten_seconds(domains: DomainWorld) -> None:
    await domains.submit("check")
    refused = await domains.submit("check")
    assert refused.status == 429
    assert "was checked a moment ago. Wait ten seconds" in refused.text
    assert len(domains.dns.asked) == 2
    domains.wait(CHECK_SECONDS)
    assert (await domains.submit("check")).status == 200


@pytest.mark.gen_test
async def test_an_operator_approves_a_domain_and_an_admin_does_not(domains: DomainWorld) -> None:
    page = await domains.open()
    assert "/domains/approve" not in page.text
    form = page.form("/domains/check")
    form.action = f"{PAGE}/approve"
    assert (await domains.console.admin.submit(form)).status == 404
    approved = await domains.submit("approve", browser=domains.console.operator)
    assert (approved.status, "Approved" in approved.text) == (200, True)
    assert "portal-verification" not in approved.text
    await until(domains.found, "the domain does not count", seconds=SOON)
    assert await domains.kinds() == ["domain_approved"]


@pytest.mark.gen_test
async def test_a_domain_is_released(domains: DomainWorld) -> None:
    await domains.submit("approve", browser=domains.console.operator)
    await until(domains.found, "the domain does not count", seconds=SOON)
    released = await domains.submit("release")
    assert (released.status, "Waiting for its record" in released.text) == (200, True)
    await until(lambda: not domains.found(), "the domain still counts", seconds=SOON)
    assert await domains.kinds() == ["domain_approved", "domain_released"]


@pytest.mark.parametrize("act", ["check", "approve", "release"])
@pytest.mark.gen_test
async def test_names_that_are_not_on_the_page_are_refused(domains: DomainWorld, act: str) -> None:
    operator = domains.console.operator
    await domains.console.services.domains.approve("globex", NAME, ACT)
    page = await domains.open(operator)
    form = page.form("/domains/release")
    form.action = f"{PAGE}/{act}"
    for name, status in (
        ("acme.example", 404),
        ("", 422),
        ("a" * 254, 422),
        ("<b>", 422),
        ("É.example", 422),
    ):
        domains.wait(CHECK_SECONDS)
        refused = await operator.submit(form, {"name": name})
        assert refused.status == status, name
        assert "<b>" not in refused.text
        assert 'role="alert"' in refused.text
    assert domains.dns.asked == []


@pytest.mark.gen_test
async def test_the_page_of_an_act_leads_back(domains: DomainWorld) -> None:
    page = await domains.console.get(domains.console.operator, f"{PAGE}/approve")
    assert page.trail[-1].endswith(PAGE)


@pytest.mark.gen_test
async def test_a_tenant_without_names_is_told_where_to_add_them(domains: DomainWorld) -> None:
    await domains.state_names()
    page = await domains.open()
    assert "No domains yet" in page.text
    assert "/admin/t/globex/draft/general" in page.links


@pytest.mark.gen_test
async def test_a_tenant_of_a_file_has_no_such_page(domains: DomainWorld) -> None:
    page = await domains.console.get(domains.console.operator, "/admin/t/acme/domains")
    assert page.status == 409
    assert "tenants/acme.yaml" in page.text
    assert (
        "/admin/t/acme/domains"
        not in (await domains.console.get(domains.console.operator, "/admin/t/acme/")).links
    )
    assert PAGE in (await domains.console.get(domains.console.admin, "/admin/t/globex/")).links


@pytest.mark.gen_test
async def test_A5_a_record_that_is_removed_is_a_notice_and_then_a_lost_proof(domains: DomainWorld) -> None:
    domains.dns.set_txt(NAME, domains.record(await domains.open()))
    await domains.submit("check")
    await until(domains.found, "the domain does not count", seconds=SOON)
    del domains.dns.records[NAME, "TXT"]
    domains.wait(DAY)
    await domains.round()
    services = domains.console.services
    assert await domains.kinds() == ["domain_proven", "domain_record_missing"]
    assert domains.found()
    domains.wait(GRACE_SECONDS)
    await domains.round()
    assert await domains.kinds() == ["domain_proven", "domain_record_missing", "domain_proof_lost"]
    await until(lambda: not domains.found(), "the domain still counts", seconds=SOON)
    [lost] = await services.domains.of_tenant("globex")
    assert lost.state == "lost"


@pytest.mark.gen_test
async def test_a_missing_record_and_a_lost_proof_are_said_on_the_page(domains: DomainWorld) -> None:
    domains.dns.set_txt(NAME, domains.record(await domains.open()))
    await domains.submit("check")
    del domains.dns.records[NAME, "TXT"]
    domains.wait(CHECK_SECONDS)
    missing = await domains.submit("check")
    assert "The record of one domain is missing." in missing.text
    overview = await domains.console.get(domains.console.admin, "/admin/t/globex/")
    assert f"The DNS record of this domain is missing: <code>{NAME}</code>." in overview.text
    [domain] = await domains.console.services.domains.of_tenant("globex")
    store = domains.console.services.store
    event = ACT.event("domain_proof_lost", tenant="globex", at=domain.checked_at)  # type: ignore[arg-type]
    assert await store.prove_domain(
        NAME, tenant="globex", proof="", proven_at=0.0, checked_at=domain.checked_at, event=event
    )
    overview = await domains.console.get(domains.console.admin, "/admin/t/globex/")
    assert PAGE in overview.links
    assert "The DNS record of this domain is missing:" in overview.text
    lost = await domains.open()
    assert "One domain does not count any more: its record is gone." in lost.text
    assert "Proof lost" in lost.text
