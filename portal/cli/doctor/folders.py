"""What `portal doctor` checks of the folders that the settings name: presets, and front ends."""

from __future__ import annotations

from collections.abc import Iterator

from portal.cli.doctor.model import Area, Result
from portal.config.settings import Settings
from portal.errors import ConfigurationError, StartupError
from portal.tenancy.available_presets import available_presets
from portal.web.front_ends.service import FrontEnds

_AREA = Area("folders")


async def folder_results(settings: Settings) -> list[Result]:
    """Whether the portal can start with these folders."""
    return [*_presets(settings), *await _front_ends(settings)]


def _presets(settings: Settings) -> Iterator[Result]:
    if settings.presets is None:
        return
    try:
        found = available_presets(settings.presets)
        names, refused = found.names(), found.problems()
    except ConfigurationError as error:
        for problem in error.problems:
            yield _AREA.failed("presets", str(problem), "Correct `presets`: the portal does not start.")
        return
    for one in refused.values():
        for problem in one.problems:
            yield _AREA.failed("presets", str(problem), "Correct the file: portal preset check says more.")
    if not refused:
        yield _AREA.passed("presets", f"{len(names)} can be used")


async def _front_ends(settings: Settings) -> list[Result]:
    if not settings.front_ends:
        return []
    try:
        await FrontEnds(settings.front_ends, lambda slug: None).check()
    except StartupError as error:
        return [_AREA.failed("front_ends", error.message, error.remedy)]
    return [_AREA.passed("front_ends", f"{len(settings.front_ends)} can be served")]
