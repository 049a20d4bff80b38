"""The rules of Discovery, RFC 7517 and URLs for documents, written independently of the portal."""

from __future__ import annotations

import base64
import binascii
import re

from tests.hostile.documents import Members, unreadable
from tests.hostile.fault_report import EITHER
from tests.hostile.minting import KID, rsa_jwk
from tests.hostile.samples import FLAGS, NEEDED, OPTIONAL
from tests.hostile.token_oracle import ISSUER

STRANGE_URLS = (
    *("http://login.acme.example/", "ftp://login.acme.example/", "file:///etc/passwd", "javascript:alert(1)"),
    *(
        "data:application/json,{}",
        "//login.acme.example/",
        "/authorize",
        "login.acme.example",
        "https:",
        "https://",
    ),
    *("https:///path", "https:login.acme.example", "https:\\\\login.acme.example\\", "https://127.0.0.1/"),
    *(
        "https://localhost/",
        "https://a.localhost/",
        "https://[::1]/",
        "https://0x7f.1/",
        "https://2130706433/",
    ),
    *("https://017700000001/", "https://127.1/", "https://169.254.169.254/latest", "https://10.0.0.1/"),
    *("https://[::ffff:127.0.0.1]/", "https://[fe80::1]/", "https://0.0.0.0/", "https://192.168.1.1/"),
    *("https://user@login.acme.example/", "https://login.acme.example:pw@evil.example/", "https://a b/"),
    *("https://login.acme.example/#x", "https://login.acme.example:0/", "https://login.acme.example:65536/"),
    *("https://login.acme.example:x/", "https://lógin.acme.example/", "https://login.acme.example\\@evil/"),
    *("https://login.acme.example/\r\nX: 1", "https://login.acme.example/\0", " https://login.acme.example/"),
    *(
        "https://login.acme.example/ x",
        "https://%6cocalhost/",
        "https://login。acme.example/",
        "https://①.example/",
    ),
    "https://" + "a" * 64 + ".example/",
    "https://login.acme.example/" + "x" * 20_000,
)


def broken_metadata_rule(document: Members) -> str | None:
    """Return the broken rule of OpenID Connect Discovery 4.3 or of URLs, or None."""
    if why := unreadable(document):
        return why
    if document.get("issuer") != ISSUER:
        return "Discovery 4.3: another issuer"
    for name in (*NEEDED, *OPTIONAL):
        url = document.get(name)
        if url is None:
            if name in NEEDED:
                return f"{name} is missing, and is not guessed"
            continue
        if not isinstance(url, str) or not _is_public_https(url):
            return f"{name} is not an acceptable URL"
    for name in FLAGS:
        if not isinstance(document.get(name), bool | None):
            return f"{name} is neither true nor false"
    return None


def _is_public_https(url: str) -> bool:
    """Only for faults of host names; IP addresses and look-alikes are in STRANGE_URLS."""
    pattern = r"(?i:https)://[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(/[!-\"$-~]*)?"
    return len(url) <= 16_384 and re.fullmatch(pattern, url) is not None and url not in STRANGE_URLS


PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


def broken_key_set_rule(document: Members) -> str | None:
    """Return the broken rule of RFC 7517; None if a key remains that verifies RS256 tokens of `key-1`."""
    if why := unreadable(document):
        return why
    keys = document.get("keys")
    if not isinstance(keys, list) or len(keys) > 256:
        return "RFC 7517 5.1: no list of keys, or too many"
    if len(keys) > 64:
        return EITHER
    verdicts = [_unusable(key) for key in keys if isinstance(key, Members)]
    if None in verdicts:
        return None
    return EITHER if EITHER in verdicts else "Core 10.1: no key fits"


def _unusable(key: Members) -> str | None:
    if key.get("kty") != "RSA" or key.get("kid") != KID:
        return "another key"
    if key.has("use") and key.get("use") != "sig":
        return "RFC 7517 4.2: not for signatures"
    operations = key.get("key_ops") if key.has("key_ops") else ["verify"]
    if not isinstance(operations, list) or "verify" not in operations:
        return "RFC 7517 4.3: not for verifying"
    if key.has("alg") and key.get("alg") != "RS256":
        return "RFC 7517 4.4: for another algorithm"
    if any(key.has(name) for name in PRIVATE):
        return "a private key"
    return _other_number(key, "n") or _other_number(key, "e")


def _other_number(key: Members, name: str) -> str | None:
    right, found = str(rsa_jwk().get(name)), key.get(name)
    if found == right:
        return None
    if not isinstance(found, str) or _decoded(found) != _decoded(right):
        return f"another {name}"
    return EITHER  # RFC 7518 6.3.1: the same number in a non-canonical form


def _decoded(text: str) -> int | None:
    try:
        data = base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return int.from_bytes(data, "big")
