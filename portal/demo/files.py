"""Files that only their owner may read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from portal.errors import ConfigurationError, Problem


def write_private(path: Path, text: str) -> None:
    """Write `text` to a file of mode 0600 in one step: nobody ever sees half of it."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)


def kept_secret(path: Path) -> str:
    """Read the secret in `path`; make a random one when missing. Raises ConfigurationError when empty."""
    if path.exists():
        kept = path.read_text().strip()
        if not kept:
            raise ConfigurationError([Problem(str(path), "is empty; delete it, and a secret is made")])
        return kept
    secret = secrets.token_urlsafe(32)
    write_private(path, secret)
    return secret
