"""Files that only their owner may read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from portal.errors import ConfigurationError, Problem


def write_private(path: Path, text: str) -> None:
    """Write `text` to a file of mode 0600 atomically."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)


def load_or_create_secret(path: Path) -> str:
    """Read the secret in `path`, or create a random one. Raises ConfigurationError when the file is empty."""
    if path.exists():
        secret = path.read_text().strip()
        if not secret:
            raise ConfigurationError([Problem(str(path), "is empty; delete it to create a new secret")])
        return secret
    secret = secrets.token_urlsafe(32)
    write_private(path, secret)
    return secret
