"""The vault: seals (encrypts) token sets, code verifiers and logout URLs before they are stored.

A sealed value is a compact JWE (RFC 7516) with `alg` `dir`, `enc` `A256GCM` and the `kid` of its key. The
compact form has no additional authenticated data, so the plaintext contains the id of the document that the
value belongs to. A value copied to another document cannot be opened.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
from functools import lru_cache
from typing import cast

import structlog
from cryptography.exceptions import InvalidTag

from portal.errors import PortalError, VaultError
from portal.keys.key_ring import KID, KeyRing, VaultKey
from portal.keys.token_codec import decode_tokens, encode_tokens
from portal.oidc.provider import TokenSet

_log = structlog.get_logger("portal.vault")

MAX_SEALED_BYTES = 250 * 1024
"""The limit of python-jose, which sealed in earlier versions. The text may have about 190,000 bytes."""
_IV_BYTES = 12
"""RFC 7518 5.3. Chosen at random: a key may seal 2^32 values (NIST SP 800-38D 8.3)."""
_TAG_BYTES = 16

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.\.([A-Za-z0-9_-]{16})\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{22})")
"""RFC 7516 7.1 with an empty encrypted key (`dir`), a 96-bit IV and a 128-bit tag."""

_LAST_CHARACTERS = (_ALPHABET, "", _ALPHABET[::16], _ALPHABET[::4])
"""Of base64url by its length modulo 4: the last of two characters has 4 bits to drop, of three 2."""

_DOMAIN_PURPOSE = "tenant-portal domain"
_DOMAIN_TOKEN_BYTES = 20
"""Without padding in base32, which is the same in upper and lower case."""

_SID_HASH = re.compile(r"hmac-sha256:[0-9a-f]{64}")


class Vault:
    """Seals with the newest key of a key ring and opens with any of its keys.

    Reloads the key ring by itself only when a value names an unknown key, which another process may have just
    added; otherwise `portal.keys.key_ring_watch` calls `reload`.
    """

    def __init__(self, keyring: KeyRing) -> None:
        self._keyring = keyring
        self._last_error = ""

    @property
    def newest_key_created_at(self) -> float:
        """When the key that encrypts new values was created, in seconds since the epoch, UTC."""
        return self._keyring.newest.created_at

    def seal(self, document: str, plaintext: str) -> str:
        """Encrypt a text for the document with this id. Raises VaultError when it is too large."""
        key = self._keyring.newest
        content = f'{{"document":{_json(document)},"text":{_json(plaintext)}}}'
        if len(content) > MAX_SEALED_BYTES:
            raise _too_large()
        header, iv = _header(key.kid), os.urandom(_IV_BYTES)
        # RFC 7516 5.1 step 15: the protected header is the additional authenticated data
        encrypted = key.cipher.encrypt(iv, content.encode("ascii"), header.encode("ascii"))
        ciphertext, tag = encrypted[:-_TAG_BYTES], encrypted[-_TAG_BYTES:]
        sealed = f"{header}..{_encode(iv)}.{_encode(ciphertext)}.{_encode(tag)}"  # `dir`: no encrypted key
        if len(sealed) > MAX_SEALED_BYTES:
            raise _too_large()
        return sealed

    def open(self, document: str, sealed: str) -> str:
        """Decrypt the text that was sealed for the document with this id.

        Raises VaultError when the value was altered, belongs to another document, or its key is missing.
        """
        parts = _parts(sealed)
        return _opened(self._key(_kid(parts[0])), document, parts)

    def open_of_browser(self, document: str, sealed: str) -> str:
        """As `open`, for a value that a browser sent: a key that is not loaded is missing.

        What a browser sends must not make the portal read the key ring, and its header is only compared.
        """
        parts = _parts(sealed)
        kid = next((kid for kid in self._keyring.kids if _header(kid) == parts[0]), "")
        key = self._keyring.find(kid)
        if key is None:
            raise VaultError("a sealed value of a browser has another header, or its key is not loaded")
        return _opened(key, document, parts)

    def sid_hash(self, tenant: str, issuer: str, sid: str) -> str:
        """The stored form of a provider's session id: a leaked database does not allow ending its logins."""
        return _sid_hash(self._keyring.newest, tenant, issuer, sid)

    def stored_sids(self, tenant: str, issuer: str, sid: str) -> list[str]:
        """All possible stored forms of a provider's session id: a hash for each key of the ring, and the id.

        Earlier versions stored the id itself. An id in the form of a hash is never compared itself: it may
        come from a leaked database.
        """
        keys = [key for kid in reversed(self._keyring.kids) if (key := self._keyring.find(kid))]
        hashes = [_sid_hash(key, tenant, issuer, sid) for key in keys]
        return hashes if _SID_HASH.fullmatch(sid) else [*hashes, sid]

    def domain_tokens(self, tenant: str, made_at: float, name: str) -> list[str]:
        """What proves that a tenant controls a domain, by each key of the ring, the newest first.

        Nobody else can make them, and each is for one name of one tenant. Parameters: made_at, when the
        tenant was made: one that is made again has others.
        """
        keys = [key for kid in reversed(self._keyring.kids) if (key := self._keyring.find(kid))]
        message = f'["domain", {_json(tenant)}, {round(made_at * 1000)}, {_json(name)}]'.encode("ascii")
        hashes = (
            hmac.digest(key.derive(_DOMAIN_PURPOSE), message, "sha256")[:_DOMAIN_TOKEN_BYTES] for key in keys
        )
        return [base64.b32encode(one).decode("ascii").lower() for one in hashes]

    def seal_tokens(self, document: str, tokens: TokenSet) -> str:
        """Seal a token set; raises as `seal`."""
        return self.seal(document, encode_tokens(tokens))

    def open_tokens(self, document: str, sealed: str) -> TokenSet:
        """Open a token set; raises as `open`."""
        text = self.open(document, sealed)
        try:
            return decode_tokens(text)
        except (ValueError, KeyError, TypeError):
            raise VaultError("a sealed value is not a token set") from None

    def _key(self, kid: str) -> VaultKey:
        key = self._keyring.find(kid)
        if key is None:
            self.reload()
            key = self._keyring.find(kid)
        if key is None:
            raise VaultError(f"no key {kid} in the key ring")
        return key

    def reload(self) -> None:
        """Reload a changed key ring file, in any thread; log an invalid file and keep the loaded keys."""
        try:
            changed = self._keyring.reload()
        except PortalError as error:
            if str(error) != self._last_error:
                _log.warning("key_ring_not_reloaded", detail=str(error))
            self._last_error = str(error)
            return
        self._last_error = ""
        if changed:
            _log.info("key_ring_reloaded", kid=self._keyring.newest.kid)


def _opened(key: VaultKey, document: str, parts: tuple[str, str, str, str]) -> str:
    header, iv, content, tag = parts
    try:  # RFC 7516 5.2 steps 14 to 16: the protected header is the additional authenticated data
        opened = key.cipher.decrypt(_decode(iv), _decode(content) + _decode(tag), header.encode())
    except (InvalidTag, ValueError):
        raise VaultError("a sealed value was altered or sealed with another key") from None
    return _text_of(document, opened)


def _sid_hash(key: VaultKey, tenant: str, issuer: str, sid: str) -> str:
    message = f"[{_json(tenant)}, {_json(issuer)}, {_json(sid)}]".encode("ascii")
    return f"hmac-sha256:{hmac.digest(key.sid_key, message, 'sha256').hex()}"


def _too_large() -> VaultError:
    return VaultError(f"a value is too large to seal: it would have more than {MAX_SEALED_BYTES} bytes")


def _parts(sealed: str) -> tuple[str, str, str, str]:
    """Header, IV, ciphertext and tag of a sealed value, still encoded, after checking its format."""
    parts = _COMPACT.fullmatch(sealed) if len(sealed) <= MAX_SEALED_BYTES else None
    if parts is None or not all(_is_canonical(part) for part in parts.groups()):
        raise VaultError("a sealed value is malformed")
    return cast(tuple[str, str, str, str], parts.groups())


_json = json.JSONEncoder().encode
"""A text as ASCII JSON."""


@lru_cache(maxsize=64)
def _header(kid: str) -> str:
    """The encoded protected header of values that are sealed with this key; the inverse of `_kid`."""
    return _encode(f'{{"alg":"dir","enc":"A256GCM","kid":{_json(kid)}}}'.encode("ascii"))


@lru_cache(maxsize=64)
def _kid(header_part: str) -> str:
    """The kid of an encoded header, after checking the header. Cached: every key of a ring has one header."""
    try:
        header = json.loads(_decode(header_part))
    except (ValueError, RecursionError):
        raise VaultError("a sealed value has a malformed header") from None
    if not isinstance(header, dict) or set(header) != {"alg", "enc", "kid"}:
        raise VaultError("the header of a sealed value must have alg, enc and kid, and nothing else")
    if header["alg"] != "dir" or header["enc"] != "A256GCM":
        raise VaultError("a sealed value does not use dir with A256GCM")
    kid = header["kid"]
    if not isinstance(kid, str) or not KID.fullmatch(kid):
        raise VaultError("a sealed value has no valid kid")
    return kid


def _encode(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode("ascii")


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _is_canonical(part: str) -> bool:
    """Whether the last character has no bits set that decoding would drop (RFC 4648 3.5)."""
    return part[-1] in _LAST_CHARACTERS[len(part) % 4]


def _text_of(document: str, content: bytes) -> str:
    try:
        fields = json.loads(content)
        owner, text = fields["document"], fields["text"]
    except (ValueError, KeyError, TypeError):
        raise VaultError("a sealed value has malformed contents") from None
    if not isinstance(owner, str) or not isinstance(text, str):
        raise VaultError("a sealed value has malformed contents")
    if not hmac.compare_digest(_bytes(owner), _bytes(document)):
        raise VaultError("a sealed value belongs to another document")
    return text


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")
