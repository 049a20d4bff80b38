"""The results of `portal doctor`. None of their texts has a secret."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from portal.tenancy.checks.live.model import Status


@dataclass(frozen=True, slots=True)
class Result:
    """What one check found, as `portal doctor --json` prints it.

    `area` is what was checked: `settings`, `keys`, `files`, `folders`, `limits`, `addresses`, `database`,
    `proxy`, `traces`, `tenants`, or a tenant with its provider. `skipped`: it could not be checked here;
    `seen` says why.
    """

    area: str
    check: str
    status: Status
    seen: str
    advice: str = ""


Stage = Callable[[str], None]
"""Called with what is checked next."""


@dataclass(frozen=True, slots=True)
class Area:
    """Makes the results of one area."""

    name: str

    def passed(self, check: str, seen: str) -> Result:
        return Result(self.name, check, Status.PASS, seen)

    def warned(self, check: str, seen: str, advice: str) -> Result:
        return Result(self.name, check, Status.WARN, seen, advice)

    def failed(self, check: str, seen: str, advice: str) -> Result:
        return Result(self.name, check, Status.FAIL, seen, advice)

    def skipped(self, check: str, why: str, advice: str = "") -> Result:
        return Result(self.name, check, Status.SKIPPED, why, advice)
