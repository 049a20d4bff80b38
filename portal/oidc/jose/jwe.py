"""Decrypts tokens that a provider encrypted for the portal (RFC 7516 compact form, RFC 7518 4 and 5).

This module checks the input; joserfc decrypts. The content is a signed token, which is validated like any
other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from jose.utils import base64url_decode

from portal.oidc.client_keys import ClientKeys
from portal.oidc.errors import ClientKeyMissing, IdTokenRejected
from portal.oidc.jose.json_reading import DuplicateMember, JsonUnreadable, read_object
from portal.oidc.jose.key_material import KeyUnusable, PrivateKey, check_public_point, jwk_of
from portal.oidc.provider import IdTokenEncryption, Provider
from portal.oidc.quoting import kind_of, length_of, mismatch, quoted
from portal.secret import Secret

MAX_BYTES = 131_072

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)" + r"\.[A-Za-z0-9_-]+" * 3)
_SHORT_OCTETS = re.compile(r"[A-Za-z0-9_-]{0,1024}")
_LONGEST_KID = 1_024
_WRAPPED_BYTES: Mapping[str, int] = {
    "A128CBC-HS256": 40,
    "A256CBC-HS512": 72,
    "A128GCM": 24,
    "A256GCM": 40,
}
"""Bytes of a content key after AES key wrap, which adds 8 (RFC 3394 2.2.1)."""

Header = Mapping[str, object]


def open_token(token: Secret, provider: Provider, client_keys: ClientKeys | None) -> Secret:
    """Decrypt a token; return it unchanged if the provider does not encrypt tokens.

    The content is not checked here, but when its signature is verified.
    Raises: IdTokenRejected, also when a token that must be encrypted is not; ClientKeyMissing.
    """
    registered = provider.id_token_encryption
    if registered is None:
        return token
    if token.reveal().count(".") != 4:
        expected = f"{registered.alg} with {registered.enc} (id_token_encryption)"
        raise IdTokenRejected("not_encrypted", f"the token is not encrypted; expected {expected}")
    if client_keys is None:
        raise ClientKeyMissing("the token is encrypted, and the portal has no client keys")
    encoded_header, encrypted_key = _header_and_key(token.reveal())
    header = _header(encoded_header, registered)
    kid = header.get("kid")
    if kid is not None and (not isinstance(kid, str) or len(kid) > _LONGEST_KID):
        raise IdTokenRejected("kid", length_of("kid", kid, _LONGEST_KID))
    kty = "RSA" if registered.alg.startswith("RSA") else "EC"
    keys = client_keys.decryption_keys(kty, kid)
    if not keys:
        detail = f"kid is {quoted(kid)}; expected the kid of a published {kty} key of the portal"
        raise IdTokenRejected("encryption_key", detail)
    if kty == "EC":
        _check_agreement(header, encrypted_key, registered)
    try:
        return Secret(_decrypted(token.reveal(), keys, registered).decode("ascii"))
    except UnicodeDecodeError:
        raise IdTokenRejected("form", "the decrypted content is not a signed token") from None


def open_logout_token(token: Secret, provider: Provider, client_keys: ClientKeys | None) -> Secret:
    """As open_token; returns an unencrypted logout token unchanged if the provider need not encrypt them.

    Raises: as open_token.
    """
    registered = provider.id_token_encryption
    if registered is not None and not registered.logout_tokens and token.reveal().count(".") != 4:
        return token
    return open_token(token, provider, client_keys)


def _header_and_key(text: str) -> tuple[str, str]:
    """Return the first two parts of a compact JWE, in base64url."""
    if len(text) > MAX_BYTES:
        raise IdTokenRejected("size", length_of("the token", text, MAX_BYTES))
    match = _COMPACT.fullmatch(text)
    if match is None:
        raise IdTokenRejected("form", "a part of the token is not base64url")
    return match[1], match[2]


def _header(part: str, registered: IdTokenEncryption) -> Header:
    try:
        header = read_object(base64url_decode(part.encode()))
    except DuplicateMember as error:
        raise IdTokenRejected("duplicate_member", "a member of the header is given twice") from error
    except JsonUnreadable as error:
        raise IdTokenRejected("header", str(error)) from error
    except ValueError as error:
        raise IdTokenRejected("form", "a part of the token is not base64url") from error
    # RFC 8725 3.1: the registration determines the algorithms, not the token
    if header.get("alg") != registered.alg:
        raise IdTokenRejected("encryption_alg", mismatch("alg", header.get("alg"), registered.alg))
    if header.get("enc") != registered.enc:
        raise IdTokenRejected("encryption_enc", mismatch("enc", header.get("enc"), registered.enc))
    # RFC 7516 4.1.13: no extension is supported
    if "crit" in header:
        crit = header["crit"]
        raise IdTokenRejected("crit", f"the header demands {quoted(crit)}; no extension is accepted")
    # RFC 8725 3.6
    if "zip" in header:
        raise IdTokenRejected("zip", mismatch("zip", header["zip"], None))
    return header


def _check_agreement(header: Header, encrypted_key: str, registered: IdTokenEncryption) -> None:
    """Reject invalid or expensive parameters of a key agreement that joserfc accepts (RFC 7518 4.6).

    joserfc reads numbers of any length byte by byte, unwraps keys of any length, and accepts an ephemeral key
    with a private part.
    """
    for name in ("apu", "apv"):
        if name in header:
            _check_octets(header[name], name, name)
    epk = header.get("epk")
    if not isinstance(epk, Mapping) or (epk.get("kty"), epk.get("crv")) != ("EC", "P-256"):
        crv = epk.get("crv") if isinstance(epk, Mapping) else None
        raise IdTokenRejected("epk", mismatch("crv of epk", crv, "P-256"))
    for name in ("x", "y"):
        _check_octets(epk.get(name), name, "epk")
    try:
        # against invalid-curve attacks and private parts (RFC 7518 4.6.1.1)
        check_public_point(epk)
    except KeyUnusable as error:
        raise IdTokenRejected("epk", "the ephemeral key is not a public key on P-256") from error
    wrapped = 0 if registered.alg == "ECDH-ES" else _WRAPPED_BYTES[registered.enc]
    if len(encrypted_key) != -(-wrapped * 4 // 3):
        raise _not_decrypted()


def _check_octets(value: object, name: str, rule: str) -> None:
    if not isinstance(value, str) or not _SHORT_OCTETS.fullmatch(value) or len(value) % 4 == 1:
        raise IdTokenRejected(rule, f"{name} is {kind_of(value)}; expected at most 1024 of base64url")


def _decrypted(token: str, keys: Sequence[PrivateKey], registered: IdTokenEncryption) -> bytes:
    # Imported here because it would add 3 ms to start-up.
    from joserfc.errors import JoseError
    from joserfc.jwe import JWERegistry, decrypt_compact

    registry = JWERegistry(algorithms=(registered.alg, registered.enc))
    registry.strict_check_header = False  # RFC 7516 4: ignore unknown members
    registry.header_registry = {}  # members that decryption does not use may be malformed
    registry.max_protected_header_length = MAX_BYTES
    registry.max_ciphertext_length = MAX_BYTES
    for key in keys:
        try:
            return decrypt_compact(token, jwk_of(key), registry=registry).plaintext or b""
        except (JoseError, ValueError):
            continue
    raise _not_decrypted()


def _not_decrypted() -> IdTokenRejected:
    """Return the single error for all failures after the header (RFC 7516 11.5)."""
    return IdTokenRejected("decryption", "the token cannot be decrypted")
