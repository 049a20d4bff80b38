"""Live check: the tenant's API is reachable and refuses calls without a token."""

from __future__ import annotations

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
from portal.tenancy.model import Api

SECONDS = 4.0


async def check_api(context: Context) -> list[Finding]:
    """Call the API without a token; read the status only."""
    api = context.tenant.api
    if api is None:
        raise NotPossible("the tenant file has no api")
    path = api.example_paths[0] if api.example_paths else "/"
    url = api.base_url + path
    certificate = context.provider.client_certificate if api.mtls else None
    tls = Tls(api.tls_authorities, certificate)
    try:
        connection = await inspected(context, url, tls=tls, key="api.base_url")
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
        return failed(error.detail, refusal_advice(error), "api.base_url")
    except OutboundFailed as error:
        advice = "check api.base_url, and whether this machine can reach that host"
        return failed(f"{host_of(url)}: {plain_reason(error)}", advice, "api.base_url")
    await stream.aclose()
    warnings = [finding for finding in connection if finding.status is Status.WARN]
    return [*_judge(api, path, stream.status), *warnings]


def _judge(api: Api, path: str, status: int) -> list[Finding]:
    seen = f"GET {api.base_url}{path} without a token responded with {status}"
    if status in {401, 403}:
        return passed(seen)
    if 200 <= status < 300:
        return warned(f"{seen}: it needs no token", "let the API refuse calls without a token")
    if status >= 500:
        return failed(seen, "the API is not available; a gateway in front of it may be misconfigured")
    if status in {404, 405}:
        advice = "write a path that exists first in api.example_paths, or correct api.base_url"
        return warned(f"{seen}, which does not show whether it needs a token", advice, "api.example_paths")
    advice = "the portal expects 401 or 403: check api.base_url"
    return warned(seen, advice, "api.base_url")
