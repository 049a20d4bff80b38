"""Live check: the endpoints are there, use https, and are at allowed addresses."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from urllib.parse import urlsplit

from portal.errors import OutboundFailed, OutboundRefused, PortalError
from portal.oidc.discovery import read_metadata
from portal.oidc.errors import MetadataRejected
from portal.oidc.provider import ProviderMetadata
from portal.outbound.tls import Tls
from portal.tenancy.checks.live.connection import inspected, plain_reason, provider_url, refusal_advice
from portal.tenancy.checks.live.model import Context, Finding, NotPossible, Status, failed, host_of, passed

_URLS = tuple(
    field.name for field in fields(ProviderMetadata) if field.name.endswith(("_endpoint", "jwks_uri"))
)


async def check_endpoints(context: Context) -> list[Finding]:
    """Read the endpoints as a sign-in does, and connect to each host that is not the issuer's."""
    document = context.facts.document
    if document is None:
        raise NotPossible("the metadata is not known: see discovery")
    try:
        metadata = read_metadata(document, context.provider, context.http.check_url)
    except MetadataRejected as error:
        return failed(f"metadata: {error.detail}", _advice(context), context.where("endpoints"))
    context.facts.metadata = metadata
    urls = {name: url for name in _URLS if (url := getattr(metadata, name))}
    hosts = {_origin(url): name for name, url in urls.items()}
    hosts.pop(_origin(provider_url(context)), None)
    found = await asyncio.gather(*(_host(context, name, urls[name]) for name in hosts.values()))
    problems = [finding for findings in found for finding in findings if finding.status is not Status.PASS]
    if problems:
        return problems
    listed = ", ".join(sorted({host_of(url) for url in urls.values()}))
    return passed(f"{len(urls)} endpoints at {context.quote(listed)}")


async def _host(context: Context, name: str, url: str) -> list[Finding]:
    provider = context.provider
    tls = provider.tls
    if name not in {"authorization_endpoint", "jwks_uri"}:
        tls = Tls(provider.tls_authorities, provider.client_certificate)
    key = f"endpoints.{name.removesuffix('_endpoint').removesuffix('_uri')}"
    try:
        return await inspected(context, url, tls=tls, key=key)
    except OutboundRefused as error:
        return failed(f"{name}: {error.detail}", refusal_advice(error), context.where(key))
    except (OutboundFailed, PortalError) as error:
        # the user's browser opens this one; the portal itself never does
        status = Status.WARN if name == "authorization_endpoint" else Status.FAIL
        seen = f"{name} at {host_of(url)}: {plain_reason(error)}"
        return [Finding(status, seen, "check whether this machine can reach that host", context.where(key))]


def _advice(context: Context) -> str:
    if context.provider.discovery:
        return f"correct the metadata at {context.guide.title}, or write the endpoint in the tenant file"
    return "with discovery: false, write every endpoint"


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
