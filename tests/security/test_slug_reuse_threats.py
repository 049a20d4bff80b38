"""THREATS T5: a tenant that is made under the slug of a removed one has nothing of that tenant."""

from __future__ import annotations

import re

import pytest

from portal.admin.actors import Actor, ActorType
from portal.admin.events import Act, EventKind
from portal.admin.logins import StoredTenantLogins
from portal.errors import StoreUnavailable
from tests.handlers.test_console_forms import until_done
from tests.kit.console import ACT, ConsoleWorld

CHECKS = "/admin/t/globex/draft/checks"
EVENTS = "/admin/t/globex/events"
FORMER = Act(Actor(ActorType.ADMIN, "former-admin", "default"), reason="plans of the former organisation")


async def remove(console: ConsoleWorld) -> None:
    """As a process does that ends before the logins at the tenant have ended."""
    await console.services.tenants.remove("globex", ACT)
    await console.until(lambda: console.registry.get("globex") is None, "the tenant is still served")


def typed_here(console: ConsoleWorld) -> str:
    """The content with its secret, as somebody types it."""
    return re.sub(r"(?<=secret: )(\S+)", lambda found: str(console.resolve(found[0])), console.typed)


async def served_again(console: ConsoleWorld) -> None:
    await console.until(lambda: console.registry.get("globex"), "the new tenant is not served")


@pytest.mark.parametrize("way", ["draft", "import"])
@pytest.mark.gen_test
async def test_T5_a_login_at_a_removed_tenant_is_none_at_the_next_tenant_of_its_slug(
    console: ConsoleWorld, way: str
) -> None:
    services, echo = console.services, console.world.at("/t/globex/api/echo")
    assert (await console.user.fetch(echo)).status == 200
    await remove(console)
    assert await services.logins.count("globex") == 2
    if way == "draft":
        assert await services.tenants.make("globex", "Globex", ACT)
        begun = await services.drafts.get("globex")
        draft = await services.drafts.save("globex", typed_here(console), ACT, replaces=begun.version)
        assert draft.version is not None
        await services.drafts.publish("globex", ACT, version=draft.version, without_test=True)
    else:
        await console.publish(console.typed)
    await served_again(console)
    assert (await console.user.fetch(echo)).status == 401
    assert await services.logins.count("globex") == 0


@pytest.mark.gen_test
async def test_T5_no_tenant_is_published_beside_the_logins_of_a_removed_one(
    console: ConsoleWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await remove(console)

    async def unavailable(self: StoredTenantLogins, slug: str) -> int:
        raise StoreUnavailable("down")

    with monkeypatch.context() as patched:
        patched.setattr(StoredTenantLogins, "end", unavailable)
        patched.setattr(console.services.tenants, "_end_logins", console.services.closing._logins.end)
        with pytest.raises(StoreUnavailable):
            await console.publish(console.typed)
    assert (await console.services.tenants.get("globex")).live == 0


@pytest.mark.gen_test
async def test_T5_a_publication_of_a_live_tenant_ends_no_login(console: ConsoleWorld) -> None:
    await console.publish(console.typed + "max_age: 1h\n")
    await console.until_served(2)
    assert await console.services.logins.count("globex") == 2


@pytest.mark.gen_test
async def test_T5_an_admin_does_not_read_the_events_of_a_removed_tenant(console: ConsoleWorld) -> None:
    former = FORMER.event(EventKind.DRAFT_SAVED, tenant="globex", target="draft", at=console.world.clock())
    await console.services.store.add_events([former])
    assert "former-admin" in (await console.get(console.admin, EVENTS)).text
    await console.services.closing.remove("globex", ACT)
    await console.until(lambda: console.registry.get("globex") is None, "the tenant is still served")
    await console.publish(console.typed)
    await served_again(console)
    await console.world.sign_in(console.admin, "globex", "gina")
    for address in (EVENTS, f"{EVENTS}?before={'f' * 32}"):
        page = await console.get(console.admin, address)
        assert page.status == 200
        assert "Tenant published" in page.text
        assert "former" not in page.text
    assert "former-admin" in (await console.get(console.operator, EVENTS)).text


@pytest.mark.gen_test(timeout=60)
async def test_T5_the_checks_of_a_removed_tenant_are_not_shown(console: ConsoleWorld) -> None:
    issuer = console.world.globex.issuer
    await console.admin.submit((await console.get(console.admin, CHECKS)).form("/draft/checks"), {})
    await until_done(console)
    assert issuer in (await console.get(console.operator, CHECKS)).text
    await remove(console)
    assert await console.services.tenants.make("globex", "Initrode", ACT)
    page = await console.get(console.operator, CHECKS)
    assert page.status == 200
    assert issuer not in page.text
    assert await console.check_report() is None
