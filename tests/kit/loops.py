"""Runs the tests of a file on the event loops of asyncio and of uvloop."""

from __future__ import annotations

import pytest

ON_BOTH_LOOPS = [
    pytest.mark.usefixtures("io_loop"),
    pytest.mark.parametrize("io_loop", ["asyncio", "uvloop"], indirect=True),
]
"""`pytestmark` of a file whose code uses transports: the two differ in what they buffer and report."""

ON_UVLOOP = [
    pytest.mark.usefixtures("io_loop"),
    pytest.mark.parametrize("io_loop", ["uvloop"], indirect=True),
]
"""The same for long tests whose code other files test on both loops: the portal runs on uvloop."""
