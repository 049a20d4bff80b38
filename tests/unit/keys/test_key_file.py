"""The key ring file has one lock and one owner, whatever name and whoever it is written by."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from portal.keys import key_file
from portal.keys.key_ring import KeyRing

SOMEBODY = 54_321
"""A user id that is nobody's."""

superuser = pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can give files to others")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "var" / "keys.json"
    KeyRing.create(made)
    return made


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock beside this file."""
    with path.with_name(f".{path.name}.lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.parametrize("way", ["itself", "link", "link of a link", "link to its folder", "relative"])
def test_there_is_one_lock_whatever_name_the_file_is_called_by(
    path: Path, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
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
    with key_file.locked(names[way]):
        assert is_locked(path)
    assert not is_locked(path)
    assert [each.name for each in tmp_path.glob(".*.lock")] == []


ROTATE = """
import sys
from pathlib import Path
from portal.keys.key_ring import KeyRing
print(*(KeyRing.rotate(Path(sys.argv[1])) for _ in range(10)))
"""


def test_processes_that_call_it_by_different_names_lose_no_key(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(path)
    first = KeyRing.load(path).newest.kid
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ROTATE, str(name)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        for name in (path, tmp_path / "link.json") * 2
    ]
    made = [kid for process in processes for kid in process.communicate(timeout=60)[0].split()]
    assert len(set(made)) == 40
    assert set(KeyRing.load(path).kids) == {first, *made}


@superuser
def test_a_key_ring_of_another_owner_keeps_its_owner_when_the_superuser_rotates_it(
    path: Path, tmp_path: Path
) -> None:
    os.chown(path, SOMEBODY, SOMEBODY + 1)
    (tmp_path / "link.json").symlink_to(path)
    for name in (path, tmp_path / "link.json"):
        before = path.stat()
        KeyRing.rotate(name)
        after = path.stat()
        assert after.st_ino != before.st_ino
        assert (after.st_uid, after.st_gid) == (SOMEBODY, SOMEBODY + 1)
        assert stat.S_IMODE(after.st_mode) == 0o600


@superuser
def test_a_key_ring_of_the_superuser_stays_the_superusers(path: Path) -> None:
    KeyRing.rotate(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (os.geteuid(), os.getegid())
