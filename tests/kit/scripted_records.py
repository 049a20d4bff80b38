"""TXT records that a test scripts, in place of name servers."""

from __future__ import annotations

from collections.abc import Collection

from portal.outbound.txt_records import Finding, TxtRecords, TxtSearch


class ScriptedRecords(TxtRecords):
    """Finds the texts of `texts`, by name; `finding` replaces that for every name."""

    def __init__(self) -> None:
        super().__init__([("127.0.0.1", 1)])
        self.texts: dict[str, str] = {}
        self.finding: Finding | None = None
        self.searched: list[str] = []

    async def find(self, name: str, wanted: Collection[str], *, tenant: str) -> TxtSearch:
        self.searched.append(name)
        if self.finding is not None:
            return TxtSearch(self.finding)
        text = self.texts.get(name)
        if text is None:
            return TxtSearch(Finding.NO_RECORD)
        return TxtSearch(Finding.FOUND, text) if text in wanted else TxtSearch(Finding.OTHER_RECORDS)
