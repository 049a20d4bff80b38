"""A thread reloads the key ring file while the portal runs; requests use keys in memory."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from portal.keys import key_file
from portal.keys.client_key_ring import (
    ClientKeyRing,
    complete_client_keys,
    load_client_keys,
    rotate_client_keys,
)
from portal.keys.key_ring import KeyRing
from portal.keys.key_ring_watch import KeyRingWatch
from portal.keys.vault import Vault


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "keys.json"
    KeyRing.create(made)
    complete_client_keys(made)
    return made


@pytest.mark.gen_test
async def test_vault_and_client_keys_are_reloaded_in_a_thread_and_used_from_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring, client_keys = KeyRing.load(path), ClientKeyRing(path)
    vault = Vault(keyring)
    readers: set[int] = set()
    read, fingerprint = key_file.read, key_file.fingerprint

    def recording_read(path: Path) -> object:
        readers.add(threading.get_ident())
        return read(path)

    def recording_fingerprint(status: object) -> object:
        readers.add(threading.get_ident())
        return fingerprint(status)  # type: ignore[arg-type]

    monkeypatch.setattr(key_file, "read", recording_read)
    monkeypatch.setattr(key_file, "fingerprint", recording_fingerprint)
    watch = KeyRingWatch(vault, client_keys)
    await watch.reload()
    sealed, before = vault.seal("document", "text"), keyring.newest
    kid = await asyncio.to_thread(KeyRing.rotate, path)
    added = await asyncio.to_thread(rotate_client_keys, path)
    await watch.reload()
    assert keyring.newest.kid == kid != before.kid
    assert vault.open("document", sealed) == "text"
    assert vault.stored_sids("acme", "https://login.example", "s-1")
    assert client_keys.sign({}, alg="ES256")
    published = {str(member["kid"]).partition(".")[0] for member in client_keys.public_jwks()["keys"]}  # type: ignore[attr-defined]
    assert {key.kid for key in added} <= published
    for registration in ("acme/default", "globex/default"):
        assert len(client_keys.public_registration_keys(registration, "ES256")) == 2
    assert readers
    assert threading.get_ident() not in readers


@pytest.mark.gen_test
async def test_the_file_is_checked_until_the_portal_stops(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.keys.key_ring_watch._INTERVAL_SECONDS", 0.0)
    keyring, stop = KeyRing.load(path), asyncio.Event()
    watching = asyncio.create_task(KeyRingWatch(Vault(keyring), ClientKeyRing(path)).run(stop))
    kid = await asyncio.to_thread(KeyRing.rotate, path)
    async with asyncio.timeout(30):
        while keyring.newest.kid != kid:
            await asyncio.sleep(0)
        stop.set()
        await watching


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda good: good[:500],
    "empty": lambda _: b"",
    "not UTF-8": lambda _: b"\xff\xfe",
    "nested too deeply": lambda _: b"[" * 200_000,
    "a number of 5,000 digits": lambda _: b'{"keys": [], "n": ' + b"1" * 5_000 + b"}",
    "a use that is a list": lambda good: with_entry(good, 0, use=[]),
    "a kind that is a list": lambda good: with_entry(good, -1, kind=[]),
    "a vault key with created_at 1e400": lambda good: with_entry(good, 0, kid="x", created_at=10**400),
    "a signing key with created_at 1e400": lambda good: with_entry(good, -1, created_at=10**400),
}


def with_entry(good: bytes, number: int, **changed: object) -> bytes:
    document = json.loads(good)
    document["keys"].append({**document["keys"][number], **changed})
    return json.dumps(document).encode()


@pytest.mark.gen_test
@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_file_changes_no_key_and_a_later_valid_file_is_loaded(
    path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.keys.key_ring_watch._INTERVAL_SECONDS", 0.0)
    keyring, own, stop = KeyRing.load(path), ClientKeyRing(path), asyncio.Event()
    vault = Vault(keyring)
    watch = KeyRingWatch(vault, own)
    await watch.reload()
    sealed, good = vault.seal("document", "text"), path.read_bytes()
    path.write_bytes(DAMAGES[damage](good))
    await watch.reload()
    assert vault.open("document", sealed) == "text"
    assert own.sign({}, alg="ES256")
    watching = asyncio.create_task(watch.run(stop))
    path.write_bytes(good)
    kid = await asyncio.to_thread(KeyRing.rotate, path)
    async with asyncio.timeout(30):
        while keyring.newest.kid != kid:
            await asyncio.sleep(0.01)
        stop.set()
        await watching


@pytest.mark.gen_test
async def test_the_watch_continues_after_a_failed_reload(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.keys.key_ring_watch._INTERVAL_SECONDS", 0.0)
    watch, stop, reloads = KeyRingWatch(Vault(KeyRing.load(path)), ClientKeyRing(path)), asyncio.Event(), 0

    async def failing() -> None:
        nonlocal reloads
        reloads += 1
        if reloads == 2:
            stop.set()
        raise RuntimeError

    monkeypatch.setattr(watch, "reload", failing)
    async with asyncio.timeout(30):
        await watch.run(stop)
    assert reloads == 2


def test_keys_and_fingerprint_are_replaced_together(path: Path) -> None:
    """A slower thread never leaves a new fingerprint with old keys."""
    slow, own = KeyRing.load(path), ClientKeyRing(path)
    own.reload()
    old, old_own = slow._loaded, own._loaded
    kid = KeyRing.rotate(path)
    rotate_client_keys(path)
    assert slow.reload()
    own.reload()
    slow._loaded, own._loaded = old, old_own  # the result of a reload that began before the change
    assert slow.reload()
    own.reload()
    assert slow.newest.kid == kid
    assert len(own.public_registration_keys("acme/default", "ES256")) == 2
    assert len(load_client_keys(path)) == 12
