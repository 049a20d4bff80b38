"""A folder of tenant files; only changed files are read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.tenancy.folder import TenantFolder
from tests.unit.tenancy.files import ACME, ENVIRON, write


def folder_of(path: Path, now: float = 0.0) -> TenantFolder:
    return TenantFolder(path, allow_private_networks=False, environ=ENVIRON, clock=lambda: now)


def test_a_missing_file_is_kept_unless_it_is_removable(tmp_path: Path) -> None:
    path = write(tmp_path)
    folder = folder_of(tmp_path)
    assert folder.refresh(()) == {"acme.yaml"}
    known = folder.files["acme.yaml"]
    path.unlink()
    assert folder.refresh(()) == set()
    assert folder.files == {"acme.yaml": known}
    assert folder.missing() == {"acme.yaml"}
    assert folder.refresh({"acme.yaml"}) == {"acme.yaml"}
    assert folder.files == {}


def test_a_file_that_has_returned_is_not_removed(tmp_path: Path) -> None:
    path = write(tmp_path)
    folder = folder_of(tmp_path)
    folder.refresh(())
    path.unlink()
    missing = folder.missing()
    write(tmp_path, ACME + "# back\n")
    folder.refresh(missing)
    assert list(folder.files) == ["acme.yaml"]


def test_an_old_file_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path)
    folder = folder_of(tmp_path, now=path.stat().st_mtime + 1)
    assert [folder.refresh(()), folder.refresh(())] == [{"acme.yaml"}, set()]


def test_a_file_modified_just_now_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path)
    folder = folder_of(tmp_path, now=path.stat().st_mtime)
    assert [folder.refresh(()), folder.refresh(())] == [{"acme.yaml"}, {"acme.yaml"}]


def test_a_folder_that_cannot_be_read_leaves_the_files_as_they_were(tmp_path: Path) -> None:
    write(tmp_path / "tenants")
    folder = folder_of(tmp_path / "tenants")
    folder.refresh(())
    (tmp_path / "tenants").rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError):
        folder.missing()
    with pytest.raises(FileNotFoundError):
        folder.refresh(())
    assert list(folder.files) == ["acme.yaml"]


def changed(folder: TenantFolder, *names: str) -> set[str] | None:
    return folder.refresh_changed([str(folder.path / name) for name in names])


def test_a_changed_file_is_read_without_a_look_at_the_others(tmp_path: Path) -> None:
    write(tmp_path)
    other = write(tmp_path, ACME, "other.yaml")
    folder = folder_of(tmp_path)
    folder.refresh(())
    write(tmp_path, ACME + "# changed\n")
    other.write_text("bad")
    before = dict(folder.files)
    assert changed(folder, "acme.yaml") == {"acme.yaml"}
    assert folder.files["acme.yaml"] is not before["acme.yaml"]
    assert folder.files["other.yaml"] is before["other.yaml"]
    assert list(folder.files) == list(before)


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    path = write(tmp_path)
    folder = folder_of(tmp_path, now=path.stat().st_mtime + 1)
    folder.refresh(())
    assert changed(folder, "acme.yaml") == set()


def test_a_temporary_file_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path)
    folder = folder_of(tmp_path)
    folder.refresh(())
    assert changed(folder, ".acme.yaml.swap", "new.yaml") == set()


@pytest.mark.parametrize("name", ["new.yaml", "secret", "..data"])
def test_a_path_that_may_concern_other_files_needs_a_check_of_all(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    folder = folder_of(tmp_path)
    folder.refresh(())
    write(tmp_path, "anything", name)
    assert changed(folder, "acme.yaml", name) is None


def test_a_removed_file_needs_a_check_of_all(tmp_path: Path) -> None:
    path = write(tmp_path)
    folder = folder_of(tmp_path)
    folder.refresh(())
    path.unlink()
    assert changed(folder, "acme.yaml") is None
    assert list(folder.files) == ["acme.yaml"]


def test_a_change_of_the_folder_itself_needs_a_check_of_all(tmp_path: Path) -> None:
    write(tmp_path)
    folder = folder_of(tmp_path)
    folder.refresh(())
    assert folder.refresh_changed([str(tmp_path)]) is None
    tmp_path.rename(tmp_path.with_name("away"))
    assert folder.refresh_changed([str(tmp_path)]) is None


def test_files_stay_sorted_by_name_when_some_are_new(tmp_path: Path) -> None:
    for name in ("b.yaml", "d.yaml"):
        write(tmp_path, ACME, name)
    folder = folder_of(tmp_path)
    folder.refresh(())
    (tmp_path / "d.yaml").unlink()
    for name in ("e.yaml", "a.yaml", "c.yaml"):
        write(tmp_path, ACME, name)
    assert folder.refresh(()) == {"a.yaml", "b.yaml", "c.yaml", "e.yaml"}  # b: modified just now
    assert list(folder.files) == ["a.yaml", "b.yaml", "c.yaml", "d.yaml", "e.yaml"]
