"""Counts the logins that could not be finished."""

from __future__ import annotations

from typing import Any

from portal.oidc.errors import IdTokenRejected, SignedResponseRejected
from portal.web.base import PageHandler
from portal.web.problems import portal_error_of


class CountedLoginHandler(PageHandler):
    """Base of the handlers that finish a login attempt."""

    is_test = False
    """Whether the request belongs to a test login of a draft, which is not counted."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        super().write_error(status_code, **kwargs)
        if self.is_test or self.get_status() == 303:  # 303: another request tells what became of it
            return
        error = portal_error_of(status_code, kwargs.get("exc_info"))
        broke = error.rule if isinstance(error, IdTokenRejected | SignedResponseRejected) else ""
        self.portal.metrics.logins.refused(self.path_tenant or "", error, broke=broke)
