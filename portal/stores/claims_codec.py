"""Claims as JSON text: providers choose names and values, so no database has to support them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def encode_claims(claims: Mapping[str, object]) -> str:
    """Encode claims as ASCII JSON, without loss of any name, nesting, integer size or Unicode character."""
    return json.dumps(dict(claims), separators=(",", ":"))


def decode_claims(text: str) -> dict[str, Any]:
    """Decode the text of `encode_claims`. Raises TypeError, ValueError or RecursionError for other values."""
    claims = json.loads(text) if isinstance(text, str) else None
    if not isinstance(claims, dict):
        raise TypeError("claims are not a JSON object")
    return claims
