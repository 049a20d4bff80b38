"""Logos of a made-up product."""

from __future__ import annotations

import struct
import zlib

SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 32">
  <rect width="32" height="32" rx="6" fill="#7a1f5c"/><circle cx="16" cy="16" r="7" fill="#ffd166"/>
  <rect x="40" y="10" width="56" height="12" rx="6" fill="#7a1f5c"/>
</svg>
"""


def png(width: int, height: int) -> bytes:
    """Return a picture of one grey, `width` by `height` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x99" * width) * height)
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
