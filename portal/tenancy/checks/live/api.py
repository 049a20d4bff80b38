"""Live check: the tenant's APIs are reachable and refuse calls without a token."""

from __future__ import annotations

import asyncio

from portal.errors import OutboundFailed, OutboundRefused
from portal.outbound.tls import Tls
from portal.tenancy.checks.live.connection import inspected, plain_reason, refusal_advice
from portal.tenancy.checks.live.model import (
    Context,
    Finding,
    NotPossible,
    Status,
    failed,
    host_of,
    passed,
    warned,
)
from portal.tenancy.model import Api, ApiAccess

SECONDS = 4.0


async def check_api(context: Context) -> list[Finding]:
    """Call each API without a token; read the status only."""
    if not context.tenant.every_api:
        raise NotPossible("the tenant file has no api")
    found = await asyncio.gather(*(_check(context, api) for api in context.tenant.every_api))
    return [finding for findings in found for finding in findings]


async def _check(context: Context, api: Api) -> list[Finding]:
    path = api.example_paths[0] if api.example_paths else "/"
    url, key = api.base_url + path, f"{api.key}.base_url"
    certificate = context.provider.client_certificate if api.mtls else None
    tls = Tls(api.tls_authorities, certificate)
    try:
        connection = await inspected(context, url, tls=tls, key=key)
        if connection[0].status is Status.FAIL:
            return connection
        stream = await context.http.open_stream(
            "GET",
            url,
            tenant=context.tenant.slug,
            headers=(("User-Agent", "tenant-portal"), ("Accept", "application/json")),
            head_timeout=SECONDS,
            tls=tls,
        )
    except OutboundRefused as error:
        return failed(error.detail, refusal_advice(error), key)
    except OutboundFailed as error:
        advice = f"check {key}, and whether this machine can reach that host"
        return failed(f"{host_of(url)}: {plain_reason(error)}", advice, key)
    await stream.aclose()
    warnings = [finding for finding in connection if finding.status is Status.WARN]
    return [*_judge(api, path, stream.status), *warnings]


def _judge(api: Api, path: str, status: int) -> list[Finding]:
    seen = f"GET {api.base_url}{path} without a token responded with {status}"
    if status >= 500:
        return failed(seen, "the API is not available; a gateway in front of it may be misconfigured")
    if status in {404, 405}:
        advice = f"write a path that exists first in {api.key}.example_paths, or correct {api.key}.base_url"
        unclear = f"{seen}, which does not show whether it needs a token"
        return warned(unclear, advice, f"{api.key}.example_paths")
    refuses, accepts = status in {401, 403}, 200 <= status < 300
    if api.access is ApiAccess.ANONYMOUS:
        return _judge_anonymous(api, seen, accepts=accepts, refuses=refuses)
    if refuses:
        return passed(seen)
    if accepts:
        return warned(f"{seen}: it needs no token", "let the API refuse calls without a token")
    return warned(seen, f"the portal expects 401 or 403: check {api.key}.base_url", f"{api.key}.base_url")


def _judge_anonymous(api: Api, seen: str, *, accepts: bool, refuses: bool) -> list[Finding]:
    if accepts:
        return passed(seen)
    if refuses:
        advice = f"it needs a token, and no call has one: change {api.key}.access"
        return failed(seen, advice, f"{api.key}.access")
    return warned(seen, f"the portal expects 200: check {api.key}.base_url", f"{api.key}.base_url")
