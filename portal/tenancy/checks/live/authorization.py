"""Live checks: the authorization endpoint, asked as for a browser that has no session.

The request has `prompt=none` (OIDC Core 3.1.2.1), so no page is needed to see the verdict, and without a
session no code can be issued. Nothing is followed: the response itself says what the provider thinks of it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Mapping

from portal.errors import OutboundFailed
from portal.oidc import authorization, request_protection
from portal.oidc.errors import ClientKeyMissing, MetadataRejected, PushedRequestRejected
from portal.oidc.jose.json_reading import JsonUnreadable, read_object
from portal.oidc.provider_errors import error_code
from portal.oidc.quoting import quoted
from portal.outbound.client import OutboundResponse
from portal.tenancy.checks.live.client import authenticate_client, require_credentials
from portal.tenancy.checks.live.model import (
    Context,
    Finding,
    NotPossible,
    Outcome,
    Probe,
    Status,
    failed,
    passed,
    warned,
)
from portal.tenancy.checks.live.page_text import form_fields, visible_text
from portal.tenancy.checks.live.stated_urls import (
    parameters_of,
    redirect_target,
    same_address,
    split_stated,
)

SECONDS = 5.0
_PAGE_BYTES = 2_000_000
_LONGEST_SEARCHED = 8_192
"""Characters of a page in which an error is looked for."""
_NOBODY_SIGNED_IN = frozenset(
    {"login_required", "interaction_required", "consent_required", "account_selection_required"}
)
"""Error codes of a request that is accepted, but needs a user (OIDC Core 3.1.2.6)."""
_UNDECIDED = frozenset({"access_denied", "temporarily_unavailable", "server_error"})
"""Error codes that say nothing about the request (RFC 6749 4.1.2.1)."""
_OTHER_CHECK = frozenset({"invalid_scope"})
_REDIRECT_URI = re.compile(
    r"(?<!logout[ _-])redirect[ _-]?ur[il]|redirect[ _-]?mismatch|callback[ _-]?ur[il]"
    r"|(?:reply|return) (?:url|address)|address to come back to|AADSTS50011\b",
    re.IGNORECASE,
)
_CLIENT = re.compile(
    r"client(?: is| was)? (?:invalid|unknown|disabled|not (?:found|registered|recogni[sz]ed))"
    r"|(?:invalid|unknown|unregistered)[ _]client|unknown[ _]client_id|invalid client[ _]?id"
    r"|application[^.]{0,80}not (?:registered|found)|AADSTS700016\b",
    re.IGNORECASE,
)
"""Texts of error pages; the codes of Microsoft are in learn.microsoft.com, reference-error-codes."""
_SIGN_IN_FIELDS = frozenset({"password", "username", "user", "email", "login", "loginfmt", "identifier"})


async def check_redirect_uri(context: Context) -> list[Finding]:
    """Ask the authorization endpoint with each redirect URI of the tenant; it must be registered."""
    context.metadata()
    if not context.redirect_uris:
        raise NotPossible("the address of the portal is not known: set public_url")
    context.facts.probes = await asyncio.gather(*(_probe(context, uri) for uri in context.redirect_uris))
    return [_redirect_uri_finding(context, probe) for probe in context.facts.probes]


async def check_authorization_request(context: Context) -> list[Finding]:
    """The provider finds nothing wrong in an authorization request."""
    probes = context.facts.probes
    if not probes:
        raise NotPossible("the authorization endpoint did not respond: see redirect_uri")
    for probe in probes:
        if probe.outcome is Outcome.RETURNED and probe.issuer not in (None, context.provider.issuer):
            seen = f"the response has iss {quoted(probe.issuer)}, which is not the issuer (RFC 9207)"
            return failed(seen, "write the issuer that the provider uses", context.where("issuer"))
        has_error = bool(probe.error) and probe.error not in _NOBODY_SIGNED_IN | _OTHER_CHECK
        if probe.error in _UNDECIDED:
            said = ": ".join(filter(None, (probe.error, probe.text)))
            return warned(f"the response does not show whether the request is accepted: {said}")
        if probe.outcome is Outcome.REFUSED or (probe.outcome is Outcome.RETURNED and has_error):
            said = ": ".join(filter(None, (context.quote(probe.error), probe.text)))
            seen = f"the authorization endpoint refuses the request: {said}"
            return failed(seen, _request_advice(context, probe), _request_place(context, probe))
    if any(probe.outcome is Outcome.RETURNED for probe in probes):
        return passed("the authorization endpoint finds nothing wrong in the request")
    raise NotPossible("the response of the authorization endpoint does not show it: see redirect_uri")


def _redirect_uri_finding(context: Context, probe: Probe) -> Finding:
    uri, where = probe.redirect_uri, context.at_provider("redirect_uri", "the redirect URIs of the client")
    said = f": {probe.text}" if probe.text else ""
    known = context.guide.advice(probe.error, probe.text)
    match probe.outcome:
        case Outcome.RETURNED:
            return Finding(Status.PASS, f"the provider accepts {uri}")
        case Outcome.PAGE:
            return Finding(Status.PASS, f"the provider shows a page for {uri}{said}")
        case Outcome.REDIRECT_URI:
            advice = known or f"register {uri} at the provider, to the letter"
            return Finding(Status.FAIL, f"the provider refuses the redirect URI {uri}{said}", advice, where)
        case Outcome.CLIENT:
            seen = f"the provider does not know the client {quoted(context.provider.client_id)}{said}"
            advice = known or "compare client.id with the client id that the provider shows"
            return Finding(Status.FAIL, seen, advice, context.where("client.id"))
    return _undecided(probe)


def _undecided(probe: Probe) -> Finding:
    """Return the result where the provider did not get as far as the redirect URI."""
    said = f": {probe.text}" if probe.text else ""
    if probe.outcome is Outcome.SILENT:
        # browsers open it, the portal does not
        seen = f"the authorization endpoint does not respond to this machine{said}"
        return Finding(Status.WARN, seen, "sign in once to see whether browsers reach it")
    if probe.outcome is Outcome.CREDENTIALS:
        seen = f"the provider refused to take the request before it looked at the redirect URI{said}"
        return Finding(Status.SKIPPED, seen, "see client_credentials")
    seen = "the authorization endpoint refuses the request, possibly before it looks at the redirect URI"
    return Finding(Status.SKIPPED, seen, "see authorization_request")


def _request_advice(context: Context, probe: Probe) -> str:
    known = context.guide.advice(probe.error, probe.text)
    if known:
        return known
    if "code_challenge" in probe.text or "PKCE" in probe.text:
        return "the portal always uses PKCE with S256: allow it for the client"
    if "response_type" in probe.text:
        return "allow the authorization code flow for the client"
    if context.provider.signed_request and probe.error in ("", "invalid_request", "invalid_request_object"):
        return "register the portal's keys at the provider: portal key show"
    return {
        "unauthorized_client": "allow the authorization code flow for the client",
        "unsupported_response_type": "allow the authorization code flow for the client",
        "unsupported_response_mode": "choose another response_mode",
        "invalid_target": "register the API of audience or resources at the provider",
        "request_not_supported": "remove request_object: the provider does not take signed requests",
    }.get(probe.error, "compare authorize_params and the other keys with the client at the provider")


def _request_place(context: Context, probe: Probe) -> str:
    keys = {
        "invalid_target": "resources" if context.provider.resources else "audience",
        "unsupported_response_mode": "response_mode",
        "request_not_supported": "request_object",
        "invalid_request_object": "request_object",
    }
    key = keys.get(probe.error) or ("request_object" if context.provider.signed_request else None)
    return context.where(key) if key else context.at_provider("client", "the settings of the client")


# --- the request


async def _probe(context: Context, redirect_uri: str) -> Probe:
    """Send one authorization request. Raises: NotPossible, OutboundRefused."""
    metadata, provider = context.metadata(), context.provider
    options = authorization.AuthorizationOptions(prompt="none")
    drafted = authorization.draft(provider, redirect_uri=redirect_uri, options=options)
    context.secrets += [drafted.state, drafted.nonce, drafted.code_verifier.reveal()]
    sent = drafted.parameters
    pushed = request_protection.is_pushed(provider, metadata)
    try:
        if provider.signed_request:
            keys, now = context.client_keys, context.clock()
            sent = request_protection.signed(provider, sent, client_keys=keys, now=now, pushed=pushed)
        if pushed:
            require_credentials(context)
            authenticate = authenticate_client(context)
            sent = await request_protection.push(
                context.http, provider, metadata, sent, authenticate_client=authenticate
            )
    except MetadataRejected:
        raise NotPossible("the request cannot be pushed: see request_protection") from None
    except ClientKeyMissing:
        raise NotPossible("the request is signed, and there is no key ring here") from None
    except PushedRequestRejected as error:
        return _refused_push(context, redirect_uri, error)
    context.secrets += [value for name, value in sent if name in {"request", "request_uri"}]
    url = authorization.request_url(metadata, sent)
    try:
        response = await context.get(url, seconds=SECONDS, max_bytes=_PAGE_BYTES, accept="text/html")
    except OutboundFailed as error:
        return Probe(redirect_uri, Outcome.SILENT, text=error.detail)
    return read_response(context, redirect_uri, url, response)


def _refused_push(context: Context, redirect_uri: str, error: PushedRequestRejected) -> Probe:
    text = context.quote(error.detail)
    if error.error == "invalid_redirect_uri" or _REDIRECT_URI.search(error.detail):
        outcome = Outcome.REDIRECT_URI
    elif error.error in {"invalid_client", "unauthorized_client"}:
        outcome = Outcome.CREDENTIALS
    elif error.error in _OTHER_CHECK:
        outcome = Outcome.RETURNED
    else:
        outcome = Outcome.REFUSED
    return Probe(redirect_uri, outcome, error.error, text)


# --- the response


def read_response(context: Context, redirect_uri: str, url: str, response: OutboundResponse) -> Probe:
    """Read what an authorization endpoint responded: a redirect, a form to be posted, or a page.

    Parameters: url, of the request.
    """
    if 300 <= response.status < 400:
        target = redirect_target(url, response.header("Location"))
        parameters = parameters_of(target)
        if same_address(target, redirect_uri):
            return _returned(context, redirect_uri, parameters)
        return _elsewhere(context, redirect_uri, target, parameters)
    fields = form_fields(response.body)
    if response.status < 400 and same_address(fields.get("", ""), redirect_uri):
        return _returned(context, redirect_uri, fields)
    text, code = _stated(response)
    if response.status < 400 and (not _SIGN_IN_FIELDS.isdisjoint(fields) or not _is_error(text)):
        return Probe(redirect_uri, Outcome.PAGE, text=context.quote(text, 80))
    shown = context.quote(text) or f"status {response.status}"
    return Probe(redirect_uri, _verdict(f"{code} {text}"), error_code(code) if code else "", shown)


def _returned(context: Context, redirect_uri: str, parameters: Mapping[str, str]) -> Probe:
    """Read the parameters of a response; a signed one (JARM) is read without its signature."""
    if "response" in parameters:
        parameters = {**_payload(parameters["response"]), **parameters}
    stated = parameters.get("error", "")
    return Probe(
        redirect_uri,
        Outcome.RETURNED,
        error_code(stated) if stated else "",
        context.quote(parameters.get("error_description", "")),
        parameters.get("iss"),
    )


def _elsewhere(context: Context, redirect_uri: str, target: str, parameters: Mapping[str, str]) -> Probe:
    """Read a redirect to another page of the provider: one to sign in, or one that shows an error."""
    stated = " ".join(parameters.get(name, "") for name in ("error", "error_description", "authError"))
    path = split_stated(target).path.lower()
    if not stated.strip() and "error" not in path:
        return Probe(redirect_uri, Outcome.PAGE)
    shown = context.quote(stated.strip()) or f"it redirects to {context.quote(path)}"
    return Probe(redirect_uri, _verdict(stated), "", shown)


def _verdict(text: str) -> Outcome:
    # first: such a page may also name the client
    if _REDIRECT_URI.search(text):
        return Outcome.REDIRECT_URI
    return Outcome.CLIENT if _CLIENT.search(text) else Outcome.REFUSED


def _is_error(text: str) -> bool:
    return bool(_REDIRECT_URI.search(text) or _CLIENT.search(text))


def _stated(response: OutboundResponse) -> tuple[str, str]:
    """Return the text of a page or JSON document, and the error code of the latter."""
    try:
        document = read_object(response.body)
    except JsonUnreadable:
        return visible_text(response.body)[:_LONGEST_SEARCHED], ""
    code, text = document.get("error"), document.get("error_description") or document.get("message")
    code = code if isinstance(code, str) else ""
    return (text if isinstance(text, str) else code), code


def _payload(token: str) -> dict[str, str]:
    """Return the text members of a token's payload. The signature is not verified: no login depends on it."""
    parts = token.split(".", 3)
    try:
        document = read_object(base64.urlsafe_b64decode(parts[1] + "=="))
    except (IndexError, ValueError, binascii.Error, JsonUnreadable):
        return {}
    return {name: value for name, value in document.items() if isinstance(value, str)}
