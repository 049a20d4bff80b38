"""For load balancers: alive, and ready to serve."""

from __future__ import annotations

from portal.web.base import PortalHandler


class HealthHandler(PortalHandler):
    """`GET /healthz`: the process answers."""

    async def get(self) -> None:
        self.finish({"status": "ok"})

    head = get


class ReadyHandler(PortalHandler):
    """`GET /readyz`: the database answers too."""

    async def get(self) -> None:
        await self.portal.store.ping()
        registry = self.portal.registry
        self.finish(
            {
                "status": "ready",
                "tenants": len(registry.all()),
                "tenants_without_file": registry.without_file,
            }
        )

    head = get
