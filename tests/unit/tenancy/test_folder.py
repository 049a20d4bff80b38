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
    assert folder.refresh(()) is True
    known = folder.files["acme.yaml"]
    path.unlink()
    assert folder.refresh(()) is False
    assert folder.files == {"acme.yaml": known}
    assert folder.missing() == {"acme.yaml"}
    assert folder.refresh({"acme.yaml"}) is True
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
    assert [folder.refresh(()), folder.refresh(())] == [True, False]


def test_a_file_modified_just_now_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path)
    folder = folder_of(tmp_path, now=path.stat().st_mtime)
    assert [folder.refresh(()), folder.refresh(())] == [True, True]


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
