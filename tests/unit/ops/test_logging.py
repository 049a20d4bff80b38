"""Log lines contain no secrets (docs/architecture.md; THREATS S9)."""

from __future__ import annotations

import io

import pytest
import structlog

from portal.ops.logging import configure_logging


@pytest.mark.parametrize("style", ["json", "console"])
def test_S9_a_logged_exception_shows_neither_its_message_nor_local_variables(style: str) -> None:
    lines = io.StringIO()
    configure_logging(style=style, level="info", stream=lines)

    def fail() -> None:
        token = "-".join(("a", "secret", "value"))
        raise ValueError(token)

    try:
        with pytest.raises(ValueError, match="a-secret-value") as raised:
            fail()
        structlog.get_logger("portal.test").error("work_failed", exc_info=raised.value)
    finally:
        structlog.reset_defaults()
    written = lines.getvalue()
    assert "work_failed" in written
    assert "ValueError" in written
    assert "test_logging.py" in written
    assert "a-secret-value" not in written
