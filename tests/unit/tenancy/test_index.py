"""Lookups in the index of tenants."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from portal.oidc.provider import Provider
from portal.tenancy.index import Index, fold
from portal.tenancy.model import Tenant


def tenant(slug: str, name: str, **more: tuple[str, ...]) -> Tenant:
    provider = Provider(tenant=slug, id="default", issuer="https://login.example", client_id="x")
    return Tenant(slug, name, {"default": provider}, "1", **more)  # type: ignore[arg-type]


INDEX = Index(
    [
        tenant("zebra", "Zebra Störche", hosts=("portal.zebra.example",)),
        tenant("acme", "acme GmbH", email_domains=("acme.example", "acme.test")),
        tenant("acme-eu", "Äcme Europe"),
        tenant("globex", "Globex  Straße"),
    ]
)


def slugs(tenants: list[Tenant]) -> list[str]:
    return [one.slug for one in tenants]


def test_tenants_are_sorted_by_name_ignoring_case_and_accents() -> None:
    assert slugs(list(INDEX.tenants)) == ["acme-eu", "acme", "globex", "zebra"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("acme", ["acme-eu", "acme"]),
        ("ÄCME", ["acme-eu", "acme"]),
        ("storch", ["zebra"]),
        (" globex strasse ", ["globex"]),
        ("e-e", ["acme-eu"]),
        ("ann@acme.test", ["acme"]),
        ("Ann@ACME.example ", ["acme"]),
        ("acme.example", ["acme"]),
        ("ann@sub.acme.example", []),
        ("@", []),
        ("", []),
        ("  ", []),
        ("nobody", []),
    ],
)
def test_tenants_are_found_by_name_or_work_address(text: str, found: list[str]) -> None:
    assert slugs(INDEX.search(text, most=50)) == found


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("portal.zebra.example", "zebra"),
        ("Portal.Zebra.Example:8443", "zebra"),
        ("portal.zebra.example.", "zebra"),
        ("zebra.example", None),
        ("evil.portal.zebra.example", None),
        ("portal.zebra.example:8443:1", None),
        ("", None),
        (":80", None),
        ("[::1]:80", None),
    ],
)
def test_a_tenant_is_found_by_its_host_name(host: str, found: str | None) -> None:
    tenant = INDEX.by_host(host)
    assert (tenant.slug if tenant else None) == found


@settings(deadline=None)
@given(st.text())
def test_searching_for_anything_finds_tenants_or_none(text: str) -> None:
    assert set(slugs(INDEX.search(text, most=50))) <= {"acme", "acme-eu", "globex", "zebra"}


@settings(deadline=None)
@given(
    st.lists(st.text("aé -\0\n", max_size=6), max_size=12),
    st.text("aé -0\0", max_size=3),
    st.integers(1, 12),
)
def test_the_first_matches_by_name_are_found(names: list[str], text: str, most: int) -> None:
    index = Index([tenant(f"a{number}-0", name) for number, name in enumerate(names)])
    query = fold(text)
    matches = [one for one in index.tenants if query and (query in one.slug or query in fold(one.name))]
    assert index.search(text, most=most) == matches[:most]


@settings(deadline=None)
@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


_NAMES = st.lists(st.sampled_from("abcd"), max_size=2, unique=True).map(tuple)


@settings(deadline=None)
@given(st.data())
def test_an_index_with_replaced_tenants_is_that_of_the_new_tenants(data: st.DataObject) -> None:
    """Of tenants whose hosts and e-mail domains are their own, as `Ownership` ensures."""

    def revision(slug: str) -> Tenant:
        def own(prefix: str) -> tuple[str, ...]:
            names = (f"{prefix}.{slug if one < 'c' else 'shared'}" for one in data.draw(_NAMES))
            return tuple(dict.fromkeys(names))

        name = data.draw(st.sampled_from(["A", "B"]))
        return tenant(slug, name, hosts=own("host"), email_domains=own("domain"))

    before = {slug: revision(slug) for slug in ("one", "two", "three")}
    changed = {slug: revision(slug) for slug in data.draw(st.sets(st.sampled_from(["two", "three", "four"])))}
    removed = data.draw(st.sets(st.sampled_from(["one"])))
    after = {slug: one for slug, one in {**before, **changed}.items() if slug not in removed}
    for tenants in (before, after):
        names = [name for one in tenants.values() for name in {*one.hosts, *one.email_domains}]
        assume(len(names) == len(set(names)))
    found = Index(before.values()).replacing(changed, removed)
    expected = Index(after.values())
    assert list(found.tenants) == list(expected.tenants)
    assert dict(found.by_slug) == dict(expected.by_slug) == after
    for name in sorted({f"{kind}.{end}" for kind in ("host", "domain") for end in (*after, "shared")}):
        assert found.by_host(name) is expected.by_host(name)
        assert found.search(f"ann@{name}", most=5) == expected.search(f"ann@{name}", most=5)


def test_an_index_with_a_replaced_tenant_leaves_the_earlier_one_unchanged() -> None:
    new = tenant("acme", "acme GmbH", hosts=("new.example",), email_domains=("new.example",))
    index = INDEX.replacing({"acme": new})
    assert slugs(index.search("ann@new.example", most=5)) == ["acme"]
    assert index.search("ann@acme.test", most=5) == []
    assert index.by_host("new.example") is index.by_slug["acme"] is new
    assert slugs(INDEX.search("ann@acme.test", most=5)) == ["acme"]
    assert INDEX.by_host("new.example") is None
