"""Tenants of the database beside files: who keeps a name, and which of two of the same slug is served."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from portal.errors import ConfigurationError, Problem
from portal.stores.tenant_records import TenantStatus
from portal.tenancy.loading import read_stored_tenant
from portal.tenancy.presets import built_in
from portal.tenancy.registry import Registry
from portal.tenancy.stored import StoredTenant, TenantState
from tests.unit.tenancy.files import ACME, ENVIRON, write
from tests.unit.tenancy.test_registry import messages, slugs

SHARED = """\
name: {name}
issuer: https://login.victim.example
client: {{id: victims-client, auth: private_key_jwt}}
"""
HOST = "hosts: [portal.acme.example]\n"
PUBLIC = "name: {name}\nissuer: https://login.acme.example\nclient: {{id: portal, auth: none}}\n"


def stored(
    slug: str,
    content: str,
    *,
    revision: int = 1,
    status: TenantStatus = TenantStatus.LIVE,
    published_at: float = 1.0,
) -> StoredTenant:
    loaded = read_stored_tenant(
        slug,
        content,
        open_sealed=lambda sealed: sealed,
        presets=built_in(),
        allow_private_networks=False,
    )
    names = frozenset((*loaded.tenant.hosts, *loaded.tenant.email_domains))
    state = TenantState(1.0, revision, status, names)
    return StoredTenant(slug, state, replace(loaded, published_at=published_at), None)


def invalid(slug: str, revision: int, status: TenantStatus = TenantStatus.LIVE) -> StoredTenant:
    error = ConfigurationError([Problem(slug, "cannot be read")])
    return StoredTenant(slug, TenantState(1.0, revision, status, frozenset()), None, error)


class Served:
    """A registry with a folder, and tenants of the database."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.registry = Registry(folder, environ=ENVIRON)
        self.registry.load()
        self.tenants: dict[str, StoredTenant] = {}

    def publish(self, *changed: StoredTenant, removed: str = "") -> None:
        before = self.tenants
        self.tenants = {**before, **{one.slug: one for one in changed}}
        self.tenants.pop(removed, None)
        slugs_ = {one.slug for one in changed} | ({removed} if removed else set())
        asyncio.run(self.registry.publish_stored(self.tenants, slugs_))


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path / "tenants")


def test_A4_a_suspended_tenant_keeps_its_client_until_it_is_removed(served: Served) -> None:
    served.publish(stored("victim", SHARED.format(name="Victim")))
    served.publish(stored("victim", SHARED.format(name="Victim"), status=TenantStatus.SUSPENDED))
    assert slugs(served.registry) == []
    served.publish(stored("evil", SHARED.format(name="Evil")))
    assert slugs(served.registry) == []
    [refused] = messages(served.registry)["evil.revision-1"]
    assert "already belongs to the tenant victim" in refused
    served.publish(stored("victim", SHARED.format(name="Victim")))
    assert slugs(served.registry) == ["victim"]
    served.publish(removed="victim")
    assert slugs(served.registry) == ["evil"]


def test_A4_a_suspended_tenant_keeps_its_client_after_a_restart(tmp_path: Path) -> None:
    before = Served(tmp_path / "tenants")
    suspended = stored("victim", SHARED.format(name="Victim"), status=TenantStatus.SUSPENDED)
    before.publish(stored("victim", SHARED.format(name="Victim")))
    before.publish(suspended)
    recorded = before.registry.owned({})
    assert [claim[0] for claim in recorded["victim"]] == ["client"]
    write(tmp_path / "tenants", SHARED.format(name="Evil"), "evil.yaml")
    after = Served(tmp_path / "tenants")
    after.publish(suspended)
    after.registry.restore_owners(recorded)
    assert slugs(after.registry) == []
    assert "already belongs to the tenant victim" in messages(after.registry)["evil.yaml"][0]


def test_a_suspended_tenant_keeps_its_host_names(served: Served, tmp_path: Path) -> None:
    content = PUBLIC.format(name="Acme") + HOST
    served.publish(stored("acme", content))
    served.publish(stored("acme", content, revision=2, status=TenantStatus.SUSPENDED))
    assert served.registry.by_host("portal.acme.example") is None
    write(tmp_path / "tenants", PUBLIC.format(name="Other") + HOST, "other.yaml")
    served.registry.load()
    assert slugs(served.registry) == []
    assert "already belongs to the tenant acme" in messages(served.registry)["other.yaml"][0]


def test_a_suspended_tenant_that_cannot_be_read_keeps_its_names_and_is_no_problem(served: Served) -> None:
    served.publish(stored("victim", SHARED.format(name="Victim")))
    served.publish(invalid("victim", 2))
    assert list(served.registry.problems) == ["victim.revision-2"]
    served.publish(invalid("victim", 2, TenantStatus.SUSPENDED))
    assert (slugs(served.registry), served.registry.unclear) == ([], frozenset())
    served.publish(stored("evil", SHARED.format(name="Evil")))
    assert slugs(served.registry) == []


def test_a_suspended_tenant_takes_no_client_from_another(served: Served) -> None:
    served.publish(stored("first", SHARED.format(name="First")))
    served.publish(stored("late", SHARED.format(name="Late"), status=TenantStatus.SUSPENDED))
    served.publish(stored("first", SHARED.format(name="First again"), revision=2))
    assert slugs(served.registry) == ["first"]
    assert served.registry.problems == {}


def test_problems_of_a_stored_tenant_stay_while_its_slug_has_an_invalid_file(
    served: Served, tmp_path: Path
) -> None:
    served.publish(stored("acme", PUBLIC.format(name="Acme")))
    write(tmp_path / "tenants", "name: [")
    served.registry.load()
    served.publish(invalid("acme", 2))
    assert sorted(served.registry.problems) == ["acme.revision-2", "acme.yaml"]
    served.publish(stored("other", SHARED.format(name="Other")))
    assert sorted(served.registry.problems) == ["acme.revision-2", "acme.yaml"]
    served.publish(stored("acme", PUBLIC.format(name="Acme"), revision=3))
    assert sorted(served.registry.problems) == ["acme.yaml"]


def test_a_conflict_of_a_stored_tenant_behind_an_invalid_file_has_its_own_name(
    served: Served, tmp_path: Path
) -> None:
    served.publish(stored("victim", SHARED.format(name="Victim")))
    served.publish(stored("acme", PUBLIC.format(name="Acme")))
    write(tmp_path / "tenants", "name: [")
    served.registry.load()
    served.publish(stored("acme", SHARED.format(name="Acme"), revision=2))
    assert sorted(served.registry.problems) == ["acme.revision-2", "acme.yaml"]
    served.publish(stored("acme", PUBLIC.format(name="Acme"), revision=3))
    assert sorted(served.registry.problems) == ["acme.yaml"]


def test_a_slug_belongs_to_its_file_even_when_the_file_is_refused(served: Served, tmp_path: Path) -> None:
    served.publish(stored("victim", SHARED.format(name="Victim")))
    served.publish(stored("acme", PUBLIC.format(name="Stored") + HOST))
    write(tmp_path / "tenants", SHARED.format(name="Of the file") + HOST)
    served.registry.load()
    assert slugs(served.registry) == ["victim"]
    assert list(served.registry.problems) == ["acme.yaml"]
    served.publish(stored("thief", PUBLIC.format(name="Thief") + HOST))
    assert slugs(served.registry) == ["victim"], "the file keeps the host name that the stored tenant had"
    served.publish(removed="victim")
    assert [tenant.name for tenant in served.registry.all()] == ["Of the file"]


def test_a_removed_file_is_not_served_in_place_of_a_refused_stored_tenant(
    served: Served, tmp_path: Path
) -> None:
    served.publish(stored("victim", SHARED.format(name="Victim")))
    path = write(tmp_path / "tenants", ACME)
    served.registry.load()
    served.publish(stored("acme", SHARED.format(name="Stored")))
    assert slugs(served.registry) == ["acme", "victim"]
    path.unlink()
    served.registry.load()
    assert slugs(served.registry) == ["victim"]
    assert list(served.registry.problems) == ["acme.revision-1"]


# --- processes that see several publications at once


PUBLICATIONS = {
    "two take a free client": [
        stored("victim", SHARED.format(name="Victim"), published_at=10.0),
        stored("evil", SHARED.format(name="Evil"), published_at=11.0),
    ],
    "two take a client that is released": [
        stored("before", SHARED.format(name="Before"), published_at=10.0),
        stored("before", PUBLIC.format(name="Before"), revision=2, published_at=11.0),
        stored("victim", SHARED.format(name="Victim"), published_at=12.0),
        stored("evil", SHARED.format(name="Evil"), published_at=13.0),
    ],
    "one waits for a client, and one takes it when it is released": [
        stored("before", SHARED.format(name="Before"), published_at=10.0),
        stored("victim", SHARED.format(name="Victim"), published_at=11.0),
        stored("before", PUBLIC.format(name="Before"), revision=2, published_at=12.0),
        stored("evil", SHARED.format(name="Evil"), published_at=13.0),
    ],
    "two are suspended": [
        stored("victim", SHARED.format(name="Victim"), status=TenantStatus.SUSPENDED, published_at=10.0),
        stored("evil", SHARED.format(name="Evil"), status=TenantStatus.SUSPENDED, published_at=11.0),
        stored("evil", SHARED.format(name="Evil"), published_at=11.0),
        stored("victim", SHARED.format(name="Victim"), published_at=10.0),
    ],
}


@pytest.mark.parametrize("case", PUBLICATIONS)
def test_A4_processes_give_a_client_to_the_same_tenant_whenever_they_look(tmp_path: Path, case: str) -> None:
    changes = PUBLICATIONS[case]
    for first in range(len(changes)):
        for last in range(first + 1, len(changes) + 1):
            served = Served(tmp_path / f"{first}-{last}")
            for change in changes[:first]:
                served.publish(change)
            served.publish(*changes[first:last])
            for change in changes[last:]:
                served.publish(change)
            assert "victim" in slugs(served.registry), (first, last)
            assert "evil" not in slugs(served.registry), (first, last)
            [refused] = messages(served.registry)["evil.revision-1"]
            assert "already belongs to the tenant victim" in refused


def test_only_a_file_shares_an_e_mail_domain_with_other_tenants() -> None:
    shared = PUBLIC.format(name="Acme") + "shared_email_domains: [group.example]\n"
    with pytest.raises(ConfigurationError) as caught:
        stored("acme", shared)
    (problem,) = caught.value.problems
    assert "only the operator can set this, in a tenant file" in problem.message
    assert stored("acme", PUBLIC.format(name="Acme") + "shared_email_domains: []\nlisted: false\n").loaded


def test_P3_only_a_file_lets_applications_have_access_tokens() -> None:
    with pytest.raises(ConfigurationError) as caught:
        stored("acme", PUBLIC.format(name="Acme") + "forward_auth: {token: true}\n")
    (problem,) = caught.value.problems
    assert "only the operator can set this, in a tenant file" in problem.message
    assert stored(
        "acme", PUBLIC.format(name="Acme") + "forward_auth: {token: false, claims: [name]}\n"
    ).loaded
