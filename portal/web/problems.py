"""Errors as problem+json and log lines. base.py renders error pages."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any

import structlog
from tornado.httputil import HTTPHeaders
from tornado.web import HTTPError, RequestHandler

from portal.errors import (
    BadRequest,
    CrossSiteRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    PortalError,
    StoreUnavailable,
    TooManyRequests,
)
from portal.ops.limit_metrics import LimitMetrics
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
    if isinstance(error, TooManyRequests):
        return  # `client_limits` writes one line a minute
    if isinstance(error, PortalError):
        rule = getattr(error, "rule", error.code)
        _log.warning("request_failed", code=error.code, rule=rule, detail=error.detail, path=path)
    elif isinstance(error, HTTPError):
        _log.info("request_refused", status=error.status_code, path=path)
    else:
        _log.error("unexpected_error", **error_fields(error, tb), path=path)


def portal_error_of(status: int, exc_info: Any) -> PortalError:
    """Return the error behind a response that Tornado makes. Parameters: exc_info, as of `write_error`."""
    error = exc_info[1] if exc_info else None
    if isinstance(error, PortalError):
        return error
    by_status: dict[int, PortalError] = {
        400: BadRequest(),
        403: CrossSiteRequest(),
        404: NotFound(),
        405: MethodNotAllowed(),
        413: PayloadTooLarge(),
        503: StoreUnavailable(),
    }
    return by_status.get(status, PortalError())


def prefers_json(headers: HTTPHeaders) -> bool:
    """Whether the client prefers JSON to a page."""
    accept = headers.get("Accept", "")
    return "json" in accept and "text/html" not in accept


def counted_error(handler: RequestHandler, limits: LimitMetrics, status: int, exc_info: Any) -> PortalError:
    """The error that a response reports; if it is a limit of a tenant, it is counted there."""
    tenant = getattr(handler, "path_kwargs", {}).get("tenant") or ""  # none when the request is malformed
    return limits.reported(portal_error_of(status, exc_info), tenant)
