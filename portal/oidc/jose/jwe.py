"""Opens tokens that a provider encrypted for the portal (RFC 7516 compact form, RFC 7518 4 and 5).

Written on `cryptography`: python-jose has no ECDH-ES, and of AES-CBC it undoes the padding before it looks at
the tag. What was encrypted is a signed token, which is validated like any other.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap
from cryptography.hazmat.primitives.padding import PKCS7
from jose.utils import base64url_decode

from portal.oidc.client_keys import ClientKeys
from portal.oidc.errors import ClientKeyMissing, IdTokenRejected
from portal.oidc.jose.json_reading import DuplicateMember, JsonUnreadable, read_object
from portal.oidc.jose.key_material import PrivateKey
from portal.oidc.provider import IdTokenEncryption, Provider
from portal.oidc.quoting import kind_of, length_of, mismatch, quoted
from portal.secret import Secret

MAX_BYTES = 131_072

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)" + r"\.([A-Za-z0-9_-]+)" * 3)
_LONGEST_KID = 1_024
_OAEP_HASHES: Mapping[str, Callable[[], hashes.HashAlgorithm]] = {
    "RSA-OAEP": hashes.SHA1,  # RFC 7518 4.3
    "RSA-OAEP-256": hashes.SHA256,
}
_WRAPPING_BYTES: Mapping[str, int] = {"ECDH-ES": 0, "ECDH-ES+A128KW": 16, "ECDH-ES+A256KW": 32}
_CONTENT_BYTES: Mapping[str, int] = {
    "A128CBC-HS256": 32,
    "A256CBC-HS512": 64,
    "A128GCM": 16,
    "A256GCM": 32,
}

Header = Mapping[str, object]


@dataclass(frozen=True, slots=True, repr=False)
class _Parts:
    header: bytes
    encrypted_key: bytes
    iv: bytes
    ciphertext: bytes
    tag: bytes
    protected: bytes
    """The header as it was sent: what the tag covers besides the text (RFC 7516 5.2 step 15)."""


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
    parts = _parts(token.reveal())
    header = _header(parts.header, registered)
    kid = header.get("kid")
    if kid is not None and (not isinstance(kid, str) or len(kid) > _LONGEST_KID):
        raise IdTokenRejected("kid", length_of("kid", kid, _LONGEST_KID))
    kty = "RSA" if registered.alg in _OAEP_HASHES else "EC"
    keys = client_keys.decryption_keys(kty, kid)
    if not keys:
        detail = f"kid is {quoted(kid)}; expected that of a published {kty} key of the portal"
        raise IdTokenRejected("encryption_key", detail)
    try:
        return Secret(_opened(parts, header, keys, registered).decode("ascii"))
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


def _parts(text: str) -> _Parts:
    if len(text) > MAX_BYTES:
        raise IdTokenRejected("size", length_of("the token", text, MAX_BYTES))
    match = _COMPACT.fullmatch(text)
    if match is None:
        detail = f"the token has {text.count('.') + 1} parts; expected 5 parts of base64url"
        raise IdTokenRejected("form", detail)
    try:
        header, encrypted_key, iv, ciphertext, tag = (
            base64url_decode(part.encode()) for part in match.groups()
        )
    except ValueError as error:
        raise IdTokenRejected("form", "a part of the token is not base64url") from error
    return _Parts(header, encrypted_key, iv, ciphertext, tag, match[1].encode())


def _header(data: bytes, registered: IdTokenEncryption) -> Header:
    try:
        header = read_object(data)
    except DuplicateMember as error:
        raise IdTokenRejected("duplicate_member", "a member of the header is given twice") from error
    except JsonUnreadable as error:
        raise IdTokenRejected("header", str(error)) from error
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


def _opened(
    parts: _Parts, header: Header, keys: Sequence[PrivateKey], registered: IdTokenEncryption
) -> bytes:
    for key in keys:
        text = _decrypted(_content_key(parts, header, key, registered), parts, registered.enc)
        if text is not None:
            return text
    raise IdTokenRejected("decryption", "the token cannot be decrypted")


def _content_key(parts: _Parts, header: Header, key: PrivateKey, registered: IdTokenEncryption) -> bytes:
    """The key of the content.

    One that cannot be had is replaced by one that opens nothing, so that what was wrong shows nowhere
    (RFC 7516 11.5).
    """
    size = _CONTENT_BYTES[registered.enc]
    found: bytes | None = None
    if isinstance(key, rsa.RSAPrivateKey):
        found = _unwrapped_by_rsa(parts, key, registered.alg)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        found = _agreed(parts, header, key, registered)
    return found if found is not None and len(found) == size else secrets.token_bytes(size)


def _unwrapped_by_rsa(parts: _Parts, key: rsa.RSAPrivateKey, alg: str) -> bytes | None:
    # RFC 7518 4.3
    made = _OAEP_HASHES[alg]
    try:
        return key.decrypt(parts.encrypted_key, OAEP(MGF1(made()), made(), None))
    except ValueError:
        return None


def _agreed(
    parts: _Parts, header: Header, key: ec.EllipticCurvePrivateKey, registered: IdTokenEncryption
) -> bytes | None:
    # RFC 7518 4.6
    secret = key.exchange(ec.ECDH(), _ephemeral_key(header))
    wrapping = _WRAPPING_BYTES[registered.alg]
    name = registered.alg if wrapping else registered.enc
    length = wrapping or _CONTENT_BYTES[registered.enc]
    # RFC 7518 4.6.2
    info = b"".join(
        (
            _counted(name.encode()),
            _counted(_party(header, "apu")),
            _counted(_party(header, "apv")),
            (length * 8).to_bytes(4, "big"),
        )
    )
    derived = ConcatKDFHash(hashes.SHA256(), length, info).derive(secret)
    if not wrapping:
        return derived if not parts.encrypted_key else None
    # RFC 3394 2.2.1: eight bytes more than what is wrapped
    if len(parts.encrypted_key) != _CONTENT_BYTES[registered.enc] + 8:
        return None
    try:
        return aes_key_unwrap(derived, parts.encrypted_key)
    except (InvalidUnwrap, ValueError):
        return None


def _ephemeral_key(header: Header) -> ec.EllipticCurvePublicKey:
    member = header.get("epk")
    if not isinstance(member, Mapping) or (member.get("kty"), member.get("crv")) != ("EC", "P-256"):
        crv = member.get("crv") if isinstance(member, Mapping) else None
        raise IdTokenRejected("epk", mismatch("crv of epk", crv, "P-256"))
    x, y = (_octets(member, name, "epk") for name in ("x", "y"))
    try:
        # refuses a point that is not on the curve (RFC 7518 4.6.1, invalid curve attack)
        numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), ec.SECP256R1())
        return numbers.public_key()
    except ValueError as error:
        raise IdTokenRejected("epk", "the ephemeral key is no point of P-256") from error


def _party(header: Header, name: str) -> bytes:
    return _octets(header, name, name) if name in header else b""


def _octets(member: Mapping[str, object], name: str, rule: str) -> bytes:
    value = member.get(name)
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]{0,1024}", value) and len(value) % 4 != 1:
        return base64url_decode(value.encode())
    raise IdTokenRejected(rule, f"{name} is {kind_of(value)}; expected at most 1024 of base64url")


def _counted(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _decrypted(content_key: bytes, parts: _Parts, enc: str) -> bytes | None:
    if enc.endswith("GCM"):
        return _from_gcm(content_key, parts)
    return _from_cbc(content_key, parts, hashes.SHA256() if enc == "A128CBC-HS256" else hashes.SHA512())


def _from_gcm(content_key: bytes, parts: _Parts) -> bytes | None:
    # RFC 7518 5.3: 96 bits of IV, 128 bits of tag
    if len(parts.iv) != 12 or len(parts.tag) != 16:
        return None
    try:
        return AESGCM(content_key).decrypt(parts.iv, parts.ciphertext + parts.tag, parts.protected)
    except InvalidTag:
        return None


def _from_cbc(content_key: bytes, parts: _Parts, digest: hashes.HashAlgorithm) -> bytes | None:
    # RFC 7518 5.2.2.2: the tag is looked at before anything is decrypted
    half = len(content_key) // 2
    mac_key, encryption_key = content_key[:half], content_key[half:]
    covered = parts.protected + parts.iv + parts.ciphertext + (len(parts.protected) * 8).to_bytes(8, "big")
    tag = hmac.digest(mac_key, covered, digest.name)[:half]
    if not hmac.compare_digest(tag, parts.tag) or len(parts.iv) != 16 or len(parts.ciphertext) % 16:
        return None
    decryptor = Cipher(AES(encryption_key), CBC(parts.iv)).decryptor()
    unpadder = PKCS7(128).unpadder()
    try:
        return unpadder.update(decryptor.update(parts.ciphertext)) + unpadder.finalize()
    except ValueError:
        return None
