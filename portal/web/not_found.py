"""Addresses that are not in routes.py."""

from __future__ import annotations

from portal.errors import BadRequest, NotFound
from portal.web.base import PageHandler
from portal.web.logged_path import logged_path


class NotFoundHandler(PageHandler):
    """Every address that is not in routes.py.

    404, or 400 when the request target is not a path (RFC 9112 3.2.2).
    """

    async def prepare(self) -> None:
        await super().prepare()
        if not (self.request.uri or "").startswith("/"):
            raise BadRequest("the request target is not a path")
        raise NotFound(f"no page at {logged_path(self.request.path)}")
