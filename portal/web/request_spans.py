"""Spans of requests and of calls to APIs: what they say, and whose trace they belong to (THREATS S9)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tornado.httputil import HTTPHeaders
from tornado.routing import Rule, URLSpec

from portal.trace_context import TraceContext, parse_traceparent
from portal.traces import Span, SpanKind, Tracer
from portal.web.client_address import is_trusted
from portal.web.context import Portal

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})
_GROUP = re.compile(r"\(\?P<(\w+)>[^()]*\)")

Patterns = Mapping[type, Sequence[tuple[re.Pattern[str], str]]]
"""By handler: its patterns, and how a span names them."""


def begin_span(portal: Portal, peer: str, headers: HTTPHeaders, method: str, request_id: str) -> Span | None:
    """Begin the span of a request; None without traces. Parameters: peer, the address it came from."""
    if portal.traces is None:
        return None
    span = portal.traces.request(_parent(portal, peer, headers))
    if not span.context.sampled:
        return span
    span.name = method if method in _METHODS else "_OTHER"  # as OpenTelemetry writes it
    span.attributes.update({"http.request.method": span.name, "portal.request_id": request_id})
    return span


def _parent(portal: Portal, peer: str, headers: HTTPHeaders) -> TraceContext | None:
    """What a proxy says that makes spans; None for everybody else, who could write into other traces."""
    traces = portal.settings.traces
    if traces is None or not traces.continue_proxy_traces:
        return None
    if not is_trusted(peer, portal.settings.trusted_proxies):
        return None
    sent = headers.get_list("traceparent")
    return parse_traceparent(sent[0]) if len(sent) == 1 else None


def end_span(portal: Portal, span: Span, status: int, *, route: str, tenant: str) -> None:
    """End the span of a request.

    Parameters: status, 0 without a response; route, the pattern of the path, never the path itself; tenant,
    from the path: left out unless there is such a tenant.
    """
    if portal.traces is None or span.ended:
        return
    if not span.context.sampled:
        portal.traces.end(span)
        return
    if route:
        span.name = f"{span.name} {route}"
        span.attributes["http.route"] = route
    if tenant and portal.registry.get(tenant) is not None:
        span.attributes["portal.tenant"] = tenant
    _set_status(span, status, error_from=500)
    portal.traces.end(span)


def call_span(traces: Tracer, tenant: str, api: str, method: str) -> Span | None:
    """Begin the span of a request to an API. Parameters: api, its name, empty for the default API."""
    span = traces.child("call API", SpanKind.CLIENT)
    if span is not None:
        span.attributes.update(
            {"http.request.method": method, "portal.tenant": tenant, "portal.api": api or "default"}
        )
    return span


def end_call_span(traces: Tracer, span: Span, status: int) -> None:
    """End it when the head of the response has arrived. Parameters: status, 0 without a response."""
    _set_status(span, status, error_from=400)
    traces.end(span)


def _set_status(span: Span, status: int, *, error_from: int) -> None:
    if status:
        span.attributes["http.response.status_code"] = status
    if not status or status >= error_from:
        span.error = str(status) if status else "no_response"


def patterns_of(rules: Iterable[Rule]) -> Patterns:
    """The patterns of each handler of an application. Parameters: rules, its routes."""
    found: dict[type, list[tuple[re.Pattern[str], str]]] = {}
    for rule in rules:
        if isinstance(rule, URLSpec):
            found.setdefault(rule.handler_class, []).append((rule.regex, _name(rule.regex.pattern)))
    return found


def _name(pattern: str) -> str:
    """As spans name it; empty for the pattern of all paths, which have no route."""
    if pattern.removesuffix("$") == ".*":
        return ""
    return _GROUP.sub(r"{\1}", pattern).removesuffix("$").replace("\\", "")


def route_of(patterns: Patterns, handler: type[Any], path: str) -> str:
    """The pattern by which a handler got a path; empty for what has none, such as a file of a front end."""
    return next((name for regex, name in patterns.get(handler, ()) if regex.match(path)), "")
