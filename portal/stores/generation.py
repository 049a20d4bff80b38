"""Detects a database that is an older copy of the one that was last used.

A provider that receives a refresh token twice revokes every token of that user (RFC 9700 4.14.2). An older
copy of the database contains refresh tokens that have been used since, and sessions that have been ended
since. So the database has a generation, a number that grows at every start and stop of a portal and every
minute in between, and each host stores the highest number that it has seen next to its key ring. A database
with a lower number is an older copy: the portal marks it and refuses to serve it until `portal store
restored` has deleted its sign-ins. Other hosts find the mark. `portal store backup` marks its copies.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from portal.errors import StartupError

GENERATION = "generation"
"""The id of the database's metadata entry with its generation."""


@dataclass(frozen=True, slots=True)
class Generation:
    """The generation of a database: `number` is in milliseconds since the epoch, or one more than the last.

    `database` is a random id that copies share; `copy` marks a copy that must not be served before
    `portal store restored`.
    """

    database: str
    number: int
    copy: bool = False

    def text(self) -> str:
        """The form in which the database stores it."""
        return json.dumps({"database": self.database, "number": self.number, "copy": self.copy})

    @classmethod
    def parse(cls, text: str) -> Generation:
        """Parse the result of `text`. Raises StartupError for anything else."""
        try:
            found = json.loads(text)
            return cls(str(found["database"]), int(found["number"]), bool(found["copy"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise StartupError(
                "The database's generation cannot be read: the database is damaged.",
                remedy="Restore it from a backup, then run `portal store restored`.",
            ) from None
