"""The settings of metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from portal.config.validation import FileModel


@dataclass(frozen=True, slots=True)
class MetricSettings:
    """How many tenants have metrics of their own."""

    tenants: int = 100


class MetricsFile(FileModel):
    """What metrics distinguish."""

    tenants: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=100,
        description=(
            "How many tenants have metrics of their own: the first ones by slug. All others share the label "
            "`_other`. Each tenant has about 30 series."
        ),
    )
