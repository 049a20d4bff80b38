"""Responses to reverse proxies. They must never be kept: the next one may be different."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from portal.errors import LoginRequired, PortalError
from portal.oidc.errors import RefreshRejected
from portal.web.api_proxy.response import ResponseHeaders
from portal.web.forward_auth.decision import Question
from portal.web.problems import PROBLEM_HEADERS, problem
from portal.web.return_to import OfOther, safe_return_to


def allowed_response(fields: Sequence[tuple[str, str]]) -> ResponseHeaders:
    """Return the headers of the response to a request that may pass."""
    return ResponseHeaders([*fields, ("Content-Length", "0")])


def refused_response(
    error: PortalError, question: Question | None, *, request_id: str, belongs_to_other: OfOther
) -> tuple[int, ResponseHeaders, bytes]:
    """Return status, headers and body of the response to a request that may not pass.

    Parameters: question, None when the proxy's request is refused; belongs_to_other, of the front ends.
    """
    status, more, fields = error.status, dict[str, object](), list(PROBLEM_HEADERS)
    if question is not None and isinstance(error, LoginRequired | RefreshRejected):
        login_url = _login_url(question, belongs_to_other)
        more["login_url"] = login_url
        if question.is_navigation:
            # absolute: some proxies resolve it against the address at which they reach the portal
            fields.append(("Location", f"{question.site.origin}{login_url}"))
            status = 302 if question.original.follows_redirects else status
    body = problem(error, request_id, **more).encode()
    fields.append(("Content-Length", str(len(body))))
    if error.retry_after is not None:
        fields.append(("Retry-After", str(error.retry_after)))
    return status, ResponseHeaders(fields), body


def _login_url(question: Question, belongs_to_other: OfOther) -> str:
    """The path of the login that leads back to the page; to the tenant's home after other requests."""
    slug = question.tenant.slug
    requested = question.original.uri if question.is_navigation else None
    return_to = safe_return_to(requested, slug, belongs_to_other=belongs_to_other)
    return f"/t/{slug}/login?{urlencode({'return_to': return_to})}"
