"""Lists every pattern of portal/oidc with the ABNF of the field that it checks, or its other purpose.

Each field is checked against exactly the ABNF of its RFC. A new pattern needs a line here.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest

import portal.oidc
from portal.oidc.abnf import NQCHAR, NQSCHAR, VSCHAR
from portal.oidc.authorization_response import accept_response
from portal.oidc.id_token import LONGEST_IDENTIFIER, is_identifier
from portal.oidc.provider import ProviderMetadata
from tests.unit.oidc.signing import ISSUER, registration

VISIBLE = {chr(number) for number in range(0x21, 0x7F)}
CHARACTERS = {
    "VSCHAR": VISIBLE | {" "},
    "NQCHAR": VISIBLE - {'"', "\\"},
    "NQSCHAR": (VISIBLE | {" "}) - {'"', "\\"},
    "URI": VISIBLE,
}
"""RFC 6749 Appendix A, written independently. A URI contains no space (RFC 3986 2); the server that reads it
checks the rest."""

FIELDS = {
    "authorization_response._CODE": ("code", "RFC 6749 A.11: 1*VSCHAR", "VSCHAR"),
    "token_response._TOKEN": ("access_token, refresh_token", "RFC 6749 A.12 and A.17: 1*VSCHAR", "VSCHAR"),
    "provider_errors._CODE": ("error", "RFC 6749 A.7: 1*NQSCHAR", "NQSCHAR"),
    "dpop._NONCE": ("nonce of DPoP", "RFC 9449 8.1: 1*NQCHAR", "NQCHAR"),
    "step_up._VALUE": ("a value of acr_values or scope", "RFC 6749 A.4: scope-token, 1*NQCHAR", "NQCHAR"),
    "request_protection._REQUEST_URI": ("request_uri", "RFC 9126 2.2: a URI", "URI"),
}
"""Patterns of protocol fields, with the characters that the RFC allows."""

OTHERS = {
    "token_response._NUMBER": "expires_in as a text: RFC 6749 A.14, 1*DIGIT, and a fraction (wider)",
    "jws._COMPACT": "RFC 7515 7.1: three parts of base64url",
    "jwe._COMPACT": "RFC 7516 7.1: five parts of base64url",
    "jwe._SHORT_OCTETS": "RFC 7515 2: base64url, with a generous limit",
    "keys._BASE64URL": "RFC 7518 6: parts of keys in base64url, with padding (wider)",
    "issuer._DIRECTORY": "Entra's directory ids; the issuer is compared as well",
    "cache._MAX_AGE": "finds a directive (RFC 9111 5.2.2.1)",
    "cache._NO_CACHE": "finds a directive (RFC 9111 5.2.2.4 and 5)",
    "dpop._SCHEME": "finds a challenge (RFC 9110 11.6.1)",
    "dpop._ERROR": "finds a parameter of a challenge (RFC 9449 9)",
    "json_reading._BETWEEN_BRACKETS": "counts depth",
    "json_reading._SURROGATE_ESCAPE": "finds escapes that may be unpaired surrogates",
    "certificate_key.PEM_CERTIFICATE": "removes certificates from a file",
    "provider_errors._PERHAPS_A_SECRET": "redacts logs",
    "provider_errors._BY_THE_USER": "tells a cancelled sign-in from a refused one",
    "form_encoding._UNRESERVED": "finds values that need no encoding (RFC 3986 2.3)",
    "quoting._PLAIN": "values that a message shows without quotes",
    "quoting._PERHAPS_A_TOKEN": "redacts messages",
    "quoting._PERCENT_ENCODED": "adds a remark to a message",
}
"""Other patterns, and what they are for."""

ELSEWHERE = {
    "state": "RFC 6749 A.5: compared with the value that the portal sent",
    "scope": "RFC 6749 A.4: any text; displayed and never sent (wider)",
    "token_type": "RFC 6749 A.13: compared with Bearer or DPoP in any case",
    "error_description": "RFC 6749 A.8: any text; displayed without control characters (wider)",
    "kid, jti, typ": "RFC 7515 4.1 and RFC 7519 4.1.7: any text, compared or hashed",
    "sid": "Back-Channel Logout 2.1: the syntax of a client identifier, which is VSCHAR (is_identifier)",
    "sub": "OIDC Core 2: ASCII characters (is_identifier: VSCHAR)",
}
"""Fields that no pattern checks, and why."""


def patterns() -> Iterator[tuple[str, re.Pattern[str]]]:
    for module in pkgutil.walk_packages(portal.oidc.__path__, "portal.oidc."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, re.Pattern):
                yield f"{module.name.rpartition('.')[2]}.{name}", value


def test_every_pattern_is_listed() -> None:
    assert {name for name, _ in patterns()} == FIELDS.keys() | OTHERS.keys()
    assert all(ELSEWHERE.values())


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_accepts_exactly_the_characters_of_its_abnf(name: str) -> None:
    pattern, (_, _, characters) = dict(patterns())[name], FIELDS[name]
    allowed = {chr(number) for number in range(0x300) if pattern.fullmatch(chr(number))}
    assert allowed == CHARACTERS[characters]
    assert pattern.fullmatch("".join(sorted(allowed)))
    assert not pattern.fullmatch("")


def test_the_character_classes_match_the_RFC() -> None:
    for name, pattern in (("VSCHAR", VSCHAR), ("NQCHAR", NQCHAR), ("NQSCHAR", NQSCHAR)):
        assert {chr(n) for n in range(0x300) if re.fullmatch(pattern, chr(n))} == CHARACTERS[name]


def test_a_code_with_every_allowed_character_is_accepted() -> None:
    code = "".join(sorted(CHARACTERS["VSCHAR"]))
    metadata = ProviderMetadata(ISSUER, ISSUER, ISSUER, ISSUER)
    assert accept_response({"code": [code]}, registration(), metadata).reveal() == code


def test_a_session_or_user_id_has_2048_printable_ascii_characters_at_most() -> None:
    assert {chr(n) for n in range(0x300) if is_identifier(chr(n))} == CHARACTERS["VSCHAR"]
    assert is_identifier("x" * LONGEST_IDENTIFIER)
    for invalid in ("", "x" * (LONGEST_IDENTIFIER + 1), 7, None, ["x"]):
        assert not is_identifier(invalid)
