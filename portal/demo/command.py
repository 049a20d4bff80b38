"""How the user starts the demo: messages name a command that works in the same shell."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_MAKE_VARIABLES = {"--listen": "LISTEN", "--data": "DATA", "--public-url": "PUBLIC_URL"}


def demo_command(option: str, value: str) -> str:
    """The command that starts the demo with an option, as the user has started it: by make, or by itself."""
    if os.environ.get("DEMO_STARTED_BY") == "make":  # scripts/demo.sh
        return f"make demo {_MAKE_VARIABLES[option]}={value}"
    program = sys.argv[0] if sys.argv else ""
    if Path(program).name == "__main__.py":
        return f"python -m portal demo {option} {value}"
    is_typed_with_path = os.sep in program and not _is_on_path(Path(program))
    return f"{program if is_typed_with_path else 'portal'} demo {option} {value}"


def _is_on_path(program: Path) -> bool:
    """Whether the shell finds the program by its name alone."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    return program.parent in folders
