"""Opens tokens that a provider encrypted for the portal (RFC 7516 compact form, RFC 7518 4 and 5).

joserfc decrypts; what is here decides what it is given. What was encrypted is a signed token, which is
validated like any other.
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
"""Bytes of a content key after AES key wrap, which adds eight (RFC 3394 2.2.1)."""

Header = Mapping[str, object]


def open_token(token: Secret, provider: Provider, client_keys: ClientKeys | None) -> Secret:
    """The signed token within an encrypted one; a token of a provider without encryption as it is.

    The form of what comes out is left to whoever verifies its signature.
    Raises: IdTokenRejected, also when a token that must be encrypted is not; ClientKeyMissing.
    """
    registered = provider.id_token_encryption
    if registered is None:
        return token
    if token.reveal().count(".") != 4:
        way = f"{registered.alg} with {registered.enc} (id_token_encryption)"
        raise IdTokenRejected("not_encrypted", f"the token is not encrypted; expected {way}")
    if client_keys is None:
        raise ClientKeyMissing("the token is encrypted, and the portal has no keys of its own")
    encoded_header, encrypted_key = _header_and_key(token.reveal())
    header = _header(encoded_header, registered)
    kid = header.get("kid")
    if kid is not None and (not isinstance(kid, str) or len(kid) > _LONGEST_KID):
        raise IdTokenRejected("kid", length_of("kid", kid, _LONGEST_KID))
    kty = "RSA" if registered.alg.startswith("RSA") else "EC"
    keys = client_keys.decryption_keys(kty, kid)
    if not keys:
        detail = f"kid is {quoted(kid)}; expected that of a published {kty} key of the portal"
        raise IdTokenRejected("encryption_key", detail)
    if kty == "EC":
        _check_agreement(header, encrypted_key, registered)
    try:
        return Secret(_opened(token.reveal(), keys, registered).decode("ascii"))
    except UnicodeDecodeError:
        raise IdTokenRejected("form", "what was encrypted is no signed token") from None


def open_logout_token(token: Secret, provider: Provider, client_keys: ClientKeys | None) -> Secret:
    """As open_token; of a provider that only signs logout tokens, one that is not encrypted passes as it is.

    Raises: as open_token.
    """
    registered = provider.id_token_encryption
    if registered is not None and not registered.logout_tokens and token.reveal().count(".") != 4:
        return token
    return open_token(token, provider, client_keys)


def _header_and_key(text: str) -> tuple[str, str]:
    """The first two parts, in base64url, of a token that has the compact form."""
    if len(text) > MAX_BYTES:
        raise IdTokenRejected("size", length_of("the token", text, MAX_BYTES))
    match = _COMPACT.fullmatch(text)
    if match is None:
        detail = f"the token has {text.count('.') + 1} parts; expected 5 parts of base64url"
        raise IdTokenRejected("form", detail)
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
    # RFC 8725 3.1: never what the token says, always what is registered
    if header.get("alg") != registered.alg:
        raise IdTokenRejected("encryption_alg", mismatch("alg", header.get("alg"), registered.alg))
    if header.get("enc") != registered.enc:
        raise IdTokenRejected("encryption_enc", mismatch("enc", header.get("enc"), registered.enc))
    # RFC 7516 4.1.13: no extension is understood here
    if "crit" in header:
        crit = header["crit"]
        raise IdTokenRejected("crit", f"the header demands {quoted(crit)}; no extension is accepted")
    # RFC 8725 3.6
    if "zip" in header:
        raise IdTokenRejected("zip", mismatch("zip", header["zip"], None))
    return header


def _check_agreement(header: Header, encrypted_key: str, registered: IdTokenEncryption) -> None:
    """Refuse parameters of a key agreement that joserfc would accept, or read at a cost (RFC 7518 4.6).

    joserfc reads numbers of any length byte by byte, and unwraps keys of any length; it takes an ephemeral
    key with a private part.
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
        # an invalid curve attack, or a private part (RFC 7518 4.6.1.1)
        check_public_point(epk)
    except KeyUnusable as error:
        raise IdTokenRejected("epk", "the ephemeral key is not a public key on P-256") from error
    wrapped = 0 if registered.alg == "ECDH-ES" else _WRAPPED_BYTES[registered.enc]
    if len(encrypted_key) != -(-wrapped * 4 // 3):
        raise _not_decrypted()


def _check_octets(value: object, name: str, rule: str) -> None:
    if not isinstance(value, str) or not _SHORT_OCTETS.fullmatch(value) or len(value) % 4 == 1:
        raise IdTokenRejected(rule, f"{name} is {kind_of(value)}; expected at most 1024 of base64url")


def _opened(token: str, keys: Sequence[PrivateKey], registered: IdTokenEncryption) -> bytes:
    # Not imported before a token is encrypted: they would make start-up 3 ms longer.
    from joserfc.errors import JoseError
    from joserfc.jwe import JWERegistry, decrypt_compact

    registry = JWERegistry(algorithms=(registered.alg, registered.enc))
    registry.strict_check_header = False  # RFC 7516 4: members that are not understood are ignored
    registry.header_registry = {}  # and those that decrypt nothing may be malformed
    registry.max_protected_header_length = MAX_BYTES
    registry.max_ciphertext_length = MAX_BYTES
    for key in keys:
        try:
            return decrypt_compact(token, jwk_of(key), registry=registry).plaintext or b""
        except (JoseError, ValueError):
            continue
    raise _not_decrypted()


def _not_decrypted() -> IdTokenRejected:
    """The one error for all that is wrong behind the header (RFC 7516 11.5)."""
    return IdTokenRejected("decryption", "the token cannot be decrypted")
