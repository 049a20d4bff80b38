"""How many connections the limit of open files allows."""

from __future__ import annotations

import resource

import pytest

from portal.errors import StartupError
from portal.ops.descriptors import connection_limit


def _allow(monkeypatch: pytest.MonkeyPatch, files: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))


@pytest.mark.parametrize(
    ("files", "configured", "expected"),
    [
        (1024, None, 384),
        (65_536, None, 4096),
        (resource.RLIM_INFINITY, None, 4096),
        (resource.RLIM_INFINITY, 50_000, 50_000),
        (65_536, 10_000, 10_000),
        (1024, 384, 384),
    ],
)
def test_the_limit_reserves_descriptors_for_other_files(
    monkeypatch: pytest.MonkeyPatch, files: int, configured: int | None, expected: int
) -> None:
    _allow(monkeypatch, files)
    assert connection_limit(configured) == expected


@pytest.mark.parametrize(("files", "configured"), [(1024, 385), (1024, 10_000), (200, None), (256, 1)])
def test_a_limit_above_that_of_open_files_prevents_the_start(
    monkeypatch: pytest.MonkeyPatch, files: int, configured: int | None
) -> None:
    _allow(monkeypatch, files)
    with pytest.raises(StartupError, match=f"and {files} are allowed"):
        connection_limit(configured)
