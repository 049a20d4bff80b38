"""Checks that no Python file of the portal has more than 400 lines, and lists those that do.

    python scripts/check_sizes.py

A file beyond the limit has more than one responsibility: move one of them to a separate module.
"""

from __future__ import annotations

import sys
from pathlib import Path

LIMIT = 400
ROOT = Path(__file__).resolve().parent.parent


def too_long(folder: Path, limit: int = LIMIT) -> list[str]:
    """Return a line for each Python file below a folder that is longer than the limit."""
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in folder.rglob("*.py")}
    return [
        f"{path.relative_to(folder.parent)}: {size} lines, at most {limit}: move one of its ideas elsewhere"
        for path, size in sorted(sizes.items())
        if size > limit
    ]


def main() -> int:
    found = too_long(ROOT / "portal")
    print("\n".join(found) or f"no file of the portal has more than {LIMIT} lines")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
