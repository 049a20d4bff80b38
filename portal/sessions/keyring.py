"""The key ring: the file that holds the keys of the vault.

    {"keys": [{"kid": "…", "use": "vault", "created_at": 1767225600.0, "k": "base64url of 32 bytes"}, …]}

The newest key is last. New values are sealed with it; every key of the file still opens what it sealed.
Entries of another `use`, and fields this portal does not know, are kept as they are when a key is added.
Every host of a deployment needs the same file. The file is only ever replaced as a whole, so that a process
that reads it while it changes sees the old ring or the new one.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portal.errors import ConfigurationError, Problem, StartupError
from portal.sessions.model import Clock, now

_KEY_BYTES = 32
KID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_USE = "vault"
_LARGEST_FILE = 1024 * 1024

_Document = dict[str, Any]
_Fingerprint = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class VaultKey:
    """One key of the vault. `created_at` is in seconds since the epoch, UTC."""

    kid: str
    created_at: float
    secret: bytes

    def __repr__(self) -> str:
        return f"VaultKey(kid={self.kid!r})"


class KeyRing:
    """The keys of one key ring file; follows the file when it changes.

    Make one with `load`, `create` or `load_or_create`.
    """

    def __init__(self, path: Path, keys: tuple[VaultKey, ...], fingerprint: _Fingerprint) -> None:
        self._path = path
        self._fingerprint = fingerprint
        self._keys = {key.kid: key for key in keys}
        self._newest = keys[-1]

    @classmethod
    def load(cls, path: Path) -> KeyRing:
        """Read a key ring file.

        Raises ConfigurationError when it is missing, readable by others, or not a key ring; StartupError
        when the system does not let it be read.
        """
        document, fingerprint = _read(path)
        keys = _vault_keys(path, document)
        if not keys:
            raise _problem(path, 'holds no key with "use": "vault"; add one with `portal key rotate`')
        return cls(path, keys, fingerprint)

    @classmethod
    def create(cls, path: Path, *, clock: Clock = now) -> KeyRing:
        """Make a key ring file with one new key. Raises ConfigurationError when the file is there already."""
        with _locked(path):
            if os.path.exists(path):
                raise _problem(path, "is there already; add a key to it with `portal key rotate`")
            _write(path, {"keys": [_new_entry(clock)]})
        return cls.load(path)

    @classmethod
    def load_or_create(cls, path: Path, *, clock: Clock = now) -> KeyRing:
        """Read a key ring file, made first when missing; processes that start together get the same ring."""
        if not os.path.exists(path):
            with _locked(path):
                if not os.path.exists(path):
                    _write(path, {"keys": [_new_entry(clock)]})
        return cls.load(path)

    @classmethod
    def rotate(cls, path: Path, *, clock: Clock = now) -> str:
        """Add a new key, which seals from now on; return its kid. Running processes follow by themselves.

        Raises what `load` raises. Nothing that is in the file is lost.
        """
        with _locked(path):
            document, _ = _read(path)
            _vault_keys(path, document)
            entry = _new_entry(clock)
            document["keys"].append(entry)
            _write(path, document)
        return str(entry["kid"])

    @property
    def newest(self) -> VaultKey:
        """The key that seals."""
        return self._newest

    @property
    def kids(self) -> tuple[str, ...]:
        """Names of the vault's keys, oldest first."""
        return tuple(self._keys)

    def find(self, kid: str) -> VaultKey | None:
        """The key of that name, if the ring holds it."""
        return self._keys.get(kid)

    def reload(self) -> bool:
        """Read the file again if it is another than the one last read; return whether it was.

        Costs one `stat` when nothing changed. Raises ConfigurationError or StartupError when the file is no
        longer good; the keys last read stay.
        """
        try:
            if _fingerprint(self._path.stat()) == self._fingerprint:
                return False
        except OSError as error:
            raise _unusable(self._path, "read", error) from None
        fresh = KeyRing.load(self._path)
        self._keys, self._newest = fresh._keys, fresh._newest
        self._fingerprint = fresh._fingerprint
        return True


def _new_entry(clock: Clock) -> _Document:
    return {
        "kid": secrets.token_urlsafe(9),
        "use": _USE,
        "created_at": clock(),
        "k": base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).rstrip(b"=").decode(),
    }


def _problem(path: Path, message: str) -> ConfigurationError:
    return ConfigurationError([Problem(str(path), message)])


def _unusable(path: Path, verb: str, error: OSError) -> StartupError:
    return StartupError(
        f"The key ring {path} cannot be {verb}: {error.strerror or type(error).__name__}.",
        remedy="Let the portal's user own the file and its folder, or set `keys` to another place.",
    )


def _fingerprint(status: os.stat_result) -> _Fingerprint:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


# --- reading


def _read(path: Path) -> tuple[_Document, _Fingerprint]:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(_LARGEST_FILE + 1)
    except FileNotFoundError:
        raise _problem(path, "is missing; make it with `portal key new`, or bring it from a backup") from None
    except OSError as error:
        raise _unusable(path, "read", error) from None
    if status.st_mode & 0o077:
        found = f"{status.st_mode & 0o777:04o}"
        raise _problem(path, f"can be read by others (mode {found}); run `chmod 600 {path}`")
    if len(content) > _LARGEST_FILE:
        raise _problem(path, f"is larger than {_LARGEST_FILE} bytes; this is not a key ring")
    return _parse(path, content), _fingerprint(status)


def _parse(path: Path, content: bytes) -> _Document:
    remedy = "bring the file from a backup"
    try:
        document = json.loads(content)
    except UnicodeDecodeError:
        raise _problem(path, f"is not UTF-8 text; {remedy}") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise _problem(path, f"is not JSON ({error.msg} at {place}); {remedy}") from None
    except RecursionError:
        raise _problem(path, f"is not a key ring (nested too deep); {remedy}") from None
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise _problem(path, f'is not a key ring (expected {{"keys": [...]}}); {remedy}')
    return document


def _vault_keys(path: Path, document: _Document) -> tuple[VaultKey, ...]:
    keys: dict[str, VaultKey] = {}
    for number, entry in enumerate(document["keys"], start=1):
        place = f"{path}: key {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("use"), str):
            raise _problem(path, f'key {number} is not an object with a "use"; bring the file from a backup')
        if entry["use"] != _USE:
            continue
        key = _vault_key(place, entry)
        if key.kid in keys:
            raise ConfigurationError([Problem(place, "has the kid of an earlier key; remove one of the two")])
        keys[key.kid] = key
    return tuple(keys.values())


def _vault_key(place: str, entry: _Document) -> VaultKey:
    kid, created_at, encoded = entry.get("kid"), entry.get("created_at"), entry.get("k")
    if not isinstance(kid, str) or not KID.fullmatch(kid):
        raise ConfigurationError([Problem(place, '"kid" must be 1 to 64 letters, digits, ".", "_" or "-"')])
    if isinstance(created_at, bool) or not isinstance(created_at, int | float):
        raise ConfigurationError([Problem(place, '"created_at" must be seconds since the epoch')])
    secret = _decode(encoded) if isinstance(encoded, str) else None
    if secret is None:
        raise ConfigurationError([Problem(place, f'"k" must be {_KEY_BYTES} bytes in base64url')])
    return VaultKey(kid, float(created_at), secret)


def _decode(encoded: str) -> bytes | None:
    text = encoded.rstrip("=")
    if not re.fullmatch(r"[A-Za-z0-9_-]{43}", text):
        return None
    return base64.urlsafe_b64decode(text + "=")


# --- writing


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes from writing the key ring meanwhile. Makes the folder when missing."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(
            path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        raise _unusable(path, "written", error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, document: _Document) -> None:
    """Replace the file as a whole, and on the disk, before anything is sealed with its newest key."""
    target = path.resolve()
    content = json.dumps(document, indent=2).encode() + b"\n"
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)
    except OSError as error:
        raise _unusable(path, "written", error) from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
