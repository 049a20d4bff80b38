"""The key ring file has one lock for all its names, and keeps its owner."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import pytest

from portal.keys import key_file
from portal.keys.key_ring import KeyRing

UNUSED_UID = 54_321
"""A user id that no account has."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of a file")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "var" / "keys.json"
    KeyRing.create(made)
    return made


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of this file."""
    with path.with_name(f".{path.name}.lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.parametrize("name", ["itself", "link", "link of a link", "link to its folder", "relative"])
def test_all_names_of_a_file_share_one_lock(
    path: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.json").symlink_to(path)
    (tmp_path / "again.json").symlink_to("link.json")
    (tmp_path / "folder").symlink_to(path.parent)
    names = {
        "itself": path,
        "link": tmp_path / "link.json",
        "link of a link": tmp_path / "again.json",
        "link to its folder": tmp_path / "folder" / "keys.json",
        "relative": Path("var/../link.json"),
    }
    assert not is_locked(path)
    with key_file.locked(names[name]):
        assert is_locked(path)
    assert not is_locked(path)
    assert [each.name for each in tmp_path.glob(".*.lock")] == []


@as_root
def test_a_key_ring_keeps_its_owner_when_root_rotates_it(path: Path, tmp_path: Path) -> None:
    os.chown(path, UNUSED_UID, UNUSED_UID + 1)
    (tmp_path / "link.json").symlink_to(path)
    for name in (path, tmp_path / "link.json"):
        before = path.stat()
        KeyRing.rotate(name)
        after = path.stat()
        assert after.st_ino != before.st_ino
        assert (after.st_uid, after.st_gid) == (UNUSED_UID, UNUSED_UID + 1)
        assert stat.S_IMODE(after.st_mode) == 0o600


@as_root
def test_a_key_ring_of_root_stays_owned_by_root(path: Path) -> None:
    KeyRing.rotate(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (os.geteuid(), os.getegid())
