"""The format of a MongoDB database: the highest that a portal has used in it. See `portal.stores.format`."""

from __future__ import annotations

from portal.errors import StartupError
from portal.stores.format import FORMAT, require_usable
from portal.stores.mongo import repeatable
from portal.stores.mongo.documents import VERSION

_TRIES = 10


async def require_format(meta: repeatable.Collection, *, record: bool) -> None:
    """Refuse a database that this version cannot use, and record its own format in an older one.

    Databases of earlier versions have no record; the first that wrote one was of format 2.
    Parameters: record, whether to change it. Raises StartupError.
    """
    for _ in range(_TRIES):
        found = await meta.find_one({"_id": FORMAT}, {"value": 1})
        text = None if found is None else str(found.get("value"))
        number = VERSION - 1 if text is None else _parse(text)
        require_usable("The MongoDB database", number, VERSION)
        if number >= VERSION or not record:
            return
        if await repeatable.swap_value(meta, FORMAT, text, str(VERSION)):
            return


def _parse(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise StartupError(
            "The format of the MongoDB database cannot be read: the database is damaged.",
            remedy="Restore it from a backup, then run `portal store restored`.",
        )
    return int(text)
