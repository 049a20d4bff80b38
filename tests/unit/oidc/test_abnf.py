"""Every pattern of portal/oidc has a line here: the ABNF of the field that it checks, or what else it is for.

A field is checked against the ABNF of its RFC and no narrower one. Who adds a pattern adds its line.
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
"""RFC 6749 Appendix A, written a second time; a URI has no space in it (RFC 3986 2), the rest is left to the
server that reads it."""

FIELDS = {
    "authorization_response._CODE": ("code", "RFC 6749 A.11: 1*VSCHAR", "VSCHAR"),
    "token_response._TOKEN": ("access_token, refresh_token", "RFC 6749 A.12 and A.17: 1*VSCHAR", "VSCHAR"),
    "provider_errors._CODE": ("error", "RFC 6749 A.7: 1*NQSCHAR", "NQSCHAR"),
    "dpop._NONCE": ("nonce of DPoP", "RFC 9449 8.1: 1*NQCHAR", "NQCHAR"),
    "request_protection._REQUEST_URI": ("request_uri", "RFC 9126 2.2: a URI", "URI"),
}
"""Patterns of a protocol field, with the set of characters that its RFC gives it."""

OTHERS = {
    "token_response._NUMBER": "expires_in as a text: RFC 6749 A.14, 1*DIGIT, and a fraction (wider)",
    "jws._COMPACT": "RFC 7515 7.1: three parts of base64url",
    "jwe._COMPACT": "RFC 7516 7.1: five parts of base64url",
    "jwe._SHORT_OCTETS": "RFC 7515 2: base64url, as long as anybody needs",
    "keys._BASE64URL": "RFC 7518 6: parts of keys in base64url, with padding (wider)",
    "issuer._DIRECTORY": "Entra's directory ids, in an issuer that is compared anyway",
    "cache._MAX_AGE": "finds a directive (RFC 9111 5.2.2.1)",
    "cache._MUST_ASK_AGAIN": "finds a directive (RFC 9111 5.2.2.4 and 5)",
    "dpop._SCHEME": "finds a challenge (RFC 9110 11.6.1)",
    "dpop._ERROR": "finds a parameter of a challenge (RFC 9449 9)",
    "json_reading._BETWEEN_BRACKETS": "counts depth",
    "json_reading._SURROGATE_ESCAPE": "finds what has to be looked at",
    "certificate_key.PEM_CERTIFICATE": "takes certificates out of a file",
    "provider_errors._PERHAPS_A_SECRET": "takes out of logs",
    "quoting._PLAIN": "how a message shows a value",
    "quoting._PERHAPS_A_TOKEN": "takes out of messages",
    "quoting._PERCENT_ENCODED": "makes a remark in a message",
}
"""Other patterns, and what they are for."""

ELSEWHERE = {
    "state": "RFC 6749 A.5: the portal's own, compared with what it sent",
    "scope": "RFC 6749 A.4: any text; it is shown and never sent (wider)",
    "token_type": "RFC 6749 A.13: compared with Bearer or DPoP in any case",
    "error_description": "RFC 6749 A.8: any text; it is shown without control characters (wider)",
    "kid, jti, typ": "RFC 7515 4.1 and RFC 7519 4.1.7: any text, compared or hashed",
    "sid": "Back-Channel Logout 2.1: the syntax of a client identifier, which is VSCHAR (is_identifier)",
    "sub": "OIDC Core 2: ASCII characters (is_identifier: VSCHAR)",
}
"""Fields that no pattern checks, for whoever looks for them here."""


def patterns() -> Iterator[tuple[str, re.Pattern[str]]]:
    for module in pkgutil.walk_packages(portal.oidc.__path__, "portal.oidc."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, re.Pattern):
                yield f"{module.name.rpartition('.')[2]}.{name}", value


def test_every_pattern_has_its_line_here() -> None:
    assert {name for name, _ in patterns()} == FIELDS.keys() | OTHERS.keys()
    assert all(ELSEWHERE.values())


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_may_hold_every_character_of_its_abnf_and_no_other(name: str) -> None:
    pattern, (_, _, characters) = dict(patterns())[name], FIELDS[name]
    allowed = {chr(number) for number in range(0x300) if pattern.fullmatch(chr(number))}
    assert allowed == CHARACTERS[characters]
    assert pattern.fullmatch("".join(sorted(allowed)))
    assert not pattern.fullmatch("")


def test_the_classes_of_characters_are_those_of_the_RFC() -> None:
    for name, pattern in (("VSCHAR", VSCHAR), ("NQCHAR", NQCHAR), ("NQSCHAR", NQSCHAR)):
        assert {chr(n) for n in range(0x300) if re.fullmatch(pattern, chr(n))} == CHARACTERS[name]


def test_a_code_of_every_character_is_accepted() -> None:
    code = "".join(sorted(CHARACTERS["VSCHAR"]))
    metadata = ProviderMetadata(ISSUER, ISSUER, ISSUER, ISSUER)
    assert accept_response({"code": [code]}, registration(), metadata).reveal() == code


def test_a_session_or_user_id_has_2048_printable_ascii_characters_at_most() -> None:
    assert {chr(n) for n in range(0x300) if is_identifier(chr(n))} == CHARACTERS["VSCHAR"]
    assert is_identifier("x" * LONGEST_IDENTIFIER)
    for odd in ("", "x" * (LONGEST_IDENTIFIER + 1), 7, None, ["x"]):
        assert not is_identifier(odd)
