"""Media types of files by the extension of their names; not those of the system, which differ."""

from __future__ import annotations

from typing import NamedTuple


class MediaType(NamedTuple):
    """The value of Content-Type, and whether compression makes such files smaller."""

    value: str
    compressible: bool


_TEXT = {
    "css": "text/css",
    "csv": "text/csv",
    "htm": "text/html",
    "html": "text/html",
    "ics": "text/calendar",
    "js": "text/javascript",  # RFC 9239
    "md": "text/markdown",
    "mjs": "text/javascript",
    "svg": "image/svg+xml",
    "txt": "text/plain",
    "vtt": "text/vtt",
    "xml": "application/xml",
}
_COMPRESSIBLE = {
    "eot": "application/vnd.ms-fontobject",
    "ico": "image/x-icon",
    "json": "application/json",
    "map": "application/json",
    "otf": "font/otf",
    "ttf": "font/ttf",
    "wasm": "application/wasm",
    "webmanifest": "application/manifest+json",
}
_OTHERS = {
    "apng": "image/apng",
    "avif": "image/avif",
    "bin": "application/octet-stream",
    "gif": "image/gif",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "ogg": "audio/ogg",
    "pdf": "application/pdf",
    "png": "image/png",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "zip": "application/zip",
}
_BY_EXTENSION = {
    **{name: MediaType(f"{value}; charset=utf-8", True) for name, value in _TEXT.items()},
    **{name: MediaType(value, True) for name, value in _COMPRESSIBLE.items()},
    **{name: MediaType(value, False) for name, value in _OTHERS.items()},
}
_UNKNOWN = MediaType("application/octet-stream", False)


def media_type(name: str) -> MediaType:
    """Return the media type of a file by its name; `application/octet-stream` when it is not known."""
    return _BY_EXTENSION.get(name.rpartition(".")[2].lower(), _UNKNOWN) if "." in name else _UNKNOWN
