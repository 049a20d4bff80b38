"""How much memory a block of code keeps."""

from __future__ import annotations

import contextlib
import gc
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Kept:
    """The bytes of memory that a block allocated and did not free."""

    bytes: int = 0


@contextlib.contextmanager
def kept_memory() -> Iterator[Kept]:
    """Measure the block: memory of Python objects, without that of C libraries."""
    kept = Kept()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield kept
        gc.collect()
        kept.bytes = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
