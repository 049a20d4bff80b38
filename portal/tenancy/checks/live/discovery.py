"""Live check: the provider's metadata, and the issuer to the letter (OIDC Discovery 4.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

from portal.errors import OutboundFailed, PortalError
from portal.oidc.discovery import discovery_url
from portal.oidc.jose.json_reading import JsonUnreadable, read_object
from portal.oidc.quoting import address, quoted
from portal.outbound.client import OutboundResponse
from portal.tenancy.checks.live.connection import no_response, require_connection
from portal.tenancy.checks.live.model import Context, Finding, failed, passed
from portal.tenancy.checks.live.page_text import visible_text
from portal.tenancy.checks.live.stated_urls import redirect_target, split_stated

SECONDS = 4.0
_CANDIDATE_SECONDS = 2.0
_MOST_CANDIDATES = 6
_WELL_KNOWN = "/.well-known/"


async def check_discovery(context: Context) -> list[Finding]:
    """Fetch the metadata; its issuer must be that of the tenant file."""
    provider = context.provider
    require_connection(context)
    if not provider.discovery:
        context.facts.document = {}
        return passed("discovery: false, so the endpoints are those of the tenant file")
    if _WELL_KNOWN in provider.issuer:
        return await _discovery_url_as_issuer(context)
    url = discovery_url(provider.issuer)
    try:
        response = await context.get(url, seconds=SECONDS)
    except OutboundFailed as error:
        return await _no_response(context, url, error)
    if response.status != 200:
        return await _not_found(context, url, response)
    return await _judge(context, url, response)


async def _judge(context: Context, url: str, response: OutboundResponse) -> list[Finding]:
    provider, where = context.provider, context.where("issuer")
    try:
        document = read_object(response.body)
    except JsonUnreadable:
        seen = f"{address(url)} responded with a document that is not JSON: {_excerpt(context, response)}"
        return failed(seen, await _did_you_mean(context) or _find_out(context), where)
    expected = provider.issuer if provider.issuer_template is None else provider.issuer_template.text
    stated = document.get("issuer")
    if stated != expected:
        seen = f"the provider states issuer {quoted(stated)}; the tenant file has {quoted(expected)}"
        return failed(seen, _mismatch_advice(expected, stated), where)
    context.facts.document = document
    return passed(f"{address(url)} states the issuer of the tenant file")


async def _discovery_url_as_issuer(context: Context) -> list[Finding]:
    issuer = context.provider.issuer.partition(_WELL_KNOWN)[0]
    stated = await _stated_issuer(context, issuer)
    seen = f"{quoted(context.provider.issuer)} is the address of the metadata, not the issuer"
    return failed(seen, f"write issuer: {quoted(stated or issuer)}", context.where("issuer"))


async def _no_response(context: Context, url: str, error: OutboundFailed) -> list[Finding]:
    """Return the failure; a server that speaks https may not respond to http at all."""
    if advice := await _https_instead(context):
        return failed(f"{address(url)} is not available with http", advice, context.where("issuer"))
    return no_response(context, url, error, seconds=SECONDS, key="issuer")


async def _not_found(context: Context, url: str, response: OutboundResponse) -> list[Finding]:
    where, status = context.where("issuer"), response.status
    seen = f"{address(url)} responded with {status}"
    if 300 <= status < 400:
        target = redirect_target(url, response.header("Location"))
        if not split_stated(target).netloc:
            return failed(f"{seen}, a redirect that cannot be read", _find_out(context), where)
        advice = f"write issuer: {quoted(_issuer_of(target))}, where it redirects to" if target != url else ""
        return failed(f"{seen}, a redirect to {address(target)}", advice, where)
    if text := _excerpt(context, response):
        seen = f"{seen}: {text}"
    if status >= 500 or status == 429:
        return failed(seen, "the provider is not available; try again later")
    advice = await _https_instead(context) or await _did_you_mean(context) or _find_out(context)
    return failed(seen, context.guide.advice(text) or advice, where)


def _mismatch_advice(expected: str, stated: object) -> str:
    if not isinstance(stated, str) or not stated:
        return "the document is not OpenID Connect metadata: check the issuer"
    advice = f"did you mean issuer: {quoted(stated)}? "
    if stated.rstrip("/") == expected.rstrip("/"):
        return f"{advice}They differ in the slash at the end"
    if stated.partition("://")[2] == expected.partition("://")[2]:
        return f"{advice}They differ in http and https"
    if stated.lower() == expected.lower():
        return f"{advice}They differ in capital letters"
    if split_stated(stated).netloc == urlsplit(expected).netloc:
        return f"{advice}They differ in the path"
    return f"{advice}They differ in the host; write it only if that is your provider"


async def _https_instead(context: Context) -> str:
    """Return the advice to write https if the server speaks TLS at the port of an http issuer."""
    issuer = context.provider.issuer
    if not issuer.startswith("http:"):
        return ""
    secure = f"https:{issuer.removeprefix('http:')}"
    try:
        async with asyncio.timeout(_CANDIDATE_SECONDS):
            await context.http.inspect(secure, tenant=context.tenant.slug, tls=context.provider.tls)
    except (PortalError, TimeoutError):
        return ""
    return f"the server speaks https at this port: write issuer: {quoted(secure)}"


async def _did_you_mean(context: Context) -> str:
    """Ask for metadata at similar issuers; return the advice to write the first that exists."""
    candidates = list(_candidates(context.provider.issuer))[:_MOST_CANDIDATES]
    stated = await asyncio.gather(*(_stated_issuer(context, one) for one in candidates))
    found = next((issuer for issuer in stated if issuer), None)
    return f"did you mean issuer: {quoted(found)}? There is metadata" if found else ""


def _candidates(issuer: str) -> dict[str, None]:
    """Issuers that differ in the path, the most similar first."""
    parts = urlsplit(issuer)
    segments = [part for part in parts.path.split("/") if part]
    paths = []
    if "realms" in segments:  # Keycloak before version 17 has /auth
        auth = segments[1:] if segments[0] == "auth" else ["auth", *segments]
        paths.append(auth)
        at = segments.index("realms")
        paths.append(segments[: at + 2])
        if len(segments) > at + 1:
            paths.append([*segments[: at + 1], segments[at + 1].lower()])
    if segments[:1] == ["admin"] and len(segments) > 1:  # Keycloak's Admin Console
        paths.append(["realms", segments[1]])
    paths += [segments[:count] for count in range(len(segments) - 1, -1, -1)]
    paths += [[*segments, "v2.0"], [*segments, "oauth2", "default"]]
    urls = (urlunsplit((parts.scheme, parts.netloc, "/".join(["", *path]), "", "")) for path in paths)
    return dict.fromkeys(url for url in urls if url.rstrip("/") != issuer.rstrip("/"))


async def _stated_issuer(context: Context, issuer: str) -> str | None:
    """Return the issuer that the metadata at an issuer states; None if there is none."""
    try:
        response = await context.get(discovery_url(issuer), seconds=_CANDIDATE_SECONDS)
        document: Mapping[str, object] = read_object(response.body) if response.status == 200 else {}
    except (PortalError, JsonUnreadable):
        return None
    stated = document.get("issuer")
    same_host = isinstance(stated, str) and split_stated(stated).netloc == urlsplit(issuer).netloc
    return str(stated) if same_host else None


def _issuer_of(url: str) -> str:
    parts = urlsplit(url)
    path = parts.path.partition(_WELL_KNOWN)[0]
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def _find_out(context: Context) -> str:
    if "/realms/" in context.provider.issuer:
        return "check the name of the realm in the issuer; capital letters count"
    address_of_metadata = f"<issuer>{_WELL_KNOWN}openid-configuration"
    return f"check the issuer: {context.guide.title} publishes its metadata at {address_of_metadata}"


def _excerpt(context: Context, response: OutboundResponse) -> str:
    """Return the error that a response states, or the beginning of its page."""
    try:
        document = read_object(response.body)
    except JsonUnreadable:
        return context.quote(visible_text(response.body), 120)
    texts = [document[name] for name in ("error", "error_description", "message") if name in document]
    return context.quote(": ".join(str(text) for text in texts if isinstance(text, str)), 120)
