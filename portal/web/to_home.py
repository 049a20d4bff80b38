"""`/t/{tenant}` without its slash."""

from __future__ import annotations

from portal.web.base import PageHandler


class ToHomeHandler(PageHandler):
    """Leads to the tenant home."""

    async def get(self, tenant: str) -> None:
        self.redirect(f"/t/{tenant}/", permanent=True)
