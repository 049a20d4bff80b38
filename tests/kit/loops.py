"""Runs the tests of a file on the event loops of asyncio and of uvloop."""

from __future__ import annotations

import pytest

ON_BOTH_LOOPS = [
    pytest.mark.usefixtures("io_loop"),
    pytest.mark.parametrize("io_loop", ["asyncio", "uvloop"], indirect=True),
]
"""`pytestmark` of a file whose code uses transports: the two differ in what they buffer and report."""
