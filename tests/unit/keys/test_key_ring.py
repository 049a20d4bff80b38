"""The key ring file: created once, written atomically, refused if other users can access it."""

from __future__ import annotations

import base64
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from portal.errors import ConfigurationError, PortalError, StartupError
from portal.keys.key_ring import KeyRing

SECRET = base64.urlsafe_b64encode(bytes(range(32))).rstrip(b"=").decode()


def entry(**changes: Any) -> dict[str, Any]:
    return {"kid": "first", "use": "vault", "created_at": 1_800_000_000.0, "k": SECRET, **changes}


def write(path: Path, document: object) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    path.chmod(0o600)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "keys.json"


def test_a_missing_file_is_created_with_private_permissions(path: Path) -> None:
    ring = KeyRing.load_or_create(path, clock=lambda: 1_800_000_000.5)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    (key,) = json.loads(path.read_text())["keys"]
    assert key["use"] == "vault"
    assert key["created_at"] == 1_800_000_000.5
    assert len(ring.newest.secret) == 32
    assert base64.urlsafe_b64decode(key["k"] + "=") == ring.newest.secret
    assert KeyRing.load_or_create(path).newest == ring.newest


def test_no_two_files_have_the_same_key(tmp_path: Path) -> None:
    rings = [KeyRing.load_or_create(tmp_path / f"{number}.json") for number in range(20)]
    assert len({ring.newest.secret for ring in rings}) == len({ring.newest.kid for ring in rings}) == 20


def test_creating_does_not_replace_a_file(path: Path) -> None:
    before = KeyRing.create(path).newest
    with pytest.raises(ConfigurationError, match="portal key rotate"):
        KeyRing.create(path)
    assert KeyRing.load(path).newest == before


def kid_of(path: Path) -> str:
    return KeyRing.load_or_create(path).newest.kid


def test_concurrent_threads_share_one_key(path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(kid_of, [path] * 16))) == 1


def test_rotating_adds_the_newest_key_and_keeps_the_rest(path: Path) -> None:
    old = KeyRing.load_or_create(path).newest
    kid = KeyRing.rotate(path, clock=lambda: 1_900_000_000.0)
    ring = KeyRing.load(path)
    assert ring.newest.kid == kid
    assert ring.newest.created_at == 1_900_000_000.0
    assert ring.find(old.kid) == old
    assert ring.kids == (old.kid, kid)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_rotating_keeps_entries_and_fields_of_other_uses(tmp_path: Path) -> None:
    signing = {"kid": "sign-1", "use": "sig", "kty": "EC", "odd": [1, {"ü": None}]}
    document = {"note": "ours", "keys": [entry(comment="kept"), signing]}
    path = write(tmp_path / "keys.json", document)
    KeyRing.rotate(path)
    after = json.loads(path.read_text())
    assert after["note"] == "ours"
    assert after["keys"][:2] == document["keys"]
    assert len(after["keys"]) == 3
    assert KeyRing.load(path).find("sign-1") is None


def test_rotating_a_file_without_a_vault_key_adds_one(tmp_path: Path) -> None:
    path = write(tmp_path / "keys.json", {"keys": []})
    with pytest.raises(ConfigurationError, match="portal key rotate"):
        KeyRing.load(path)
    assert KeyRing.rotate(path) == KeyRing.load(path).newest.kid


def test_rotating_follows_a_link_to_the_file(tmp_path: Path) -> None:
    real = write(tmp_path / "real.json", {"keys": [entry()]})
    link = tmp_path / "keys.json"
    link.symlink_to(real)
    kid = KeyRing.rotate(link)
    assert link.is_symlink()
    assert KeyRing.load(real).newest.kid == kid


def test_a_failed_rotation_leaves_the_file_unchanged_and_no_temporary_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    KeyRing.load_or_create(path)
    before = path.read_bytes()

    def disk_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(StartupError, match=r"keys\.json.*No space left"):
        KeyRing.rotate(path)
    assert path.read_bytes() == before
    assert sorted(each.name for each in path.parent.iterdir()) == [".keys.json.lock", "keys.json"]


def test_the_error_for_a_missing_file_names_the_command_to_create_it(path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"keys\.json: is missing.*portal key new"):
        KeyRing.load(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666, 0o601, 0o777])
def test_a_file_that_other_users_can_access_is_refused(path: Path, mode: int) -> None:
    KeyRing.load_or_create(path)
    path.chmod(mode)
    for use in (KeyRing.load, KeyRing.load_or_create, KeyRing.rotate):
        with pytest.raises(ConfigurationError, match=rf"mode {mode:04o}.*chmod 600 .*keys\.json"):
            use(path)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON .* line 1 column 2"),
        ("[" * 100_000, "is not"),
        ("[]", "is not a key ring"),
        ('{"keys": {}}', "is not a key ring"),
        ({"keys": ["x"]}, "key 1 is not an object"),
        ({"keys": [{"kid": "x"}]}, "key 1 is not an object"),
        ({"keys": [entry(), entry()]}, "key 2: has the same kid as an earlier key"),
        ({"keys": [entry(kid="")]}, "kid"),
        ({"keys": [entry(kid="../x")]}, "kid"),
        ({"keys": [entry(kid=7)]}, "kid"),
        ({"keys": [entry(created_at="today")]}, "created_at"),
        ({"keys": [entry(created_at=True)]}, "created_at"),
        ({"keys": [entry(k=None)]}, "32 bytes"),
        ({"keys": [entry(k=SECRET[:-2])]}, "32 bytes"),
        ({"keys": [entry(k=SECRET + "AAAA")]}, "32 bytes"),
        ({"keys": [entry(k=SECRET[:-1] + "!")]}, "32 bytes"),
        ({"keys": [entry()], "padding": "x" * 1024 * 1024}, "larger than"),
    ],
)
def test_the_error_for_a_malformed_file_has_its_name_and_no_secret(
    tmp_path: Path, document: object, message: str
) -> None:
    path = write(tmp_path / "keys.json", document)
    with pytest.raises(ConfigurationError, match=message) as caught:
        KeyRing.load(path)
    assert "keys.json" in str(caught.value)
    assert SECRET[:8] not in str(caught.value)
    assert caught.value.__cause__ is None
    before = path.read_bytes()
    with pytest.raises(ConfigurationError):
        KeyRing.rotate(path)
    assert path.read_bytes() == before


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(b"\xff\xfe\xfa")
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match=r"keys\.json"):
        KeyRing.load(path)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys.json").mkdir()
    with pytest.raises(StartupError, match=r"keys\.json cannot be read"):
        KeyRing.load_or_create(tmp_path / "keys.json")


def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match=r"keys\.json cannot be written.*`keys`"):
        KeyRing.load_or_create(tmp_path / "file" / "keys.json")


def test_reload_reads_the_file_only_when_it_changed(path: Path) -> None:
    ring = KeyRing.load_or_create(path)
    first = ring.newest
    assert not ring.reload()
    kid = KeyRing.rotate(path)
    assert ring.newest == first
    assert ring.reload()
    assert ring.newest.kid == kid
    assert ring.find(first.kid) == first
    assert not ring.reload()


def test_reloading_an_invalid_file_keeps_the_keys(path: Path) -> None:
    ring = KeyRing.load_or_create(path)
    newest = ring.newest
    write(path, "{")
    with pytest.raises(ConfigurationError):
        ring.reload()
    path.unlink()
    with pytest.raises(PortalError):
        ring.reload()
    assert ring.newest == newest


def test_no_repr_contains_a_key(path: Path) -> None:
    ring = KeyRing.load_or_create(path)
    text = f"{ring!r} {ring.newest!r} {ring.newest}"
    assert repr(ring.newest.secret)[2:10] not in text
    assert "secret" not in text
