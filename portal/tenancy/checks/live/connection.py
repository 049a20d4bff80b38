"""Live checks: name lookup, TCP and TLS of the issuer's host."""

from __future__ import annotations

import asyncio
import errno
from datetime import UTC, datetime
from urllib.parse import urlsplit

from portal.errors import OutboundFailed, OutboundRefused, OutboundTimeout, PortalError
from portal.oidc.quoting import address
from portal.outbound.inspection import CertificateProblem, Inspection, ServerCertificate
from portal.outbound.tls import Tls
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

CONNECT_SECONDS = 3.0
EXPIRY_NOTICE = 30 * 86_400.0
_SHOWN_ADDRESSES = 4
_PRIVATE_RULES = ("private", "loopback")


def provider_url(context: Context) -> str:
    """Return the URL that is asked first: the issuer, or an endpoint where the tenant file has them all."""
    provider = context.provider
    return provider.issuer if provider.discovery else provider.endpoints.token or provider.issuer


async def check_dns(context: Context) -> list[Finding]:
    """Look up the issuer's host; its addresses must be allowed."""
    url = provider_url(context)
    try:
        addresses = await context.http.addresses(url, tenant=context.tenant.slug)
    except OutboundRefused as error:
        return failed(error.detail, refusal_advice(error), context.where("issuer"))
    except OutboundFailed as error:
        advice = "check the spelling of the issuer; a name of an internal network needs its name server here"
        return failed(f"{host_of(url)}: {error.detail}", advice, context.where("issuer"))
    context.facts.resolved = True
    more = len(addresses) - _SHOWN_ADDRESSES
    listed = ", ".join(addresses[:_SHOWN_ADDRESSES]) + (f" and {more} more" if more > 0 else "")
    name = urlsplit(url).hostname
    return passed(f"{name} is an address" if addresses == (name,) else f"{name} is {listed}")


async def check_tls(context: Context) -> list[Finding]:
    """Connect to the issuer's host, and check its certificate: chain, expiry, name."""
    if not context.facts.resolved:
        raise NotPossible("the host has no usable address: see dns")
    url = provider_url(context)
    try:
        findings = await inspected(context, url, tls=context.provider.tls, key="issuer")
    except PortalError as error:
        return [await _without_connection(context, url, error)]
    context.facts.reachable = findings[0].status is not Status.FAIL
    return findings


async def inspected(context: Context, url: str, *, tls: Tls, key: str) -> list[Finding]:
    """Check the connection and certificate of a URL's host.

    Parameters: key, of the tenant file that has the URL. Raises: OutboundRefused, OutboundFailed.
    """
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            inspection = await context.http.inspect(url, tenant=context.tenant.slug, tls=tls)
    except TimeoutError:
        seen = f"{host_of(url)} did not complete the connection within {CONNECT_SECONDS:g} s"
        advice = "check the port (a server without TLS may be silent), and whether a firewall drops packets"
        return failed(seen, advice, context.where(key))
    if inspection.problem is not None:
        return [_certificate_failure(context, url, inspection, tls=tls, key=key)]
    if urlsplit(url).scheme == "http":
        return passed(f"{host_of(url)} accepts connections; http on this machine, so there is no TLS")
    return _expiry(context, url, inspection.certificate)


def require_connection(context: Context) -> None:
    """Raises: NotPossible if an earlier check could not connect to the provider."""
    if not context.facts.reachable:
        raise NotPossible("the provider cannot be reached: see dns and tls")


def refusal_advice(error: OutboundRefused) -> str:
    """Return what to do about an address that the portal does not connect to."""
    if error.detail.startswith(_PRIVATE_RULES):
        return (
            "use a public address; for a provider in your own network the operator sets "
            "allow_private_networks in portal.yaml"
        )
    return "write a public https URL"


def plain_reason(error: PortalError) -> str:
    """Return why there is no connection; one refused at every address of a host is named once."""
    if f"[Errno {errno.ECONNREFUSED}]" in error.detail:
        return "connection refused"
    return error.detail


def no_response(
    context: Context, url: str, error: OutboundFailed, *, seconds: float, key: str
) -> list[Finding]:
    """Return the failure of a request that got no usable response.

    Parameters: seconds, its limit; key, of the tenant file that has the URL.
    """
    if isinstance(error, OutboundTimeout):
        advice = "try again later; the provider or a firewall in front of it does not respond"
        return failed(f"{address(url)} did not respond within {seconds:g} s", advice)
    return failed(f"{address(url)}: {plain_reason(error)}", "", context.where(key))


def _expiry(context: Context, url: str, certificate: ServerCertificate | None) -> list[Finding]:
    host = host_of(url)
    if certificate is None:
        return passed(f"the certificate of {host} is accepted")
    day = _day(certificate.not_after)
    if certificate.not_after - context.clock() <= EXPIRY_NOTICE:
        advice = "renew it before that day; then no sign-in works"
        return warned(f"the certificate of {host} expires on {day}", advice)
    return passed(f"the certificate of {host} is accepted and expires on {day}")


def _certificate_failure(
    context: Context, url: str, inspection: Inspection, *, tls: Tls, key: str
) -> Finding:
    host, certificate = host_of(url), inspection.certificate
    names = context.quote(", ".join(certificate.names) if certificate else "other names", 120)
    issuer = context.quote(certificate.issuer if certificate else "an unknown authority", 120)
    match inspection.problem:
        case CertificateProblem.EXPIRED:
            when = f" on {_day(certificate.not_after)}" if certificate else ""
            seen, advice = f"the certificate of {host} expired{when}", "renew it at the provider"
        case CertificateProblem.NOT_YET_VALID:
            when = f" before {_day(certificate.not_before)}" if certificate else ""
            seen = f"the certificate of {host} is not valid{when}"
            advice = "correct the clock of this machine, or replace the certificate at the provider"
        case CertificateProblem.WRONG_NAME:
            seen = f"the certificate of {host} is for {names}"
            advice = f"write the host name that it is for in {key}, or replace the certificate"
        case CertificateProblem.UNKNOWN_AUTHORITY:
            seen = f"the certificate of {host} is signed by {issuer}, which is not a known authority"
            advice = _authority_advice(tls)
        case _:
            seen = f"the certificate of {host} is not accepted: {context.quote(inspection.reason)}"
            advice = "replace it at the provider"
    in_file = {CertificateProblem.UNKNOWN_AUTHORITY: "tls.ca", CertificateProblem.WRONG_NAME: key}
    place = in_file.get(inspection.problem) if inspection.problem else None
    return Finding(Status.FAIL, seen, advice, context.where(place) if place else "")


def _authority_advice(tls: Tls) -> str:
    if tls.authorities is not None:
        return (
            "tls.ca holds other authorities: write the one that signed it, or let the server send its chain"
        )
    return (
        "for an authority of your own, write tls: {ca: file:/path/to/authority.pem}; for a public one, let "
        "the server send its intermediate certificates"
    )


async def _without_connection(context: Context, url: str, error: PortalError) -> Finding:
    """Return the failure to connect; say so if the server speaks the other of http and https."""
    detail = f"{host_of(url)}: {plain_reason(error)}"
    scheme, rest = url.partition("://")[::2]
    if scheme == "https" and "no TLS connection" in error.detail:
        seen = f"{detail}: the server does not speak TLS at this port"
        return Finding(
            Status.FAIL, seen, "check the port; providers are reached with https", context.where("issuer")
        )
    if scheme == "http" and isinstance(error, OutboundRefused):
        return Finding(Status.FAIL, detail, f"write issuer: https://{rest}", context.where("issuer"))
    advice = "check the host name and port, and whether a firewall lets this machine connect"
    return Finding(Status.FAIL, detail, advice, context.where("issuer"))


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
