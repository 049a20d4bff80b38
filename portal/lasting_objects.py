"""Makes many objects that stay, such as tenants, without long pauses for the garbage collector.

A collection traverses all young objects while it holds the interpreter's lock: 3 to 10 ms for each 20,000,
and 40 ms or more for those of thousands of tenants. Meanwhile the event loop stands still.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_MANY = 200
"""Fewer objects than this many tenants have are left to the collector."""


@contextmanager
def making_lasting_objects(tenants: int) -> Iterator[None]:
    """Collect nothing while the block runs, and leave what exists at its end out of later collections.

    Reference counts still free what is not used any more; only unused cycles of this moment stay. Parameters:
    tenants, how many will be made; nothing is done for a few.
    """
    if tenants < _MANY or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
