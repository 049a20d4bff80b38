"""Counts and records the logins that could not be finished."""

from __future__ import annotations

from typing import Any

from portal.admin.actors import Actor, ActorType
from portal.display_text import display_text
from portal.errors import PortalError, SignInNotAllowed
from portal.oidc.errors import (
    AttemptUnknown,
    IdTokenRejected,
    LoginRejected,
    ProviderDenied,
    SignedResponseRejected,
)
from portal.web.admin.acts import act_of
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
        tenant = self.path_tenant or ""
        self.portal.metrics.logins.refused(tenant, error, broke=broke)
        if not isinstance(error, LoginRejected | SignInNotAllowed) or isinstance(error, AttemptUnknown):
            return  # nothing was refused: what any stranger can send, or a failure of the portal
        if self.portal.registry.get(tenant) is None or (
            isinstance(error, ProviderDenied) and error.cancelled
        ):
            return
        rule = f"{error.code}:{broke}" if broke else error.code
        self.portal.user_events.sign_in_refused(tenant, rule, act_of(self, *_refused_account(error)))


def _refused_account(error: PortalError) -> tuple[Actor, str]:
    """The account that was refused, and the access rule that refused it; nothing if they are unknown."""
    if not isinstance(error, SignInNotAllowed):
        return Actor(ActorType.USER), ""
    subject, issuer = error.claims.get("sub", ""), error.claims.get("iss", "")
    if not isinstance(subject, str) or not isinstance(issuer, str):
        return Actor(ActorType.USER), display_text(error.rule, limit=300)
    return Actor(ActorType.USER, subject, issuer), display_text(error.rule, limit=300)
