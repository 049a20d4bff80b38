"""The data of the API explorer on the developer page (portal/web/views.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class ExplorerResult:
    """Response of the tenant's API to a call made from the page without JavaScript."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: str
    """Text, pretty-printed when it is JSON, bounded."""
    truncated: bool
    elapsed_ms: int


class ExplorerApi(NamedTuple):
    """An API that the explorer can call."""

    name: str
    """Empty for the tenant's default API."""
    base: str
    """Its path in the portal."""
    paths: tuple[str, ...]
    """Example paths below it."""


@dataclass(frozen=True, slots=True)
class Explorer:
    """The API explorer of the developer page."""

    apis: tuple[ExplorerApi, ...]
    """At least one."""
    path: str
    """The path in the field, starting with `/`."""
    api: str = ""
    """The name of the chosen one of `apis`."""
    method: str = "GET"
    body: str = ""
    methods: tuple[str, ...] = ("GET", "POST", "PUT", "PATCH", "DELETE")
    result: ExplorerResult | None = None
    error_title: str = ""
    """Why the call got no response of the API; empty when it got one, or none was made."""
    error_advice: str = ""
    step_up_url: str = ""
    """Where the user can do what the API requires, when it refused the call for that reason."""
    problem_texts: tuple[str, ...] = ()
    """Texts of problem responses, which the page's script shows in the language of the page."""

    @property
    def base(self) -> str:
        """The path of the chosen API in the portal."""
        return next(api.base for api in self.apis if api.name == self.api)
