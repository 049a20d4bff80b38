"""Values of Cache-Control (RFC 9111 5.2.2) that several handlers send."""

from __future__ import annotations

FOREVER = "public, max-age=31536000, immutable"
"""A year: for addresses that have a hash of the content (RFC 8246)."""
