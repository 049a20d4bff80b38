"""Whether the database is an older copy of the one that was last used.

A provider that sees a refresh token twice ends every token of that user (RFC 9700 4.14.2). An older copy of
the database holds refresh tokens that have been used since it was made, and sessions that have been ended
since. So the database has a generation, a number that grows at every start and stop of a portal and every
minute between, and each host writes beside its key ring the highest one that it has seen. A database behind
that number is an older copy: the portal marks it and refuses to serve it until `portal store restored` has
deleted its sign-ins. Other hosts find the mark. `portal store backup` marks what it writes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from portal.errors import StartupError

GENERATION = "generation"
"""Under which name the database keeps its generation."""


@dataclass(frozen=True, slots=True)
class Generation:
    """State of a database: `number` is in milliseconds since the epoch, or one more than the one before.

    `database` is a random id that copies share; `copy` is true for what must not be served as it is.
    """

    database: str
    number: int
    copy: bool = False

    def text(self) -> str:
        """As it is kept in the database."""
        return json.dumps({"database": self.database, "number": self.number, "copy": self.copy})

    @classmethod
    def parse(cls, text: str) -> Generation:
        """Read what `text` wrote. Raises StartupError when it is not that."""
        try:
            found = json.loads(text)
            return cls(str(found["database"]), int(found["number"]), bool(found["copy"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise StartupError(
                "The database's generation cannot be read: the database is damaged.",
                remedy="Bring it back from a backup, then run `portal store restored`.",
            ) from None
