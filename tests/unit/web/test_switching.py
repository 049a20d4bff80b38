"""The switcher's groups, its links, and the organisations that a browser remembers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from portal.keys.key_ring import KeyRing
from portal.keys.vault import Vault
from portal.oidc.provider import Provider
from portal.tenancy.model import Tenant
from portal.web.cards import tenant_card
from portal.web.remembered import MOST, Remembered, RememberedOrganisations
from portal.web.switching import kept_page, people_of, sign_in_again
from portal.web.views import TenantCard

ORIGIN = "https://portal.example"


def tenant(slug: str, *providers: str) -> Tenant:
    made = {
        name: Provider(tenant=slug, id=name, issuer="https://login.example", client_id="x")
        for name in providers or ("default",)
    }
    return Tenant(slug, slug.title(), made, "1")


def card(slug: str, user: str, email: str = "") -> TenantCard:
    return TenantCard(slug, slug, "S", "#000000", signed_in=True, user=user, email=email)


def groups(*cards: TenantCard) -> list[tuple[str, str]]:
    return [(person.name, " ".join(one.slug for one in person.cards)) for person in people_of(cards)]


def test_a_person_has_the_same_verified_address_or_the_same_name() -> None:
    assert groups(card("a", "Ada"), card("b", "Bob"), card("c", "ADA")) == [("Ada", "a c"), ("Bob", "b")]
    assert groups(card("a", "Ada", "x@a.example"), card("b", "A. L.", "X@a.example")) == [("Ada", "a b")]
    assert groups(card("a", "Ada"), card("b", "Bob", "x@b.example")) == [("Ada", "a"), ("Bob", "b")]


def test_an_account_that_belongs_to_two_groups_joins_them() -> None:
    joined = groups(card("a", "Ada"), card("b", "A. L.", "x@a.example"), card("c", "Ada", "x@a.example"))
    assert joined == [("Ada", "a b c")]
    assert groups() == []


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/t/acme/developer", "developer"),
        ("/t/acme/", ""),
        ("/t/acme/logout", ""),
        ("/t/acme/developer/x", ""),
        ("/account", ""),
        ("/", ""),
    ],
)
def test_only_pages_that_every_tenant_has_stay_the_same(path: str, kept: str) -> None:
    assert kept_page(path) == kept


def again(entry: Remembered, live: Tenant | None, page: str = "") -> list[str]:
    found = sign_in_again(
        [entry],
        signed_in=[card("globex", "Ada")],
        tenant_of=lambda slug: live,
        card_of=lambda one: tenant_card(one, None),
        page=page,
    )
    return [one.url for one in found]


def test_a_remembered_organisation_is_signed_in_to_silently_first() -> None:
    one, two = tenant("acme"), tenant("acme", "staff", "guests")
    silent = "/t/acme/login?prompt=none&return_to=%2Ft%2Facme%2F"
    assert again(Remembered("acme", "default"), one) == [silent]
    assert again(Remembered("acme", "gone"), one) == [silent]
    assert again(Remembered("acme", "guests"), two, "developer") == [f"{silent}developer&provider=guests"]
    assert again(Remembered("acme", "gone"), two) == ["/t/acme/"]
    assert again(Remembered("acme", "default"), replace(one, accepts_logins=False)) == ["/t/acme/"]
    assert again(Remembered("acme", "default"), None) == []
    assert again(Remembered("globex", "default"), tenant("globex")) == []


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    KeyRing.create(tmp_path / "keys.json")
    return Vault(KeyRing.load_or_create(tmp_path / "keys.json"))


def test_a_browser_remembers_the_last_dozen_organisations_once_each(vault: Vault) -> None:
    remembered = RememberedOrganisations(vault)
    entries = [Remembered(f"{number:x<63}", "p" * 63) for number in range(MOST + 3)]
    cookie = remembered.cookie([entries[5], *entries], ORIGIN).reveal()
    assert len(cookie) < 4_000
    found = remembered.read(cookie, ORIGIN)
    assert found == (entries[5], *entries[:5], *entries[6:MOST])


def test_the_cookie_of_another_site_or_key_ring_says_nothing(vault: Vault, tmp_path: Path) -> None:
    remembered, entry = RememberedOrganisations(vault), Remembered("acme", "default")
    cookie = remembered.cookie([entry], ORIGIN).reveal()
    KeyRing.create(tmp_path / "other.json")
    other = RememberedOrganisations(Vault(KeyRing.load_or_create(tmp_path / "other.json")))
    assert remembered.read(cookie, ORIGIN) == (entry,)
    assert remembered.read(cookie, "https://other.example") == ()
    assert other.read(cookie, ORIGIN) == ()
    assert remembered.read(vault.seal("something else", '[["acme", "default"]]'), ORIGIN) == ()
    for text in ("", None, "x", cookie[:-1], cookie + "A", cookie.swapcase(), "A" * 100_000):
        assert remembered.read(text, ORIGIN) == ()


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[["acme"]]', '[["a", "b", "c"]]', "null", "[["])
def test_what_another_version_remembered_is_ignored(vault: Vault, content: str) -> None:
    sealed = vault.seal(f"organisations of a browser at {ORIGIN}", content)
    assert RememberedOrganisations(vault).read(sealed, ORIGIN) == ()
