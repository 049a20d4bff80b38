"""Files of the static folder, read and compressed once, when the portal starts.

They are few and small. No request opens a file, and each page needs fewer bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from portal.web.compression import GZIP, LEAST_COMPRESSED, gzip_compressed
from portal.web.front_ends.conditions import accepted_codings
from portal.web.front_ends.media_types import media_type

_VERSION_CHARACTERS = 16


class Representation(NamedTuple):
    """The content of a file in one content coding (RFC 9110 8.4)."""

    content: bytes
    etag: str
    """A strong entity tag: each coding has its own (RFC 9110 8.8.3.3)."""
    coding: str
    """Empty for none."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file."""

    media_type: str
    version: str
    """Hexadecimal hash of the content, for URLs that are cached for ever."""
    plain: Representation
    compressed: Representation | None
    """None where compression saves nothing."""

    def representation(self, accept_encoding: str) -> Representation:
        """The representation for a client. Parameters: accept_encoding, the header; empty when absent."""
        if self.compressed is not None and accepted_codings(accept_encoding, (GZIP,)):
            return self.compressed
        return self.plain


def load_assets(folder: Path) -> Mapping[str, Asset]:
    """Read the files of a folder; return them by their names."""
    return {path.name: _asset(path.name, path.read_bytes()) for path in folder.iterdir() if path.is_file()}


def _asset(name: str, content: bytes) -> Asset:
    version = hashlib.sha256(content).hexdigest()[:_VERSION_CHARACTERS]
    kind = media_type(name)
    smaller = gzip_compressed(content) if kind.compressible and len(content) >= LEAST_COMPRESSED else content
    return Asset(
        kind.value,
        version,
        Representation(content, f'"{version}"', ""),
        Representation(smaller, f'"{version}-{GZIP}"', GZIP) if len(smaller) < len(content) else None,
    )
