"""Sample APIs for `portal demo`: one for each tenant, with its own records and scopes.

`api_handlers` serves them.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from portal.clock import Clock, now
from portal.demo.announcements import Announcements
from portal.demo.api_tokens import AccessTokenVerifier

Record = dict[str, object]
Collections = Mapping[str, tuple[Record, ...]]


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """A sample API. `base_path` is the prefix of its paths, like `/v1`."""

    id: str
    name: str
    issuer: str
    jwks_uri: str
    audience: str
    collections: Collections
    base_path: str = "/v1"
    clock: Clock = now


class Records:
    """The records of one API, in memory. Reading needs `read:<collection>`, adding `write:<collection>`,
    deleting `delete:<collection>`.
    """

    def __init__(self, collections: Collections) -> None:
        self._collections = {name: [copy.deepcopy(row) for row in rows] for name, rows in collections.items()}
        self._numbers = {name: itertools.count(len(rows) + 1) for name, rows in collections.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the collections."""
        return tuple(self._collections)

    def all(self, collection: str) -> list[Record]:
        """All records of a collection."""
        return self._collections[collection]

    def find(self, collection: str, record_id: str) -> Record | None:
        """The record with this id."""
        return next((row for row in self._collections[collection] if row["id"] == record_id), None)

    def remove(self, collection: str, record_id: str) -> bool:
        """Delete a record. Returns False when there is none with this id."""
        rows = self._collections[collection]
        kept = [row for row in rows if row["id"] != record_id]
        self._collections[collection] = kept
        return len(kept) < len(rows)

    def add(self, collection: str, fields: Mapping[str, object]) -> Record:
        """Store a record under a new id and return it."""
        rows = self._collections[collection]
        record = {**fields, "id": f"NEW-{next(self._numbers[collection])}"}
        rows.append(record)
        return record


class SampleApi:
    """One API that accepts the access tokens of one provider."""

    def __init__(self, settings: ApiSettings) -> None:
        self.settings = settings
        self.records = Records(settings.collections)
        self.announcements = Announcements()
        self.verifier = AccessTokenVerifier(
            issuer=settings.issuer,
            audience=settings.audience,
            jwks_uri=settings.jwks_uri,
            clock=settings.clock,
        )

    def below_base(self, path: str) -> str:
        """The path without the API's base path."""
        return path.removeprefix(self.settings.base_path)
