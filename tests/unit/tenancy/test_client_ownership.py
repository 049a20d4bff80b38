"""A client that authenticates with the shared key belongs to only one tenant (THREATS T1, T2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.tenancy.registry import Registry
from tests.unit.tenancy.files import ENVIRON, write
from tests.unit.tenancy.test_registry import messages, slugs

ISSUER = "https://login.victim.example"
SHARED_KEY = "client: {id: victims-client, auth: private_key_jwt}\n"
CLIENT_KEY = "client: {id: victims-client, auth: private_key_jwt, signing_key: own}\n"
SIGNED = "client: {id: victims-client, auth: none}\nrequest_object: signed\n"
SIGNED_WITH_SECRET = "client: {id: victims-client, secret: '${ACME_SECRET}'}\nrequest_object: signed\n"
SECRET = "client: {id: victims-client, secret: '${ACME_SECRET}'}\n"
PUBLIC = "client: {id: victims-client, auth: none}\n"

CONFLICT = (
    "this client of this issuer already belongs to the tenant {owner}, and both authenticate with "
    "the portal's shared keys; register another client for this tenant"
)


def named(name: str, client: str, issuer: str = ISSUER) -> str:
    return f"name: {name}\nissuer: {issuer}\n{client}"


def registry(folder: Path) -> Registry:
    return Registry(folder, environ=ENVIRON)


@pytest.mark.parametrize("victims", [SHARED_KEY, SIGNED, SIGNED_WITH_SECRET])
@pytest.mark.parametrize("attackers", [SHARED_KEY, SIGNED, SIGNED_WITH_SECRET])
def test_a_second_tenant_with_the_same_client_is_refused_with_position_and_remedy(
    tmp_path: Path, victims: str, attackers: str
) -> None:
    write(tmp_path, named("Victim", victims), "victim.yaml")
    live = registry(tmp_path)
    live.load()
    first = live.get("victim")
    path = write(tmp_path, named("Evil", attackers), "evil.yaml")  # before the first by file name
    live.load()
    assert live.get("victim") is first
    assert slugs(live) == ["victim"]
    (problem,) = live.problems["evil.yaml"].problems
    assert str(problem) == f"{path}:3:9: {CONFLICT.format(owner='victim')}"


def test_of_two_new_tenants_with_the_same_client_the_first_by_name_is_live(tmp_path: Path) -> None:
    write(tmp_path, named("A", SHARED_KEY), "a.yaml")
    write(tmp_path, named("B", SHARED_KEY), "b.yaml")
    live = registry(tmp_path)
    live.load()
    assert slugs(live) == ["a"]
    assert messages(live) == {"b.yaml": [CONFLICT.format(owner="a")]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SECRET, SECRET),
        (SHARED_KEY, SECRET),
        (SECRET, SHARED_KEY),
        (PUBLIC, SIGNED),
        (PUBLIC, PUBLIC),
        (SHARED_KEY, CLIENT_KEY),
        (CLIENT_KEY, CLIENT_KEY),
    ],
)
def test_a_client_may_belong_to_several_tenants_unless_two_use_the_shared_key(
    tmp_path: Path, one: str, other: str
) -> None:
    write(tmp_path, named("A", one), "a.yaml")
    write(tmp_path, named("B", other), "b.yaml")
    live = registry(tmp_path)
    live.load()
    assert slugs(live) == ["a", "b"]
    assert live.problems == {}


def test_another_client_or_issuer_is_no_conflict(tmp_path: Path) -> None:
    write(tmp_path, named("A", SHARED_KEY), "a.yaml")
    write(tmp_path, named("B", SHARED_KEY.replace("victims", "another")), "b.yaml")
    write(tmp_path, named("C", SHARED_KEY, "https://login.another.example"), "c.yaml")
    live = registry(tmp_path)
    live.load()
    assert slugs(live) == ["a", "b", "c"]


@pytest.mark.parametrize("how", ["removed", "another client", "a secret"])
def test_the_second_tenant_is_live_after_the_first_releases_the_client(tmp_path: Path, how: str) -> None:
    write(tmp_path, named("B", SHARED_KEY), "b.yaml")
    live = registry(tmp_path)
    live.load()
    write(tmp_path, named("A", SHARED_KEY), "a.yaml")
    live.load()
    assert slugs(live) == ["b"]
    if how == "removed":
        (tmp_path / "b.yaml").unlink()
    else:
        released = SECRET if how == "a secret" else SHARED_KEY.replace("victims", "another")
        write(tmp_path, named("B", released), "b.yaml")
    live.load()
    assert slugs(live) == (["a"] if how == "removed" else ["a", "b"])
    assert live.problems == {}


def test_a_live_tenant_that_claims_the_client_of_another_keeps_its_last_revision(tmp_path: Path) -> None:
    write(tmp_path, named("A", SECRET), "a.yaml")
    write(tmp_path, named("B", SHARED_KEY), "b.yaml")
    live = registry(tmp_path)
    live.load()
    before = live.get("a")
    write(tmp_path, named("A", SHARED_KEY), "a.yaml")
    live.load()
    assert live.get("a") is before
    assert messages(live) == {"a.yaml": [CONFLICT.format(owner="b")]}


def test_a_conflict_names_its_provider_and_a_tenant_never_conflicts_with_itself(
    tmp_path: Path,
) -> None:
    write(tmp_path, named("Victim", SHARED_KEY), "victim.yaml")
    of_its_own = "    issuer: https://login.own.example\n    client: {id: portal, auth: private_key_jwt}\n"
    anothers = f"    issuer: {ISSUER}\n    {SHARED_KEY}"
    path = write(
        tmp_path,
        f"name: Evil\nproviders:\n  one:\n{of_its_own}  two:\n{of_its_own}  three:\n{anothers}",
        "x.yaml",
    )
    live = registry(tmp_path)
    live.load()
    assert slugs(live) == ["victim"]
    assert [str(one) for one in live.problems["x.yaml"].problems] == [
        f"{path}:11:13: {CONFLICT.format(owner='victim')}"
    ]
    path.write_text(path.read_text().partition("  three:")[0])
    live.load()
    assert slugs(live) == ["x", "victim"]
