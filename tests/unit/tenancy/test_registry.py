"""The live tenants follow their files; an invalid file affects only its own tenant."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from portal.errors import ConfigurationError
from portal.tenancy.registry import Registry
from tests.unit.tenancy.files import ACME, ENVIRON, write


def named(name: str, more: str = "") -> str:
    return ACME.replace("Acme Corporation", name) + more


def registry(folder: Path, **more: object) -> Registry:
    return Registry(folder, environ=ENVIRON, **more)  # type: ignore[arg-type]


def slugs(live: Registry) -> list[str]:
    return [tenant.slug for tenant in live.all()]


def messages(live: Registry) -> dict[str, list[str]]:
    return {name: [problem.message for problem in error.problems] for name, error in live.problems.items()}


def test_every_file_of_the_folder_is_a_tenant(tmp_path: Path) -> None:
    write(tmp_path, named("Zebra"), "a.yaml")
    write(tmp_path, named("Acme"), "b.yml")
    for ignored in (".b.yaml", "c.yaml~", "c.yaml.bak", "#c.yaml#", "tenant.schema.json", "README.md"):
        write(tmp_path, "nothing", ignored)
    live = registry(tmp_path)
    live.load()
    assert slugs(live) == ["b", "a"]
    assert live.problems == {}
    found = live.get("a")
    assert found is not None
    assert found.name == "Zebra"
    assert live.get("c") is None


def test_an_invalid_file_is_a_problem_and_the_others_are_live(tmp_path: Path) -> None:
    write(tmp_path)
    bad = write(tmp_path, "name: [", "bad.yaml")
    write(tmp_path, ACME, "No Slug.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "broken.yaml").symlink_to(tmp_path / "nowhere")
    live = registry(tmp_path)
    live.load()
    assert slugs(live) == ["acme"]
    assert sorted(live.problems) == ["No Slug.yaml", "bad.yaml", "broken.yaml", "folder.yaml"]
    assert live.problems["bad.yaml"].problems[0].place == f"{bad}:2:1"


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        registry(tmp_path / "none").load()
    (problem,) = caught.value.problems
    assert problem.place == str(tmp_path / "none")
    assert problem.message == (
        "the folder of tenant files cannot be read: No such file or directory; "
        "create it, or set `tenants` or PORTAL_TENANTS to another folder"
    )


def test_a_folder_without_tenants_is_no_error(tmp_path: Path) -> None:
    live = registry(tmp_path)
    live.load()
    assert list(live.all()) == []


def test_changes_of_the_folder_are_live(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, named("Globex"), "globex.yaml")
    live = registry(tmp_path)
    live.load()
    assert [tenant.slug for tenant in live.all()] == ["acme", "globex"]
    write(tmp_path, named("Acme 2"))
    (tmp_path / "globex.yaml").unlink()
    live.load()
    after = live.get("acme")
    assert after is not None
    assert after.name == "Acme 2"
    assert live.get("globex") is None


def test_a_file_that_stays_as_it_is_changes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path)
    live = registry(tmp_path)
    live.load()
    before = live.get("acme")
    live.load()
    os.utime(path)
    live.load()
    assert live.get("acme") is before


def test_two_saves_with_the_same_modification_time_are_both_detected(tmp_path: Path) -> None:
    path = write(tmp_path, named("Acme A"))
    live = registry(tmp_path)
    live.load()
    times = path.stat()
    path.write_text(named("Acme B"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    live.load()
    assert [tenant.name for tenant in live.all()] == ["Acme B"]


def test_T6_only_a_tenant_of_a_file_is_of_the_operator(tmp_path: Path) -> None:
    """Whoever may write a draft names its slug before anything of it was live."""
    file = write(tmp_path, named("Acme"))
    write(tmp_path, "name: [", "globex.yaml")
    live = registry(tmp_path)
    live.load()
    assert [live.is_of_operator(slug) for slug in ("acme", "globex", "initech")] == [True, True, False]
    file.write_text("name: [", encoding="utf-8")
    live.load()
    assert live.get("acme") is not None
    assert live.is_of_operator("acme"), "its last valid revision is of a file"
    file.unlink()
    live.load()
    assert not live.is_of_operator("acme")


def test_an_old_file_is_not_read_again(tmp_path: Path) -> None:
    path = write(tmp_path, named("Acme A"))
    os.utime(path, (1, 1))
    live = registry(tmp_path)
    live.load()
    path.write_text(named("Acme B"))
    os.utime(path, (1, 1))
    live.load()
    assert [tenant.name for tenant in live.all()] == ["Acme A"]


def test_the_last_valid_revision_stays_live_while_a_file_is_invalid(tmp_path: Path) -> None:
    path = write(tmp_path)
    live = registry(tmp_path)
    live.load()
    good = live.get("acme")
    path.write_text(ACME + "nope: 1\n")
    live.load()
    assert live.get("acme") is good
    assert list(live.problems) == ["acme.yaml"]
    path.write_text(named("Acme 2"))
    live.load()
    assert [tenant.name for tenant in live.all()] == ["Acme 2"]
    assert live.problems == {}


def test_removing_an_invalid_file_removes_its_tenant(tmp_path: Path) -> None:
    path = write(tmp_path)
    live = registry(tmp_path)
    live.load()
    path.write_text("bad")
    live.load()
    path.unlink()
    live.load()
    assert list(live.all()) == []
    assert live.problems == {}


def test_a_changed_secret_file_is_a_change_of_the_tenant(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    os.utime(write(tmp_path / "tenants", ACME.replace("${ACME_SECRET}", "file:../secret")), (1, 1))
    live = registry(tmp_path / "tenants")
    live.load()
    assert list(live.problems) == ["acme.yaml"]
    secret.write_text("one")
    live.load()
    first = live.get("acme")
    assert first is not None
    secret.write_text("two")
    live.load()
    second = live.get("acme")
    assert second is not None
    assert first.revision != second.revision
    secret.unlink()
    live.load()
    assert live.get("acme") is second
    assert list(live.problems) == ["acme.yaml"]


def test_a_volume_swapped_by_a_symbolic_link_is_read_again(tmp_path: Path) -> None:
    write(tmp_path / "one", named("Acme 1"))
    write(tmp_path / "two", named("Acme 2"))
    live_folder = tmp_path / "tenants"
    live_folder.mkdir()
    (live_folder / "..data").symlink_to(tmp_path / "one")
    (live_folder / "acme.yaml").symlink_to(Path("..data") / "acme.yaml")
    live = registry(live_folder)
    live.load()
    (live_folder / "..next").symlink_to(tmp_path / "two")
    (live_folder / "..next").rename(live_folder / "..data")
    live.load()
    assert [tenant.name for tenant in live.all()] == ["Acme 2"]


def test_two_files_for_one_tenant_are_a_problem(tmp_path: Path) -> None:
    write(tmp_path, named("First"), "acme.yaml")
    write(tmp_path, named("Second"), "acme.yml")
    live = registry(tmp_path)
    live.load()
    assert [tenant.name for tenant in live.all()] == ["First"]
    assert messages(live) == {
        "acme.yml": ["there is another file for the tenant acme; remove one of the two"]
    }


# --- each host name and e-mail domain belongs to one tenant


def test_a_name_that_two_files_claim_goes_to_the_first_by_name(tmp_path: Path) -> None:
    write(tmp_path, named("B", "hosts: [x.example]\n"), "b.yaml")
    path = write(
        tmp_path, named("C", "email_domains: [c.example]\nhosts: [c.example, x.example]\n"), "c.yaml"
    )
    write(tmp_path, named("A"), "a.yaml")
    live = registry(tmp_path)
    live.load()
    assert slugs(live) == ["a", "b"]
    (problem,) = live.problems["c.yaml"].problems
    assert str(problem) == f"{path}:7:20: hosts contains a name that already belongs to the tenant b"


def test_the_owner_of_a_domain_keeps_it_until_it_releases_it(tmp_path: Path) -> None:
    write(tmp_path, named("B", "email_domains: [x.example]\n"), "b.yaml")
    live = registry(tmp_path)
    live.load()
    write(tmp_path, named("A", "email_domains: [x.example]\n"), "a.yaml")
    live.load()
    assert slugs(live) == ["b"]
    assert messages(live) == {
        "a.yaml": ["email_domains contains a name that already belongs to the tenant b"]
    }
    write(tmp_path, named("B"), "b.yaml")
    live.load()
    assert slugs(live) == ["a", "b"]
    assert [tenant.slug for tenant in live.search("ann@x.example", most=50)] == ["a"]
    assert live.problems == {}


def test_a_live_tenant_keeps_its_last_revision_when_the_new_one_has_a_conflict(tmp_path: Path) -> None:
    write(tmp_path, named("A", "hosts: [a.example]\n"), "a.yaml")
    write(tmp_path, named("B", "hosts: [b.example]\n"), "b.yaml")
    live = registry(tmp_path)
    live.load()
    write(tmp_path, named("A taker", "hosts: [a.example, b.example]\n"), "a.yaml")
    live.load()
    assert [tenant.name for tenant in live.all()] == ["A", "B"]
    found = live.by_host("b.example")
    assert found is not None
    assert found.slug == "b"


def test_two_tenants_can_swap_their_hosts_at_once(tmp_path: Path) -> None:
    write(tmp_path, named("A", "hosts: [a.example]\n"), "a.yaml")
    write(tmp_path, named("B", "hosts: [b.example]\n"), "b.yaml")
    live = registry(tmp_path)
    live.load()
    write(tmp_path, named("A", "hosts: [b.example]\n"), "a.yaml")
    write(tmp_path, named("B", "hosts: [a.example]\n"), "b.yaml")
    live.load()
    found = live.by_host("a.example")
    assert found is not None
    assert found.slug == "b"
    assert live.problems == {}


def test_a_host_can_change_its_tenant_despite_an_unrelated_conflict(tmp_path: Path) -> None:
    write(tmp_path, named("A"), "a.yaml")
    write(tmp_path, named("B", "hosts: [b.example]\n"), "b.yaml")
    live = registry(tmp_path)
    live.load()
    write(tmp_path, named("A", "hosts: [b.example]\n"), "a.yaml")
    write(tmp_path, named("B"), "b.yaml")
    write(tmp_path, named("C", "hosts: [c.example]\n"), "c.yaml")
    write(tmp_path, named("D", "hosts: [c.example]\n"), "d.yaml")
    live.load()
    found = live.by_host("b.example")
    assert found is not None
    assert found.slug == "a"
    assert slugs(live) == ["a", "b", "c"]
    assert list(live.problems) == ["d.yaml"]


def test_no_tenant_gets_a_host_of_the_portal(tmp_path: Path) -> None:
    write(tmp_path, named("A", "hosts: [Portal.example]\n"), "a.yaml")
    live = registry(tmp_path, reserved_hosts=["portal.EXAMPLE"])
    live.load()
    assert messages(live) == {"a.yaml": ["hosts contains a name that is reserved for the portal"]}
    assert live.by_host("portal.example") is None


def test_a_thousand_tenants_are_read_quickly(tmp_path: Path) -> None:
    for number in range(1000):
        more = f"hosts: [h{number}.example]\napi: {{base_url: https://api{number}.example}}\n"
        write(tmp_path, named(f"T {number}", more), f"t{number}.yaml")
    live = registry(tmp_path)
    began = time.process_time()
    live.load()
    assert time.process_time() - began < 2.0
    assert len(live.all()) == 1000
