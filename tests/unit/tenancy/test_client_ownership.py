"""All tenants share the portal's own keys: a client that they prove is one tenant's only (THREATS T1, T2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.tenancy.registry import Registry
from tests.unit.tenancy.files import ENVIRON, write
from tests.unit.tenancy.test_registry import messages, slugs

ISSUER = "https://login.victim.example"
OWN_KEYS = "client: {id: victims-client, auth: private_key_jwt}\n"
CLIENT_KEY = "client: {id: victims-client, auth: private_key_jwt, signing_key: own}\n"
SIGNED = "client: {id: victims-client, auth: none}\nrequest_object: signed\n"
SIGNED_WITH_SECRET = "client: {id: victims-client, secret: '${ACME_SECRET}'}\nrequest_object: signed\n"
SECRET = "client: {id: victims-client, secret: '${ACME_SECRET}'}\n"
PUBLIC = "client: {id: victims-client, auth: none}\n"

CLASH = (
    "this client of this issuer already belongs to the tenant {owner}, and both authenticate with "
    "the portal's shared keys; register another client for this tenant"
)


def named(name: str, client: str, issuer: str = ISSUER) -> str:
    return f"name: {name}\nissuer: {issuer}\n{client}"


def registry(folder: Path) -> Registry:
    return Registry(folder, environ=ENVIRON)


@pytest.mark.parametrize("victims", [OWN_KEYS, SIGNED, SIGNED_WITH_SECRET])
@pytest.mark.parametrize("evils", [OWN_KEYS, SIGNED, SIGNED_WITH_SECRET])
def test_a_second_tenant_with_the_same_client_is_refused_with_place_and_remedy(
    tmp_path: Path, victims: str, evils: str
) -> None:
    write(tmp_path, named("Victim", victims), "victim.yaml")
    live = registry(tmp_path)
    live.load()
    first = live.get("victim")
    path = write(tmp_path, named("Evil", evils), "evil.yaml")  # before the first by file name
    live.load()
    assert live.get("victim") is first
    assert slugs(live) == ["victim"]
    (problem,) = live.problems["evil.yaml"].problems
    assert str(problem) == f"{path}:3:9: {CLASH.format(owner='victim')}"


def test_of_two_that_come_together_the_first_by_name_is_live(tmp_path: Path) -> None:
    write(tmp_path, named("A", OWN_KEYS), "a.yaml")
    write(tmp_path, named("B", OWN_KEYS), "b.yaml")
    live = registry(tmp_path)
    live.load()
    assert slugs(live) == ["a"]
    assert messages(live) == {"b.yaml": [CLASH.format(owner="a")]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SECRET, SECRET),
        (OWN_KEYS, SECRET),
        (SECRET, OWN_KEYS),
        (PUBLIC, SIGNED),
        (PUBLIC, PUBLIC),
        (OWN_KEYS, CLIENT_KEY),
        (CLIENT_KEY, CLIENT_KEY),
    ],
)
def test_a_client_that_own_keys_prove_for_one_tenant_at_most_may_be_of_several(
    tmp_path: Path, one: str, other: str
) -> None:
    write(tmp_path, named("A", one), "a.yaml")
    write(tmp_path, named("B", other), "b.yaml")
    live = registry(tmp_path)
    live.load()
    assert slugs(live) == ["a", "b"]
    assert live.problems == {}


def test_another_client_or_another_issuer_is_another(tmp_path: Path) -> None:
    write(tmp_path, named("A", OWN_KEYS), "a.yaml")
    write(tmp_path, named("B", OWN_KEYS.replace("victims", "another")), "b.yaml")
    write(tmp_path, named("C", OWN_KEYS, "https://login.another.example"), "c.yaml")
    live = registry(tmp_path)
    live.load()
    assert slugs(live) == ["a", "b", "c"]


@pytest.mark.parametrize("how", ["removed", "another client", "a secret"])
def test_the_second_comes_when_the_first_gives_the_client_up(tmp_path: Path, how: str) -> None:
    write(tmp_path, named("B", OWN_KEYS), "b.yaml")
    live = registry(tmp_path)
    live.load()
    write(tmp_path, named("A", OWN_KEYS), "a.yaml")
    live.load()
    assert slugs(live) == ["b"]
    if how == "removed":
        (tmp_path / "b.yaml").unlink()
    else:
        given_up = SECRET if how == "a secret" else OWN_KEYS.replace("victims", "another")
        write(tmp_path, named("B", given_up), "b.yaml")
    live.load()
    assert slugs(live) == (["a"] if how == "removed" else ["a", "b"])
    assert live.problems == {}


def test_a_live_tenant_that_takes_anothers_client_keeps_its_last_revision(tmp_path: Path) -> None:
    write(tmp_path, named("A", SECRET), "a.yaml")
    write(tmp_path, named("B", OWN_KEYS), "b.yaml")
    live = registry(tmp_path)
    live.load()
    before = live.get("a")
    write(tmp_path, named("A", OWN_KEYS), "a.yaml")
    live.load()
    assert live.get("a") is before
    assert messages(live) == {"a.yaml": [CLASH.format(owner="b")]}


def test_the_place_of_one_of_several_providers_is_told_and_a_tenant_does_not_clash_with_itself(
    tmp_path: Path,
) -> None:
    write(tmp_path, named("Victim", OWN_KEYS), "victim.yaml")
    of_its_own = "    issuer: https://login.own.example\n    client: {id: portal, auth: private_key_jwt}\n"
    anothers = f"    issuer: {ISSUER}\n    {OWN_KEYS}"
    path = write(
        tmp_path,
        f"name: Evil\nproviders:\n  one:\n{of_its_own}  two:\n{of_its_own}  three:\n{anothers}",
        "x.yaml",
    )
    live = registry(tmp_path)
    live.load()
    assert slugs(live) == ["victim"]
    assert [str(one) for one in live.problems["x.yaml"].problems] == [
        f"{path}:11:13: {CLASH.format(owner='victim')}"
    ]
    path.write_text(path.read_text().partition("  three:")[0])
    live.load()
    assert slugs(live) == ["x", "victim"]
