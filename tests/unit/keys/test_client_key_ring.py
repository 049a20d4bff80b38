"""Client keys in the key ring file: created when missing, rotated, removed, reloaded."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from portal.errors import ConfigurationError
from portal.keys.client_key_ring import (
    KINDS,
    ClientKeyRing,
    complete_client_keys,
    load_client_keys,
    remove_client_key,
    rotate_client_keys,
)
from portal.keys.key_ring import KeyRing
from portal.oidc.client_keys import PUBLISHED_FIRST
from portal.oidc.errors import ClientKeyMissing
from tests.kit.samples import START, ManualClock

EVERY_KIND = [(use, kind) for use, kinds in KINDS.items() for kind in kinds]
CLAIMS = {"iss": "portal"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A key ring of an earlier version, without client keys."""
    made = tmp_path / "keys.json"
    KeyRing.create(made)
    return made


def entries(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text())["keys"])


def change(path: Path, number: int, **changes: Any) -> None:
    document = json.loads(path.read_text())
    document["keys"][number] |= changes
    path.write_text(json.dumps(document))


def kids(keys: ClientKeyRing) -> set[str]:
    members = keys.public_jwks()["keys"]
    assert isinstance(members, list)
    return {member["kid"].partition(".")[0] for member in members}


def test_a_key_ring_of_an_earlier_version_gets_the_missing_keys(path: Path) -> None:
    before = entries(path)
    assert load_client_keys(path) == ()
    added = complete_client_keys(path, clock=lambda: START)
    assert [(key.use, key.kind) for key in added] == EVERY_KIND
    assert entries(path)[:1] == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [key.kid for key in load_client_keys(path)] == [key.kid for key in added]
    assert {key.created_at for key in load_client_keys(path)} == {START}


def test_completing_a_complete_key_ring_changes_nothing(path: Path) -> None:
    complete_client_keys(path)
    before = path.read_bytes()
    assert complete_client_keys(path) == ()
    assert path.read_bytes() == before


def test_a_missing_kind_is_added_and_the_others_stay(path: Path) -> None:
    complete_client_keys(path)
    document = json.loads(path.read_text())
    document["keys"] = [entry for entry in document["keys"] if entry.get("kind") != "PS256"]
    path.write_text(json.dumps(document))
    assert [key.kind for key in complete_client_keys(path)] == ["PS256"]
    assert entries(path)[:-1] == document["keys"]


def test_client_keys_do_not_change_the_vault_keys(path: Path) -> None:
    ring = KeyRing.load(path)
    newest = ring.newest
    complete_client_keys(path)
    assert ring.reload()
    assert ring.newest == newest
    kid = KeyRing.rotate(path)
    assert KeyRing.load(path).kids == (newest.kid, kid)
    assert len(load_client_keys(path)) == len(EVERY_KIND)


def test_keys_are_created_at_the_first_use(path: Path) -> None:
    keys = ClientKeyRing(path)
    assert load_client_keys(path) == ()
    assert keys.sign(CLAIMS, alg="ES256")
    assert len(load_client_keys(path)) == len(EVERY_KIND)
    assert kids(keys) == {key.kid for key in load_client_keys(path)}


def test_rotating_adds_a_key_of_every_kind_and_keeps_the_rest(path: Path) -> None:
    complete_client_keys(path)
    before = entries(path)
    added = rotate_client_keys(path)
    assert [(key.use, key.kind) for key in added] == EVERY_KIND
    assert entries(path)[: len(before)] == before
    assert [key.kind for key in rotate_client_keys(path, uses=["enc"])] == list(KINDS["enc"])


def test_a_running_portal_reloads_after_a_rotation_and_signs_with_the_new_key_once_it_was_published(
    path: Path,
) -> None:
    clock = ManualClock()
    (old, *_) = complete_client_keys(path, clock=clock)
    keys = ClientKeyRing(path, clock=clock)
    assert old.kid in kids(keys)
    clock.advance(86_400)
    (new, *_) = rotate_client_keys(path, clock=clock)
    assert new.kid not in kids(keys)
    keys.reload()
    assert {old.kid, new.kid} <= kids(keys)
    assert _kid(keys.sign(CLAIMS, alg=old.kind)) == old.kid
    clock.advance(PUBLISHED_FIRST)
    assert _kid(keys.sign(CLAIMS, alg=old.kind)) == new.kid


def test_an_unknown_decryption_key_is_reloaded_at_once(path: Path) -> None:
    complete_client_keys(path)
    keys = ClientKeyRing(path)
    kids(keys)
    (new,) = [key for key in rotate_client_keys(path) if key.kind == "RSA"]
    assert keys.decryption_keys("RSA", new.kid)
    assert keys.decryption_keys("RSA", "unknown") == []


def test_only_a_key_that_is_not_the_last_of_its_kind_can_be_removed(path: Path) -> None:
    complete_client_keys(path)
    old = next(key for key in load_client_keys(path) if key.kind == "RS256")
    with pytest.raises(ConfigurationError, match="portal key rotate"):
        remove_client_key(path, old.kid)
    (new, *_) = rotate_client_keys(path)
    assert remove_client_key(path, old.kid).kind == "RS256"
    keys = ClientKeyRing(path)
    assert old.kid not in kids(keys)
    assert _kid(keys.sign(CLAIMS, alg="RS256")) == new.kid


def test_a_vault_key_cannot_be_removed(path: Path) -> None:
    complete_client_keys(path)
    with pytest.raises(ConfigurationError, match="has no signing or encryption key"):
        remove_client_key(path, KeyRing.load(path).newest.kid)


def test_a_read_only_key_ring_works_with_its_existing_keys(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: Any, **__: Any) -> Any:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("portal.keys.key_file.tempfile.mkstemp", read_only)
    keys = ClientKeyRing(path)
    assert keys.public_jwks() == {"keys": []}
    with pytest.raises(ClientKeyMissing, match="RS256"):
        keys.sign(CLAIMS, alg="RS256")
    assert load_client_keys(path) == ()


def test_an_invalid_file_keeps_the_loaded_keys(path: Path) -> None:
    complete_client_keys(path)
    keys = ClientKeyRing(path)
    before = kids(keys)
    for content in ("{", '{"keys": [{"use": "sig"}]}'):
        path.write_text(content)
        keys.reload()
        assert kids(keys) == before
    path.unlink()
    keys.reload()
    assert kids(keys) == before


@pytest.mark.parametrize(
    ("number", "changes", "message"),
    [
        (1, {"kind": "HS256"}, '"kind" must be one of RS256, PS256, ES256, EdDSA'),
        (1, {"kind": None}, '"kind" must be one of'),
        (1, {"kind": "ES256"}, 'has a "kty" that does not fit the kind ES256'),
        (1, {"use": "enc"}, '"kind" must be one of RSA, EC'),
        (1, {"created_at": "today"}, '"created_at" must be seconds'),
        (1, {"created_at": True}, '"created_at" must be seconds'),
        (1, {"kid": "another"}, '"kid" is not the thumbprint'),
        (1, {"d": "AQAB"}, "is not a private key: the parts of the private key do not belong together"),
        (1, {"p": 7}, "is not a private key: p is not a string"),
        (3, {"d": "AQAB"}, "is not a private key: the parts of the private key do not belong together"),
    ],
)
def test_a_malformed_key_is_reported_by_position_without_its_value(
    path: Path, number: int, changes: dict[str, Any], message: str
) -> None:
    complete_client_keys(path)
    change(path, number, **changes)
    before = path.read_bytes()
    for use in (load_client_keys, complete_client_keys, rotate_client_keys):
        with pytest.raises(ConfigurationError, match=message) as caught:
            use(path)
        assert f"keys.json: key {number + 1}" in str(caught.value)
        assert str(entries(path)[number]["x" if number == 3 else "q"]) not in str(caught.value)
    assert path.read_bytes() == before


def _kid(token: str) -> str:
    header = token.partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"])
