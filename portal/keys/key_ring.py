"""The vault keys in the key ring file.

    {"keys": [{"kid": "…", "use": "vault", "created_at": 1767225600.0, "k": "base64url of 32 bytes"}, …]}

The newest key is last and encrypts new values; every key of the file decrypts what it encrypted. Entries with
another `use` and unknown fields are preserved when a key is added. Every host of a deployment needs the same
file.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from portal.clock import Clock, now
from portal.errors import ConfigurationError, Problem
from portal.keys import key_file
from portal.keys.key_file import Document, Fingerprint

_KEY_BYTES = 32
KID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_USE = "vault"


@dataclass(frozen=True)
class VaultKey:
    """One key of the vault. `created_at` is in seconds since the epoch, UTC."""

    kid: str
    created_at: float
    secret: bytes

    @cached_property
    def cipher(self) -> AESGCM:
        """AES-GCM with this key; made once, since to prepare a key costs as much as to encrypt 1 KB."""
        return AESGCM(self.secret)

    @cached_property
    def sid_key(self) -> bytes:
        """The derived key for hashes of providers' session ids."""
        return self.derive("tenant-portal sid")

    def __repr__(self) -> str:
        return f"VaultKey(kid={self.kid!r})"

    def derive(self, purpose: str) -> bytes:
        """Derive 32 bytes for one purpose (HKDF-SHA256, RFC 5869); they do not reveal the key."""
        return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=purpose.encode()).derive(
            self.secret
        )


class KeyRing:
    """The keys of one key ring file; `reload` reads the file again when it changed, in any thread.

    Create one with `load`, `create` or `load_or_create`.
    """

    def __init__(self, path: Path, keys: tuple[VaultKey, ...], fingerprint: Fingerprint) -> None:
        self._path = path
        self._loaded = {key.kid: key for key in keys}, fingerprint
        """Keys and fingerprint, replaced together: `reload` may run in a thread."""

    @classmethod
    def load(cls, path: Path) -> KeyRing:
        """Read a key ring file.

        Raises ConfigurationError when it is missing, readable by others, or not a key ring; StartupError
        when the system does not allow reading it.
        """
        document, fingerprint = key_file.read(path)
        keys = _vault_keys(path, document)
        if not keys:
            raise key_file.problem(path, 'has no key with "use": "vault"; add one with `portal key rotate`')
        return cls(path, keys, fingerprint)

    @classmethod
    def create(cls, path: Path, *, clock: Clock = now) -> KeyRing:
        """Create a key ring file with one new key. Raises ConfigurationError when the file exists."""
        with key_file.locked(path):
            if os.path.exists(path):
                raise key_file.problem(path, "already exists; add a key to it with `portal key rotate`")
            key_file.write(path, {"keys": [_new_entry(clock)]})
        return cls.load(path)

    @classmethod
    def load_or_create(cls, path: Path, *, clock: Clock = now) -> KeyRing:
        """Read a key ring file, creating a missing one; concurrent processes get the same ring."""
        if not os.path.exists(path):
            with key_file.locked(path):
                if not os.path.exists(path):
                    key_file.write(path, {"keys": [_new_entry(clock)]})
        return cls.load(path)

    @classmethod
    def rotate(cls, path: Path, *, clock: Clock = now) -> str:
        """Add a new key, which encrypts from now on; return its kid. Running processes reload by themselves.

        Raises as `load`. Existing entries stay.
        """
        with key_file.locked(path):
            document, _ = key_file.read(path)
            _vault_keys(path, document)
            entry = _new_entry(clock)
            document["keys"].append(entry)
            key_file.write(path, document)
        return str(entry["kid"])

    @property
    def _keys(self) -> dict[str, VaultKey]:
        return self._loaded[0]

    @property
    def newest(self) -> VaultKey:
        """The key that encrypts new values."""
        return next(reversed(self._keys.values()))

    @property
    def kids(self) -> tuple[str, ...]:
        """The kids of the vault keys, oldest first."""
        return tuple(self._keys)

    def find(self, kid: str) -> VaultKey | None:
        """The key with this kid; None if the ring lacks it."""
        return self._keys.get(kid)

    def check_values(self) -> dict[str, str]:
        """Return by kid a one-way value of each key, for comparison with another ring."""
        return {key.kid: key.derive("tenant-portal key ring check").hex() for key in self._keys.values()}

    def reload(self) -> bool:
        """Read the file again if it changed; return whether it did.

        Costs one `stat` when nothing changed. Raises ConfigurationError or StartupError when the file is
        invalid or shares no key with the loaded keys, which then stay in use.
        """
        try:
            if key_file.fingerprint(self._path.stat()) == self._loaded[1]:
                return False
        except OSError as error:
            raise key_file.unusable(self._path, "read", error) from None
        reloaded = KeyRing.load(self._path)
        if not any(self._keys.get(kid) == key for kid, key in reloaded._keys.items()):
            raise key_file.problem(
                self._path,
                "shares no key with the key ring in use; restore that file. If this file is meant "
                "to replace it, run `portal key adopt` and restart",
            )
        self._loaded = reloaded._loaded
        return True


def _new_entry(clock: Clock) -> Document:
    return {
        "kid": secrets.token_urlsafe(9),
        "use": _USE,
        "created_at": clock(),
        "k": base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).rstrip(b"=").decode(),
    }


def _vault_keys(path: Path, document: Document) -> tuple[VaultKey, ...]:
    keys: dict[str, VaultKey] = {}
    for number, entry in enumerate(document["keys"], start=1):
        place = f"{path}: key {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("use"), str):
            raise key_file.problem(
                path, f'key {number} is not an object with a "use"; restore the file from a backup'
            )
        if entry["use"] != _USE:
            continue
        key = _vault_key(place, entry)
        if key.kid in keys:
            raise ConfigurationError(
                [Problem(place, "has the same kid as an earlier key; remove one of them")]
            )
        keys[key.kid] = key
    return tuple(keys.values())


def _vault_key(place: str, entry: Document) -> VaultKey:
    kid, created_at, encoded = entry.get("kid"), key_file.created_at(entry), entry.get("k")
    if not isinstance(kid, str) or not KID.fullmatch(kid):
        raise ConfigurationError([Problem(place, '"kid" must be 1 to 64 letters, digits, ".", "_" or "-"')])
    if created_at is None:
        raise ConfigurationError([Problem(place, '"created_at" must be seconds since the epoch')])
    secret = _decode(encoded) if isinstance(encoded, str) else None
    if secret is None:
        raise ConfigurationError([Problem(place, f'"k" must be {_KEY_BYTES} bytes in base64url')])
    return VaultKey(kid, created_at, secret)


def _decode(encoded: str) -> bytes | None:
    text = encoded.rstrip("=")
    if not re.fullmatch(r"[A-Za-z0-9_-]{43}", text):
        return None
    return base64.urlsafe_b64decode(text + "=")
