"""Counts the outcome of every case for the summary, and collects wrong ones for the assertion."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from portal.errors import PortalError

P = ParamSpec("P")
T = TypeVar("T")
Families = type[PortalError] | tuple[type[PortalError], ...]
EITHER = "may be refused, need not be"
"""Verdict for a fault that no rule covers: acceptance and handled rejection are both correct."""


@dataclass(slots=True)
class Tally:
    """The numbers for one kind of message."""

    cases: int = 0
    invalid: int = 0
    accepted_wrongly: int = 0
    refused_wrongly: int = 0
    unhandled: int = 0

    def numbers(self) -> str:
        """Return all numbers, in the order above."""
        return " ".join(str(getattr(self, name)) for name in Tally.__dataclass_fields__)

    def __iadd__(self, other: Tally) -> Tally:
        for name in Tally.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


@dataclass(slots=True)
class FaultReport:
    """The numbers of a test run, by the kind of message."""

    tallies: dict[str, Tally] = field(default_factory=dict)

    @contextmanager
    def trial(self, subject: str, families: Families) -> Iterator[Trial]:
        """Try many cases, and fail at the end if one had the wrong outcome.

        `families`: the accepted error classes of a rejection.
        """
        trial = Trial(self.tallies.setdefault(subject, Tally()), families)
        yield trial
        assert not trial.wrong, f"{len(trial.wrong)} cases:\n" + "\n".join(trial.wrong[:40])

    def rows(self) -> list[tuple[str, Tally]]:
        """Return the numbers by subject, the sum last."""
        total = Tally()
        for tally in self.tallies.values():
            total += tally
        return [*sorted(self.tallies.items()), ("all", total)]

    def lines(self) -> list[str]:
        """Return the summary as a table."""
        head = ("single faults in", "cases", "invalid", "accepted wrongly", "refused wrongly", "unhandled")
        rows = [head, *((subject, *tally.numbers().split()) for subject, tally in self.rows())]
        return [f"{row[0]:32}" + "".join(f"{cell:>17}" for cell in row[1:]) for row in rows]


@dataclass(slots=True)
class Trial:
    """The cases of one test: each is tried, judged and counted."""

    tally: Tally
    families: Families
    wrong: list[str] = field(default_factory=list)

    def attempt(
        self, name: str, why: str | None, action: Callable[P, T], *args: P.args, **options: P.kwargs
    ) -> T | None:
        """Try a case. `why`: the broken rule, None for a valid case, or EITHER."""
        try:
            result = action(*args, **options)
        except Exception as error:
            self.judge(name, why, error)
            return None
        self.judge(name, why, None)
        return result

    async def attempt_async(
        self,
        name: str,
        why: str | None,
        action: Callable[P, Awaitable[T]],
        *args: P.args,
        **options: P.kwargs,
    ) -> T | None:
        """As attempt, for a coroutine."""
        try:
            result = await action(*args, **options)
        except Exception as error:
            self.judge(name, why, error)
            return None
        self.judge(name, why, None)
        return result

    def judge(self, name: str, why: str | None, error: Exception | None) -> None:
        """Count a case by its outcome."""
        self.tally.cases += 1
        self.tally.invalid += why is not None and why != EITHER
        if error is not None and not self._is_handled(error):
            self.tally.unhandled += 1
            self.wrong.append(f"unhandled: {name}: {type(error).__name__}: {str(error)[:200]}")
        elif error is not None and why is None:
            self.tally.refused_wrongly += 1
            self.wrong.append(f"refused wrongly: {name}: {type(error).__name__}: {str(error)[:200]}")
        elif error is None and why not in {None, EITHER}:
            self.tally.accepted_wrongly += 1
            self.wrong.append(f"accepted wrongly: {name}: {why}")

    def _is_handled(self, error: Exception) -> bool:
        return isinstance(error, self.families) and isinstance(error, PortalError) and error.status != 500
