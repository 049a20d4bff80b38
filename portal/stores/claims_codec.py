"""Claims as text: providers choose the names and values, so no database is asked to understand them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def encode_claims(claims: Mapping[str, object]) -> str:
    """Write claims as ASCII JSON: any name, nesting, integer size and Unicode comes back as it was."""
    return json.dumps(dict(claims), separators=(",", ":"))


def decode_claims(text: str) -> dict[str, Any]:
    """Read what `encode_claims` wrote. Raises TypeError, ValueError or RecursionError for anything else."""
    claims = json.loads(text) if isinstance(text, str) else None
    if not isinstance(claims, dict):
        raise TypeError("claims are stored as one JSON object")
    return claims
