"""Characters of protocol fields (RFC 6749 Appendix A, RFC 9449 8.1).

Rule: a field that a provider sends is checked against the ABNF of its RFC and no narrower one; its length is
bounded. tests/unit/oidc/test_abnf.py lists every pattern of portal/oidc with its ABNF.
"""

from __future__ import annotations

import re

VSCHAR = r"[\x20-\x7e]"
"""Visible characters and the space: access and refresh tokens, codes, client identifiers."""
NQCHAR = r"[\x21\x23-\x5b\x5d-\x7e]"
"""Visible characters without the quote and the backslash: scope tokens, nonces of DPoP."""
NQSCHAR = r"[\x20\x21\x23-\x5b\x5d-\x7e]"
"""The same and the space: error codes and descriptions."""


def one_to(most: int, characters: str) -> re.Pattern[str]:
    """The pattern of a field of 1 to `most` of these characters."""
    return re.compile(f"{characters}{{1,{most}}}")
