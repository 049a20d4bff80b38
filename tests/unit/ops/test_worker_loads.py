"""A worker compares its connections with those of the other workers."""

from __future__ import annotations

import pytest

from portal.ops.worker_loads import WorkerLoads


@pytest.mark.parametrize(
    ("others", "own", "is_above"),
    [
        ([], 5, False),
        ([0], 1, False),
        ([0], 2, True),
        ([3, 9], 4, False),
        ([3, 9], 5, True),
        ([100], 109, False),
        ([100], 110, True),
    ],
)
def test_a_worker_leaves_connections_to_one_with_clearly_fewer(
    others: list[int], own: int, is_above: bool
) -> None:
    loads = WorkerLoads(len(others) + 1)
    for slot, count in enumerate(others, 1):
        loads.of(slot).report(count)
    assert loads.of(0).is_above(own) is is_above


def test_a_worker_that_does_not_accept_is_not_counted() -> None:
    loads = WorkerLoads(3)
    loads.of(1).report(0)
    loads.of(2).report(50)
    assert loads.of(0).is_above(50)
    loads.of(1).end()
    assert not loads.of(0).is_above(50)
