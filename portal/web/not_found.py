"""Every address that routes.py does not name."""

from __future__ import annotations

from portal.errors import BadRequest, NotFound
from portal.web.base import PageHandler


class NotFoundHandler(PageHandler):
    """Responds with 404, or 400 when the request target is not a path of the portal (RFC 9112 3.2.2)."""

    async def prepare(self) -> None:
        await super().prepare()
        if not (self.request.uri or "").startswith("/"):
            raise BadRequest("the request target is not a path")
        raise NotFound(f"no page at {self.request.path}")
