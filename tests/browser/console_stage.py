"""A portal with a console for a real browser: see tests/kit/console.py for who is who."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.browser.stage import Stage
from tests.kit.console import OPERATOR, with_admins


class ConsoleStage(Stage):
    """As `Stage`, with Globex in the database. `typed` is the content of Globex."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        super().__init__(folder, operators=(OPERATOR,), **changes)
        self.typed = self.run(with_admins)
