"""What the sample APIs of Acme and Globex know."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping

from portal.demo.api_handlers import ApiHandler

Record = dict[str, object]
Collections = Mapping[str, tuple[Record, ...]]

ACME: Collections = {
    "orders": (
        {
            "id": "A-1001",
            "customer": "Umbrella Ltd",
            "item": "Rocket skates",
            "quantity": 2,
            "total": "398.00",
            "currency": "EUR",
            "status": "shipped",
        },
        {
            "id": "A-1002",
            "customer": "Initech",
            "item": "Portable hole",
            "quantity": 1,
            "total": "1250.00",
            "currency": "EUR",
            "status": "packing",
        },
        {
            "id": "A-1003",
            "customer": "Hooli",
            "item": "Giant magnet",
            "quantity": 4,
            "total": "880.00",
            "currency": "EUR",
            "status": "new",
        },
    ),
}
GLOBEX: Collections = {
    "invoices": (
        {
            "id": "INV-77",
            "supplier": "Acme Corporation",
            "amount": "398.00",
            "currency": "EUR",
            "due": "2030-01-31",
            "paid": False,
        },
        {
            "id": "INV-78",
            "supplier": "Vandelay Industries",
            "amount": "2150.50",
            "currency": "USD",
            "due": "2030-02-15",
            "paid": True,
        },
    ),
    "projects": (
        {"id": "P-1", "name": "Weather machine", "lead": "Hank Huang", "progress": 0.7},
        {"id": "P-2", "name": "Seaside office", "lead": "Gina Gomez", "progress": 0.25},
    ),
}


class Records:
    """The records of one API, in memory; reading needs `read:<collection>`, adding `write:<collection>`."""

    def __init__(self, collections: Collections) -> None:
        self._collections = {name: [copy.deepcopy(row) for row in rows] for name, rows in collections.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the collections."""
        return tuple(self._collections)

    def all(self, collection: str) -> list[Record]:
        """Every record of a collection."""
        return self._collections[collection]

    def find(self, collection: str, record_id: str) -> Record | None:
        """The record of that id."""
        return next((row for row in self._collections[collection] if row["id"] == record_id), None)

    def add(self, collection: str, fields: Mapping[str, object]) -> Record:
        """Store a record under a new id and return it."""
        rows = self._collections[collection]
        record = {**fields, "id": f"NEW-{len(rows) + 1}"}
        rows.append(record)
        return record


class CollectionHandler(ApiHandler):
    """`/{collection}`: list the records, or add one."""

    endpoint = "collection"

    def needed_scope(self) -> str:
        action = "write" if self.request.method == "POST" else "read"
        return f"{action}:{self.path_args[0]}"

    async def get(self, collection: str) -> None:
        await self.respond(
            {"organisation": self.api.settings.name, collection: self.api.records.all(collection)}
        )

    async def post(self, collection: str) -> None:
        try:
            fields = json.loads(self.request.body or b"{}")
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            await self.fail(400, "invalid_body", "Send a JSON object.")
            return
        record = self.api.records.add(collection, {**fields, "created_by": self.caller.subject})
        self.set_header("Location", f"{self.api.settings.base_path}/{collection}/{record['id']}")
        await self.respond(record, status=201)


class RecordHandler(ApiHandler):
    """`/{collection}/{id}`: one record."""

    endpoint = "record"

    def needed_scope(self) -> str:
        return f"read:{self.path_args[0]}"

    async def get(self, collection: str, record_id: str) -> None:
        record = self.api.records.find(collection, record_id)
        if record is None:
            await self.fail(404, "not_found", "There is no such record.")
            return
        await self.respond(record)
