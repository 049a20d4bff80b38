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


def jpeg(width: int, height: int) -> bytes:
    """Return the segments of a JPEG file that tell its size; there is no picture in it."""

    def segment(marker: int, data: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data

    frame = segment(0xC0, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0")
    start = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0") + segment(0xDB, bytes(65))
    return b"\xff\xd8" + start + frame + segment(0xDA, b"\1\1\0\0\x3f\0") + b"\0\xff\xd9"


def webp(kind: str, width: int, height: int) -> bytes:
    """Return the first chunk of a WebP file, which tells its size; there is no picture in it."""
    match kind:
        case "VP8X":
            data = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        case "VP8L":
            data = b"\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(4, "little") + bytes(5)
        case _:
            data = b"\x30\1\0\x9d\x01\x2a" + struct.pack("<HH", width, height)
    chunk = kind.encode() + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk
