"""THREATS A4, A5, T5, A1, S1: domains of tenants in the console."""

from __future__ import annotations

import re

import pytest

from portal.admin.domains import CHECK_SECONDS
from tests.handlers.test_console_domains import NAME, DomainWorld, domains
from tests.kit.browser import Browser, Response
from tests.kit.console import ACT, SOON
from tests.kit.raw import until

__all__ = ["domains"]

ACTS = ("", "/check", "/approve", "/release")


async def send(
    domains: DomainWorld, browser: Browser, slug: str, act: str, *, site: str = "same-origin"
) -> Response:
    """The request that a page of that tenant would send, without a token that fits."""
    url = domains.console.at(f"/admin/t/{slug}/domains{act}")
    method, body = ("POST", f"name={NAME}&_xsrf=x") if act else ("GET", None)
    return await browser.step(url, method, body, site)


def without_request_id(response: Response) -> str:
    return re.sub(
        r"<code>[0-9a-f]{16}</code>|name=\"_xsrf\" value=\"[^\"]*\"|data-ends-in=\"[0-9]+\"",
        "",
        response.text,
    )


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.gen_test
async def test_T5_A1_a_tenant_of_others_responds_as_one_that_does_not_exist(
    domains: DomainWorld, act: str
) -> None:
    console = domains.console
    for browser in (console.file_admin, console.user):
        existing = await send(domains, browser, "globex", act)
        missing = await send(domains, browser, "nobody-here", act)
        unknown = await browser.step(console.at("/no/such/address"))
        assert existing.status == missing.status == 404
        expected = without_request_id(unknown)
        assert without_request_id(existing) == without_request_id(missing) == expected
    for slug in ("globex", "nobody-here"):
        assert (await send(domains, console.stranger, slug, act)).status == 401
    assert domains.dns.asked == []


@pytest.mark.parametrize("act", ACTS[1:])
@pytest.mark.gen_test
async def test_S1_another_site_cannot_act_on_a_domain(domains: DomainWorld, act: str) -> None:
    await domains.console.services.domains.approve("globex", NAME, ACT)
    before = await domains.console.services.store.list_domains()
    for site in ("cross-site", "same-site", "none"):
        refused = await send(domains, domains.console.operator, "globex", act, site=site)
        assert refused.status == 403, site
    assert await domains.console.services.store.list_domains() == before
    assert domains.dns.asked == []


@pytest.mark.gen_test
async def test_A4_a_proven_name_of_a_tenant_file_is_not_taken(domains: DomainWorld) -> None:
    """Acme's file has acme.example: whoever controls its DNS is not asked, the file counts."""
    registry = domains.console.world.running.portal.registry
    await domains.state_names("acme.example")
    page = await domains.open()
    domains.dns.set_txt("acme.example", domains.record(page))
    refused = await domains.submit("check", "acme.example")
    assert refused.status == 409
    assert "Another organisation has this domain" in refused.text
    refused = await domains.submit("approve", "acme.example", domains.console.operator)
    assert (refused.status, "It belongs to acme." in refused.text) == (409, True)
    assert [tenant.slug for tenant in registry.search("ann@acme.example", most=5)] == ["acme"]
    assert registry.problems == {}


@pytest.mark.gen_test
async def test_A4_the_portals_own_host_is_not_taken(domains: DomainWorld) -> None:
    await domains.state_names("localhost", key="hosts")
    domains.dns.set_txt("localhost", domains.record(await domains.open()))
    assert (await domains.submit("check", "localhost")).status == 409
    assert (await domains.submit("approve", "localhost", domains.console.operator)).status == 409
    assert await domains.console.services.store.list_domains() == []


@pytest.mark.gen_test
async def test_T5_an_admin_does_not_learn_who_has_a_name(domains: DomainWorld) -> None:
    console = domains.console
    other = re.sub(r"name: .*", "name: Initrode", console.typed, count=1) + f"hosts: [{NAME}]\n"
    await console.services.tenants.publish("initrode", other, ACT, resolve=console.resolve)
    await console.services.domains.approve("initrode", NAME, ACT)
    waiting = await domains.open()
    unproven = await domains.submit("check")
    assert "Waiting for its record" in unproven.text
    assert "Another organisation" not in unproven.text, "who does not control the DNS learns nothing"
    domains.dns.set_txt(NAME, domains.record(waiting))
    domains.wait(CHECK_SECONDS)
    refused = await domains.submit("check")
    assert (refused.status, "Another organisation has this domain" in refused.text) == (409, True)
    assert "initrode" not in refused.text.lower()
    told = await domains.submit("approve", browser=console.operator)
    assert "It belongs to initrode." in told.text


@pytest.mark.parametrize("at", ["example", "b.example", f"www.{NAME}", f"_portal-verification.{NAME}"])
@pytest.mark.gen_test
async def test_A5_a_record_at_another_name_proves_nothing(domains: DomainWorld, at: str) -> None:
    domains.dns.set_txt(at, domains.record(await domains.open()))
    checked = await domains.submit("check")
    assert f"{NAME} has no TXT record." in checked.text
    assert await domains.console.services.store.list_domains() == []


@pytest.mark.gen_test
async def test_A5_an_unproven_name_counts_for_nobody(domains: DomainWorld) -> None:
    registry = domains.console.world.running.portal.registry
    await domains.state_names(NAME, f"portal.{NAME}", key="hosts")
    await domains.console.until_served(3)
    assert registry.by_host(f"portal.{NAME}") is None
    await domains.console.services.domains.approve("globex", f"portal.{NAME}", ACT)
    await until(lambda: registry.by_host(f"portal.{NAME}"), "it does not count", seconds=SOON)
    assert registry.by_host(NAME) is None
