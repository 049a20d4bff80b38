"""Live check: the token endpoint accepts the client's credentials.

It gets a made-up code. A server authenticates the client before it looks at the code (RFC 6749 4.1.3), so the
error tells a wrong client (`invalid_client`) from an accepted one (`invalid_grant`). No code is spent.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from functools import partial

from portal.errors import OutboundRefused, PortalError
from portal.oidc import token_endpoint
from portal.oidc.client_authentication import AuthenticateClient, authenticates_by_secret, credentials
from portal.oidc.dpop import DpopKey, DpopProver, NonceMemory
from portal.oidc.errors import (
    ClientKeyMissing,
    ProviderUnavailable,
    TokenRequestRejected,
    TokenResponseMalformed,
)
from portal.oidc.provider import ClientAuth, Provider
from portal.oidc.quoting import quoted
from portal.secret import Secret, UnsetSecret
from portal.tenancy.checks.live.model import (
    Context,
    Finding,
    NotPossible,
    Outcome,
    Status,
    failed,
    passed,
    warned,
)

_BY_SECRET = (ClientAuth.CLIENT_SECRET_BASIC, ClientAuth.CLIENT_SECRET_POST)
_ALL_BY_SECRET = (*_BY_SECRET, ClientAuth.CLIENT_SECRET_JWT)
_BY_CERTIFICATE = (ClientAuth.TLS_CLIENT_AUTH, ClientAuth.SELF_SIGNED_TLS_CLIENT_AUTH)
_REFUSED = frozenset({"invalid_client", "unauthorized_client", "access_denied"})
"""RFC 6749 5.2; Keycloak responds with the second to a wrong secret, Auth0 with the third."""
_AUTHENTICATED = frozenset({"invalid_grant", "invalid_target", "invalid_scope"})
"""Errors that are found after the client was authenticated."""


def require_credentials(context: Context) -> None:
    """Raises: NotPossible if the client's secret or key is not here."""
    provider = context.provider
    for unset in provider.client_secrets if provider.client_auth in _ALL_BY_SECRET else ():
        if isinstance(unset, UnsetSecret):
            raise NotPossible(f"{unset.source} with the client secret {unset.state} here")
    signs = provider.client_auth is ClientAuth.PRIVATE_KEY_JWT and provider.signing_certificate is None
    if signs and context.client_keys is None:
        raise NotPossible("the client authenticates with a key of the portal, and there is no key ring here")


def authenticate_client(context: Context) -> AuthenticateClient:
    """Return what makes the credentials of a request, as a sign-in does."""
    return partial(credentials, client_keys=context.client_keys, clock=context.clock)


async def check_client_credentials(context: Context) -> list[Finding]:
    """Send a made-up code with the client's credentials; read whether the client or the code is refused."""
    context.metadata()
    require_credentials(context)
    both = [context.provider.client_secret, context.provider.next_client_secret]
    provider = replace(context.provider, next_client_secret=None)
    if not authenticates_by_secret(provider) or None in both:
        return await _check_credentials(context, provider)
    first, second = await asyncio.gather(
        *(_check_credentials(context, replace(provider, client_secret=one)) for one in both)
    )
    return [*_of_secret(first, "first", second), *_of_secret(second, "second", first)]


def _of_secret(findings: list[Finding], name: str, other: list[Finding]) -> list[Finding]:
    """Name one of two secrets in its findings; a refused one is a warning while the other is accepted."""
    works = all(one.status is Status.PASS for one in other)
    return [
        replace(
            one,
            seen=f"the {name} client secret: {one.seen}",
            status=Status.WARN if works and one.status is Status.FAIL else one.status,
        )
        for one in findings
    ]


async def _check_credentials(context: Context, provider: Provider) -> list[Finding]:
    """Check the credentials of a provider with at most one secret."""
    try:
        error = await _refusal(context, provider)
    except TokenResponseMalformed as malformed:
        return failed(malformed.detail, "check the token endpoint", context.where("endpoints.token"))
    except ProviderUnavailable as unavailable:
        return failed(unavailable.detail, "try again later; see also endpoints")
    except ClientKeyMissing as missing:
        return failed(missing.detail or missing.title, "add the key: portal key rotate --use signing")
    except OutboundRefused as refused:
        return failed(refused.detail, "", context.where("endpoints.token"))
    if error is None:
        return failed("the token endpoint issued tokens for a made-up code", "do not use this provider")
    return await _judge(context, provider, error)


async def _refusal(context: Context, provider: Provider) -> TokenRequestRejected | None:
    """Send a made-up code; return the error of the token endpoint.

    Raises: TokenResponseMalformed, ProviderUnavailable, ClientKeyMissing, OutboundRefused.
    """
    made_up = Secret(secrets.token_urlsafe(24))
    verifier = Secret(secrets.token_urlsafe(32))
    context.secrets += [made_up.reveal(), verifier.reveal()]
    prover = None
    if provider.dpop:
        prover = DpopProver(DpopKey.generate(), NonceMemory(), provider.key, context.clock)
    redirect_uri = context.redirect_uris[0] if context.redirect_uris else context.provider.issuer
    try:
        await token_endpoint.exchange_code(
            context.http,
            provider,
            context.metadata(),
            code=made_up,
            code_verifier=verifier,
            redirect_uri=redirect_uri,
            now=context.clock(),
            dpop_prover=prover,
            authenticate_client=authenticate_client(context),
        )
    except TokenRequestRejected as error:
        return error
    return None


async def _judge(context: Context, provider: Provider, error: TokenRequestRejected) -> list[Finding]:
    known = context.guide.advice(error.error, error.detail)
    detail = context.quote(error.detail.removesuffix(f"; {known}") if known else error.detail)
    if error.error == "invalid_grant":
        how = f"with {provider.client_auth.value}"
        if provider.client_auth is ClientAuth.NONE:
            how = "without a secret"
        return passed(f"the token endpoint accepts the client {how} and refuses a made-up code")
    if error.error in _AUTHENTICATED:
        key = "resources" if error.error == "invalid_target" else "scopes"
        advice = known or "compare with what the client may request at the provider"
        return failed(f"the client is accepted, but: {detail}", advice, context.where(key))
    if error.error == "unsupported_grant_type" or _may_not_use_codes(error):
        advice = known or "allow the authorization code flow for the client"
        where = context.at_provider("client", "the settings of the client")
        return failed(f"the client may not use the authorization code flow: {detail}", advice, where)
    if error.error in _REFUSED or "with 401" in error.detail:
        return await _refused(context, provider, detail, known)
    seen = f"the response does not show whether the client is accepted: {detail}"
    return warned(seen, known or "sign in once to see whether the credentials are right")


async def _refused(context: Context, provider: Provider, detail: str, known: str) -> list[Finding]:
    """Say which part of the credentials is wrong, as far as the provider shows it."""
    outcomes = {probe.outcome for probe in context.facts.probes}
    if Outcome.CLIENT in outcomes:
        seen = f"the provider does not know the client {quoted(provider.client_id)}: {detail}"
        advice = known or "compare client.id with the client id that the provider shows"
        return failed(seen, advice, context.where("client.id"))
    if other := await _other_method(context, provider):
        seen = f"the token endpoint refuses {provider.client_auth.value}, and accepts {other.value}"
        return failed(seen, f"write auth: {other.value}", context.where("client.auth"))
    is_known = bool(outcomes & {Outcome.RETURNED, Outcome.REDIRECT_URI})
    what, key = _credentials_of(provider)
    if is_known:
        return failed(f"{what}: {detail}", known or _advice(provider), context.where(key))
    seen = f"the token endpoint refuses the client; client.id is wrong, or {what}: {detail}"
    return failed(seen, known or _advice(provider), context.where(key))


def _may_not_use_codes(error: TokenRequestRejected) -> bool:
    return error.error == "unauthorized_client" and "with 401" not in error.detail


async def _other_method(context: Context, provider: Provider) -> ClientAuth | None:
    """Return the other way to send the secret, if the token endpoint accepts it."""
    method = provider.client_auth
    if method not in _BY_SECRET:
        return None
    other = _BY_SECRET[1 - _BY_SECRET.index(method)]
    try:
        error = await _refusal(context, replace(provider, client_auth=other))
    except PortalError:  # the refusal of the configured method is what counts
        return None
    return other if error is not None and error.error in _AUTHENTICATED else None


def _credentials_of(provider: Provider) -> tuple[str, str]:
    """Return what is wrong if the client is known, and its key in the tenant file."""
    if provider.client_auth is ClientAuth.NONE:
        return "the client needs a secret or another authentication method", "client.auth"
    if provider.client_auth is ClientAuth.PRIVATE_KEY_JWT:
        return "the provider refuses the assertion of the portal's key", "client.auth"
    if provider.client_auth is ClientAuth.CLIENT_SECRET_JWT:
        return "the provider refuses the assertion made with the client secret", "client.auth"
    if provider.client_auth in _BY_CERTIFICATE:
        return "the provider refuses the client certificate", "client.certificate"
    return "the client secret is wrong", "client.secret"


def _advice(provider: Provider) -> str:
    if provider.client_auth is ClientAuth.NONE:
        return "write client.secret, or make the client a public client at the provider"
    if provider.client_auth is ClientAuth.PRIVATE_KEY_JWT:
        return f"register the portal's keys at the provider: portal key show {provider.tenant} --jwks"
    if provider.client_auth is ClientAuth.CLIENT_SECRET_JWT:
        return "copy the secret again, and compare auth with the method that the client has at the provider"
    if provider.client_auth in _BY_CERTIFICATE:
        return "register this certificate for the client at the provider"
    return "copy the secret again from the provider; it may have been replaced or have expired"
