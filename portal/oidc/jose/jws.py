"""Reads and verifies signed tokens (RFC 7515 compact form).

Only algorithms that the caller lists are accepted; keys come from the caller, never from the token.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache

from jose.backends.base import Key
from jose.utils import base64url_decode

from portal.oidc.errors import IdTokenRejected
from portal.oidc.jose.json_reading import DuplicateMember, JsonUnreadable, read_object
from portal.oidc.quoting import length_of, listed, mismatch, quoted

MAX_BYTES = 65_536

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_LONGEST_KID = 1_024
_SHORT_HEADER = 512
"""Characters of a header that is kept: the tokens of one key have the same header."""


@dataclass(frozen=True, slots=True)
class Header:
    """The used parts of a protected header; `jku`, `x5u`, `x5c` and `jwk` are ignored."""

    alg: str
    kid: str | None


def read_header(
    token: str, algorithms: Collection[str], *, typ: str | None = None, setting: str = "id_token_algs"
) -> Header:
    """Read and check the header of a token whose algorithm is one of `algorithms`.

    Parameters: typ, the accepted `+jwt` type, if any; setting, the key of the tenant file that lists the
    algorithms.
    Raises: IdTokenRejected.
    """
    _check_form(token)
    header = _header_of(token)
    alg = header.get("alg")
    # OIDC Core 3.1.3.7 step 7, RFC 8725 3.1; `none` is never listed
    if not isinstance(alg, str) or alg not in algorithms:
        accepted = listed(sorted(algorithms))
        raise IdTokenRejected("alg", f"alg is {quoted(alg)}; this tenant accepts {accepted} ({setting})")
    # RFC 7515 4.1.11: no extension is supported
    if "crit" in header:
        crit = header["crit"]
        raise IdTokenRejected("crit", f"the header demands {quoted(crit)}; no extension is accepted")
    if "zip" in header:
        raise IdTokenRejected("zip", mismatch("zip", header["zip"], None))
    _check_type(header.get("typ"), typ)
    kid = header.get("kid")
    if kid is not None and (not isinstance(kid, str) or len(kid) > _LONGEST_KID):
        raise IdTokenRejected("kid", length_of("kid", kid, _LONGEST_KID))
    return Header(alg, kid)


def verified_claims(
    token: str, alg: str, keys: list[Key], *, repeatable: Collection[str] = ()
) -> dict[str, object]:
    """Verify that one of `keys` signed the token with `alg`; return its claims (RFC 7515 5.2).

    Parameters: token, in the form that `read_header` has checked; keys, made for `alg`; repeatable, as
    json_reading.read_object.
    Raises: IdTokenRejected.
    """
    signed, _, encoded = token.rpartition(".")
    signature = _decoded(encoded, "signature")
    # RFC 8725 3.1: the key's algorithm verifies, and the token must state the same
    if _header_of(token).get("alg") != alg or not any(
        _verifies(key, signed.encode("ascii"), signature) for key in keys
    ):
        raise IdTokenRejected("signature", f"the {alg} signature does not match the provider's key")
    return _read(signed.partition(".")[2], "claims", repeatable)


def stored_claims(token: str, *, repeatable: Collection[str] = ()) -> dict[str, object]:
    """Return the claims of a token without verifying its signature.

    Parameters: repeatable, as json_reading.read_object.
    Raises: IdTokenRejected.
    """
    _check_form(token)
    return _read(token.split(".")[1], "claims", repeatable)


def stated_type(token: str) -> object:
    """Return `typ` of a token's header; None without it. Raises: IdTokenRejected."""
    return _header_of(token).get("typ")


def _verifies(key: Key, message: bytes, signature: bytes) -> bool:
    """Whether a signature is the key's; False also when key and signature do not fit together."""
    try:
        return bool(key.verify(message, signature))
    except Exception:  # noqa: BLE001 - each library reports unfit signatures by errors of its own
        return False


def _header_of(token: str) -> Mapping[str, object]:
    part = token.partition(".")[0]
    return _read_short_header(part) if len(part) <= _SHORT_HEADER else _read_header(part)


@lru_cache(128)
def _read_short_header(part: str) -> Mapping[str, object]:
    return _read_header(part)


def _read_header(part: str) -> Mapping[str, object]:
    if _decoded(part, "header").startswith(BOM_UTF8):  # RFC 7515 4, RFC 8259 8.1
        raise IdTokenRejected("header", mismatch("the first character", "\ufeff", "{"))
    return _read(part, "header")


def _check_form(token: str) -> None:
    if len(token) > MAX_BYTES:
        raise IdTokenRejected("size", length_of("the token", token, MAX_BYTES))
    if token.count(".") == 4:
        raise IdTokenRejected("encrypted", "the token is encrypted, and no key for it is registered")
    if not _COMPACT.fullmatch(token):
        parts = token.count(".") + 1 if token else 0
        raise IdTokenRejected("form", f"the token has {parts} parts; expected 3 parts of base64url")


def _check_type(typ: object, accepted: str | None) -> None:
    # RFC 8725 3.11: tokens for other purposes have their own type (at+jwt, logout+jwt, …)
    if typ is None:
        return
    if isinstance(typ, str):
        name = typ.lower().removeprefix("application/")  # RFC 7515 4.1.9
        if name == accepted or not name.endswith("+jwt"):
            return
    raise IdTokenRejected("typ", mismatch("typ", typ, accepted or "JWT", None))


def _read(part: str, name: str, repeatable: Collection[str] = ()) -> dict[str, object]:
    data = _decoded(part, name)
    try:
        return read_object(data, repeatable=repeatable)
    except DuplicateMember as error:
        raise IdTokenRejected("duplicate_member", f"a member of the {name} is given twice") from error
    except JsonUnreadable as error:
        raise IdTokenRejected(name, str(error)) from error


def _decoded(part: str, name: str) -> bytes:
    try:
        return base64url_decode(part.encode())
    except ValueError as error:
        raise IdTokenRejected("form", f"the {name} is not base64url") from error
