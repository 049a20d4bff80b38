"""What became of every case: counted for the summary, kept for the assertion."""

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
"""The verdict over a fault that no rule speaks of: whatever happens is fine, as long as it is handled."""


@dataclass(slots=True)
class Tally:
    """Numbers of one kind of message."""

    cases: int = 0
    mattering: int = 0
    accepted_wrongly: int = 0
    refused_wrongly: int = 0
    unhandled: int = 0

    def numbers(self) -> str:
        """All of them, in the order above."""
        return " ".join(str(getattr(self, name)) for name in Tally.__dataclass_fields__)

    def __iadd__(self, other: Tally) -> Tally:
        for name in Tally.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


@dataclass(slots=True)
class FaultReport:
    """The numbers of a test run, by what was tampered with."""

    tallies: dict[str, Tally] = field(default_factory=dict)

    @contextmanager
    def trial(self, subject: str, families: Families) -> Iterator[Trial]:
        """Try many cases, and fail at the end when one came out wrong.

        `families`: the errors that a rejection may be.
        """
        trial = Trial(self.tallies.setdefault(subject, Tally()), families)
        yield trial
        assert not trial.wrong, f"{len(trial.wrong)} cases:\n" + "\n".join(trial.wrong[:40])

    def rows(self) -> list[tuple[str, Tally]]:
        """The numbers by subject, the sum last."""
        total = Tally()
        for tally in self.tallies.values():
            total += tally
        return [*sorted(self.tallies.items()), ("all", total)]

    def lines(self) -> list[str]:
        """The summary as a table."""
        head = ("single faults in", "cases", "mattering", "accepted wrongly", "refused wrongly", "unhandled")
        rows = [head, *((subject, *tally.numbers().split()) for subject, tally in self.rows())]
        return [f"{row[0]:32}" + "".join(f"{cell:>17}" for cell in row[1:]) for row in rows]


@dataclass(slots=True)
class Trial:
    """Cases of one test: each is tried, judged and counted."""

    tally: Tally
    families: Families
    wrong: list[str] = field(default_factory=list)

    def attempt(
        self, name: str, why: str | None, action: Callable[P, T], *args: P.args, **options: P.kwargs
    ) -> T | None:
        """Try a case. `why`: the rule that it breaks, None when it breaks none, or EITHER."""
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
        """The same for a coroutine."""
        try:
            result = await action(*args, **options)
        except Exception as error:
            self.judge(name, why, error)
            return None
        self.judge(name, why, None)
        return result

    def judge(self, name: str, why: str | None, error: Exception | None) -> None:
        """Count a case by what became of it."""
        self.tally.cases += 1
        self.tally.mattering += why is not None and why != EITHER
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
