"""Compression of small files with gzip (RFC 1952)."""

from __future__ import annotations

import zlib

GZIP = "gzip"
LEAST_COMPRESSED = 860
"""Bytes; compressing a smaller file saves no packet."""


def gzip_compressed(data: bytes) -> bytes:
    """Compress as well as possible; the same data always has the same result."""
    writer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return writer.compress(data) + writer.flush()
