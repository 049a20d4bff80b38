"""Errors as problem+json and log lines. base.py renders error pages."""

from __future__ import annotations

import json
from types import TracebackType

import structlog
from tornado.web import HTTPError

from portal.errors import PortalError
from portal.ops.logging import error_fields

_log = structlog.get_logger("portal.errors")

PROBLEM_HEADERS = (("Content-Type", "application/problem+json"), ("X-Portal-Problem", "1"))
"""Headers of every problem response of the portal.

An API may send its own problem+json. `api_proxy.rules` removes `X-Portal-Problem` from API responses, so a
page can trust the `login_url` of a response that has this header.
"""


def problem(error: PortalError, request_id: str, **more: object) -> str:
    """Return an error as application/problem+json (RFC 9457)."""
    return json.dumps(
        {
            "type": f"urn:tenant-portal:problem:{error.code}",
            "title": error.title,
            "status": error.status,
            "code": error.code,
            "detail": error.explanation or error.advice,
            "request_id": request_id,
            **more,
        }
    )


def log_failure(error: BaseException | None, tb: TracebackType | None, *, path: str) -> None:
    """Log an error in one line. The message of an unexpected error is omitted: it may contain a secret.

    `rule` names the violated rule for the tenant admin. Tenant, provider and request id come from the log
    context of the request, if known.
    """
    if isinstance(error, PortalError):
        rule = getattr(error, "rule", error.code)
        _log.warning("request_failed", code=error.code, rule=rule, detail=error.detail, path=path)
    elif isinstance(error, HTTPError):
        _log.info("request_refused", status=error.status_code, path=path)
    else:
        _log.error("unexpected_error", **error_fields(error, tb), path=path)
