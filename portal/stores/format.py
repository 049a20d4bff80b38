"""Which versions of the portal can use one database together.

A database has the number of its format: a SQLite file in `PRAGMA user_version`, a MongoDB database in its
metadata. A portal of format N uses databases of N - 1, N and N + 1: so each version serves together with the
one before and the one after, during an upgrade and when it is undone. Rules for a change of the format: see
docs/decisions/087-two-versions-and-two-executions.md.
"""

from __future__ import annotations

from portal.errors import StartupError

FORMAT = "format"
"""The id of the metadata entry of a MongoDB database with its format."""


def require_usable(place: str, found: int, known: int, *, older: bool = False) -> None:
    """Raise StartupError unless a portal of the format `known` can use a database of the format `found`.

    Parameters: place, the database, for the message; older, whether every earlier format can be used, because
    the database is migrated.
    """
    if found > known + 1:
        raise StartupError(
            f"{place} was made by a newer portal: it has format {found}, and this one knows formats up to "
            f"{known + 1}.",
            remedy=f"Start a portal of format {found} or {found - 1}, or set `database` to another.",
        )
    if found < known - 1 and not older:
        raise StartupError(
            f"{place} was made by an older portal: it has format {found}, and this one uses {known - 1} and "
            f"later.",
            remedy=f"Start a portal of format {found + 1} first, as docs/operations.md describes.",
        )
