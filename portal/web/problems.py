"""Errors as programs and logs see them; pages are in base.py."""

from __future__ import annotations

import json
import traceback
from types import TracebackType

import structlog
from tornado.web import HTTPError

from portal.errors import PortalError

_log = structlog.get_logger("portal.errors")

PROBLEM_HEADERS = (("Content-Type", "application/problem+json"), ("X-Portal-Problem", "1"))
"""What every problem of the portal carries, and nothing else.

An API may send problem+json of its own. It cannot send `X-Portal-Problem`, which proxy_rules takes out of its
responses, so that a page knows whose `login_url` it follows.
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
    """Write one line. An unexpected error's own message is left out: nobody knows what is in it.

    `rule` is what was broken, for whoever runs the tenant; tenant, provider and request id come from the
    context of the request, as far as they are known.
    """
    if isinstance(error, PortalError):
        rule = getattr(error, "rule", error.code)
        _log.warning("request_failed", code=error.code, rule=rule, detail=error.detail, path=path)
    elif isinstance(error, HTTPError):
        _log.info("request_refused", status=error.status_code, path=path)
    else:
        frames = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(tb)]
        _log.error("unexpected_error", error=type(error).__name__, frames=frames, path=path)
