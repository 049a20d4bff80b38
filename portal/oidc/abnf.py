"""Characters of protocol fields (RFC 6749 Appendix A, RFC 9449 8.1).

Rule: each field that a provider sends is checked against exactly the ABNF of its RFC, with a maximum length.
tests/unit/oidc/test_abnf.py lists every pattern of portal/oidc with its ABNF.
"""

from __future__ import annotations

import re

VSCHAR = r"[\x20-\x7e]"
"""Visible ASCII and space: access and refresh tokens, codes, client identifiers."""
NQCHAR = r"[\x21\x23-\x5b\x5d-\x7e]"
"""Visible ASCII except `"` and `\\`: scope tokens, DPoP nonces."""
NQSCHAR = r"[\x20\x21\x23-\x5b\x5d-\x7e]"
"""NQCHAR and space: error codes and descriptions."""


def one_to(maximum: int, characters: str) -> re.Pattern[str]:
    """Return the pattern of a field of 1 to `maximum` of these characters."""
    return re.compile(f"{characters}{{1,{maximum}}}")
