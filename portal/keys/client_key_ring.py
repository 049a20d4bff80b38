"""The portal's asymmetric client keys in the key ring file.

    {"kid": "…", "use": "sig", "kind": "ES256", "created_at": 1767225600.0, "kty": "EC", "crv": "P-256", …}

An entry is a private JWK whose `use` is `sig` or `enc`; `kind` is the algorithm of a signing key, and `RSA`
or `EC` for an encryption key. A file of an earlier version without such keys gets them at first use.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import structlog

from portal.clock import Clock, now
from portal.errors import ConfigurationError, PortalError, Problem
from portal.keys import key_file
from portal.keys.key_file import Document, Fingerprint
from portal.oidc.client_keys import (
    ENCRYPTION_KEYS,
    SIGNING_ALGORITHMS,
    ClientKey,
    ClientKeySet,
    Use,
    client_key,
)
from portal.oidc.jose.key_material import KeyUnusable, PrivateKey, new_private_jwk

_log = structlog.get_logger("portal.client_keys")

KINDS: Mapping[Use, tuple[str, ...]] = {"sig": SIGNING_ALGORITHMS, "enc": ENCRYPTION_KEYS}
"""A complete ring has a key of each of these kinds."""


def load_client_keys(path: Path) -> tuple[ClientKey, ...]:
    """Return the client keys of a key ring file, in the order of the file.

    Raises ConfigurationError or StartupError.
    """
    return _keys(path, key_file.read(path)[0])


def complete_client_keys(path: Path, *, clock: Clock = now) -> tuple[ClientKey, ...]:
    """Add a key of each missing kind and return the added keys; write nothing when no kind is missing.

    Concurrent processes add each key once. Raises ConfigurationError or StartupError.
    """
    if not _missing(load_client_keys(path)):
        return ()
    with key_file.locked(path):
        document, _ = key_file.read(path)
        return _add(path, document, _missing(_keys(path, document)), clock)


def rotate_client_keys(
    path: Path, *, uses: Collection[Use] = ("sig", "enc"), clock: Clock = now
) -> tuple[ClientKey, ...]:
    """Add a new key of every kind and return the added keys. Older keys stay. Running processes reload.

    Raises ConfigurationError or StartupError.
    """
    with key_file.locked(path):
        document, _ = key_file.read(path)
        _keys(path, document)
        return _add(path, document, [(use, kind) for use in uses for kind in KINDS[use]], clock)


def remove_client_key(path: Path, kid: str) -> ClientKey:
    """Remove a key from the file and return it. It is no longer published and decrypts nothing.

    Raises ConfigurationError, also when the key does not exist or is the last of its kind; StartupError.
    """
    with key_file.locked(path):
        document, _ = key_file.read(path)
        keys = _keys(path, document)
        found = next((key for key in keys if key.kid == kid), None)
        if found is None:
            raise key_file.problem(path, f"has no signing or encryption key {kid}; see `portal key list`")
        if not any((key.use, key.kind) == (found.use, found.kind) for key in keys if key is not found):
            raise key_file.problem(
                path, f"has no other {found.kind} key than {kid}; run `portal key rotate` first"
            )
        document["keys"] = [entry for entry in document["keys"] if entry.get("kid") != kid]
        key_file.write(path, document)
    return found


class ClientKeyRing:
    """The client keys that the last `reload` read from the key ring file; implements `ClientKeys`.

    Reloads by itself at the first use and when a token is encrypted for an unknown key; otherwise
    `portal.keys.key_ring_watch` calls `reload`. Missing kinds are added if the file is writable.
    """

    def __init__(self, path: Path, *, clock: Clock = now) -> None:
        self._path = path
        self._clock = clock
        self._loaded: tuple[ClientKeySet, Fingerprint] | None = None
        """Keys and fingerprint, replaced together: `reload` may run in a thread."""
        self._last_error = ""

    def sign(
        self, claims: Mapping[str, object], *, alg: str, typ: str = "JWT", registration: str | None = None
    ) -> str:
        """See ClientKeys."""
        return self._keys.sign(claims, alg=alg, typ=typ, registration=registration)

    def public_jwks(self) -> Mapping[str, object]:
        """See ClientKeys."""
        return self._keys.public_jwks()

    def public_registration_keys(self, registration: str, alg: str) -> Sequence[Mapping[str, object]]:
        """See ClientKeys."""
        return self._keys.public_registration_keys(registration, alg)

    def public_encryption_keys(self) -> Sequence[Mapping[str, object]]:
        """See ClientKeys."""
        return self._keys.public_encryption_keys()

    def decryption_keys(self, kty: str, kid: str | None) -> Sequence[PrivateKey]:
        """See ClientKeys."""
        found = self._keys.decryption_keys(kty, kid)
        if not found:
            self.reload()
            found = self._keys.decryption_keys(kty, kid)
        return found

    @property
    def _keys(self) -> ClientKeySet:
        if self._loaded is None:
            self.reload()
        return self._loaded[0] if self._loaded else ClientKeySet((), clock=self._clock)

    def reload(self) -> None:
        """Read the key ring file if it changed, in any thread; log an unusable file and keep the loaded keys.

        Costs one `stat` when nothing changed, else 0.3 ms of CPU for the keys of each rotation.
        """
        try:
            self._read()
        except PortalError as error:
            if str(error) != self._last_error:
                _log.warning("client_keys_not_reloaded", detail=str(error))
            self._last_error = str(error)
            return
        self._last_error = ""

    def _read(self) -> None:
        loaded = self._loaded
        try:
            if loaded is not None and key_file.fingerprint(self._path.stat()) == loaded[1]:
                return
        except OSError as error:
            raise key_file.unusable(self._path, "read", error) from None
        document, fingerprint = key_file.read(self._path)
        keys = _keys(self._path, document)
        known = {key.kid for key in loaded[0].keys} if loaded else set()
        if known and keys and known.isdisjoint(key.kid for key in keys):
            raise key_file.problem(self._path, "shares no key with the key ring in use")
        self._loaded = ClientKeySet(keys, clock=self._clock), fingerprint
        if _missing(keys):
            complete_client_keys(self._path, clock=self._clock)
            document, fingerprint = key_file.read(self._path)
            keys = _keys(self._path, document)
            self._loaded = ClientKeySet(keys, clock=self._clock), fingerprint
        _log.info("client_keys_loaded", kids=[key.kid for key in keys])


def _missing(keys: Sequence[ClientKey]) -> list[tuple[Use, str]]:
    present = {(key.use, key.kind) for key in keys}
    return [(use, kind) for use, kinds in KINDS.items() for kind in kinds if (use, kind) not in present]


def _add(
    path: Path, document: Document, missing: Iterable[tuple[Use, str]], clock: Clock
) -> tuple[ClientKey, ...]:
    added: list[ClientKey] = []
    created_at = clock()
    for use, kind in missing:
        member = new_private_jwk(kind)
        entry = {"kid": member["kid"], "use": use, "kind": kind, "created_at": created_at, **member}
        document["keys"].append(entry)
        added.append(client_key(member, use=use, kind=kind, created_at=created_at))
    if added:
        key_file.write(path, document)
    return tuple(added)


def _keys(path: Path, document: Document) -> tuple[ClientKey, ...]:
    return tuple(
        _key(f"{path}: key {number}", entry)
        for number, entry in enumerate(document["keys"], start=1)
        if isinstance(entry, dict)
        and entry.get("use") in tuple(KINDS)  # a tuple: an unhashable value must not raise
    )


def _key(place: str, entry: Document) -> ClientKey:
    use, kind, created_at = cast(Use, entry["use"]), entry.get("kind"), key_file.created_at(entry)
    if kind not in KINDS[use]:
        raise ConfigurationError([Problem(place, f'"kind" must be one of {", ".join(KINDS[use])}')])
    if created_at is None:
        raise ConfigurationError([Problem(place, '"created_at" must be seconds since the epoch')])
    try:
        made = client_key(entry, use=use, kind=kind, created_at=created_at)
    except KeyUnusable as error:
        raise ConfigurationError([Problem(place, f"is not a private key: {error}")]) from None
    if _kty(kind) != made.public["kty"]:
        raise ConfigurationError([Problem(place, f'has a "kty" that does not fit the kind {kind}')])
    if made.kid != entry.get("kid"):
        raise ConfigurationError([Problem(place, '"kid" is not the thumbprint of the key')])
    return made


def _kty(kind: str) -> str:
    return {"ES256": "EC", "EC": "EC", "EdDSA": "OKP"}.get(kind, "RSA")
