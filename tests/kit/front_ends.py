"""A front end's folder for tests."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

from portal.config.front_ends import FrontEnd

SHELL = "<!doctype html><title>Desk</title><script type=module src=/desk/assets/app-BkT3q1aC.js></script>"
SCRIPT = "document.title = 'Desk ready';\n" * 60
LARGE = bytes(range(256)) * 4096
"""A megabyte: streamed, not kept."""
HASHED = "assets/app-BkT3q1aC.js"


def front_end_folder(folder: Path, **files: str | bytes) -> Path:
    """Write the files of a built front end, and more by name; `/` is written as `__`."""
    contents: Mapping[str, str | bytes] = {
        "index.html": SHELL,
        HASHED: SCRIPT,
        f"{HASHED}.gz": gzip.compress(b"gzip " + SCRIPT.encode(), mtime=0),
        f"{HASHED}.br": b"br of the script",
        "plain.js": SCRIPT,
        "app.js.map": "{}",
        "large.bin": LARGE,
        "app.wasm": b"\0asm",
        "app.webmanifest": "{}",
        "icon.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>",
        ".env": "SECRET=1",
        "shop/index.html": "<title>Shop</title>",
        **{name.replace("__", "/"): content for name, content in files.items()},
    }
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def desk(folder: Path, **changes: object) -> dict[str, FrontEnd]:
    """The setting `front_ends` with one at /desk. Parameters: changes, of its fields."""
    return {"desk": FrontEnd(**{"path": "/desk", "directory": folder, **changes})}  # type: ignore[arg-type]
