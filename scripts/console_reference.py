"""Writes docs/reference/console.md: who gets which response at each address of the console.

python scripts/console_reference.py
"""

from __future__ import annotations

from pathlib import Path

from portal.web.admin.reference import console_reference

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "console.md"


def main() -> None:
    """Write the page."""
    PAGE.write_text(console_reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
