"""Live checks: what the tenant file asks for, compared with what the provider's metadata announces.

Metadata may leave out what the provider can do. What it announces without the requested value is a failure;
what it does not mention is a warning at most.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from portal.oidc.authorization import requested_scopes
from portal.oidc.id_token import accepted_algorithms
from portal.oidc.jose.algorithms import SYMMETRIC
from portal.oidc.provider import ClientAuth, ResponseMode
from portal.oidc.quoting import listed
from portal.tenancy.checks.live.model import Context, Finding, NotPossible, Outcome, Status, passed

_ASSERTING = (ClientAuth.PRIVATE_KEY_JWT, ClientAuth.CLIENT_SECRET_JWT)
_OFFLINE = "offline_access"


def announced(context: Context, member: str) -> list[str] | None:
    """Return a list of the metadata; None if it is not there. What is not text is left out."""
    values = context.document().get(member)
    return [one for one in values if isinstance(one, str)] if isinstance(values, list) else None


async def check_algorithms(context: Context) -> list[Finding]:
    """The provider signs and encrypts with algorithms that the tenant file accepts."""
    provider = context.provider
    context.document()
    found = [
        *_any_of(
            context,
            "id_token_signing_alg_values_supported",
            sorted(accepted_algorithms(provider)),
            "id_token_algs",
        )
    ]
    if provider.userinfo_algs:
        found += _any_of(
            context, "userinfo_signing_alg_values_supported", provider.userinfo_algs, "userinfo_algs"
        )
    if provider.client_auth in _ASSERTING:
        used = (
            "HS256" if provider.client_auth is ClientAuth.CLIENT_SECRET_JWT else provider.client_signing_alg
        )
        member = "token_endpoint_auth_signing_alg_values_supported"
        found += _any_of(context, member, (used,), "client.signing_alg")
    if provider.id_token_encryption is not None:
        encryption = provider.id_token_encryption
        for member, value in (("alg", encryption.alg), ("enc", encryption.enc)):
            name = f"id_token_encryption_{member}_values_supported"
            found += _any_of(context, name, (value,), "id_token_encryption")
    return found or passed(f"ID tokens: {listed(sorted(accepted_algorithms(provider)))}")


async def check_pkce(context: Context) -> list[Finding]:
    """The provider supports PKCE with S256, which the portal always uses (RFC 9700 2.1.1)."""
    methods = announced(context, "code_challenge_methods_supported")
    if methods is None:
        # RFC 8414 2: without the member, the server does not support PKCE; some leave it out nevertheless
        seen = "code_challenge_methods_supported is missing; the portal sends PKCE in any case"
        advice = "sign-ins work if the provider ignores or supports it; authorization_request shows more"
        return [Finding(Status.WARN, seen, advice)]
    if "S256" not in methods:
        seen = f"code_challenge_methods_supported is {listed(methods)}; the portal uses S256"
        where = context.at_provider("pkce", "the PKCE setting of the client")
        return [Finding(Status.FAIL, seen, "enable PKCE with S256", where)]
    return passed("PKCE with S256")


async def check_client_authentication_method(context: Context) -> list[Finding]:
    """The provider announces the client authentication method of the tenant file."""
    method = context.provider.client_auth
    methods = announced(context, "token_endpoint_auth_methods_supported")
    if methods is None:
        methods = ["client_secret_basic"]  # OIDC Discovery 3: the default
    # public clients are often not announced
    if method in methods or method is ClientAuth.NONE:
        return passed(method.value)
    seen = f"token_endpoint_auth_methods_supported is {listed(methods)}; the tenant file has {method.value}"
    return [
        Finding(Status.WARN, seen, f"write auth: with one of {listed(methods)}", context.where("client.auth"))
    ]


async def check_response_mode(context: Context) -> list[Finding]:
    """The provider supports the code flow and the response mode, signed or not (JARM)."""
    mode = context.provider.response_mode
    types = announced(context, "response_types_supported")
    if types is not None and "code" not in types:
        seen = f"response_types_supported is {listed(types)}; the portal uses code"
        return [Finding(Status.FAIL, seen, "enable the authorization code flow")]
    modes = announced(context, "response_modes_supported")
    if modes is None and mode is not ResponseMode.QUERY:
        # OIDC Discovery 3: the default is query and fragment; some support more without announcing it
        seen = f"response_modes_supported is missing; the tenant file has {mode.value}"
        advice = "remove response_mode unless the provider supports it; see authorization_request"
        return [Finding(Status.WARN, seen, advice, context.where("response_mode"))]
    modes = modes or ["query", "fragment"]
    accepted = {mode.value} | ({"query.jwt"} if mode is ResponseMode.JWT else set())
    if not accepted.intersection(modes):
        seen = f"response_modes_supported is {listed(modes)}; the tenant file has {mode.value}"
        advice = (
            f"write response_mode: with one of {listed([one for one in modes if one in {*ResponseMode}])}"
        )
        return [Finding(Status.FAIL, seen, advice, context.where("response_mode"))]
    if mode.signed:
        member = "authorization_signing_alg_values_supported"
        if found := [*_any_of(context, member, context.provider.response_algs, "response_algs")]:
            return found
    return passed(mode.value)


async def check_request_protection(context: Context) -> list[Finding]:
    """Pushed (RFC 9126) and signed (RFC 9101) requests, and DPoP (RFC 9449), where a side asks for them."""
    provider, document = context.provider, context.document()
    found: list[Finding] = []
    used: list[str] = []
    if provider.par or document.get("require_pushed_authorization_requests") is True:
        used.append("pushed requests")
        if "pushed_authorization_request_endpoint" not in document and not (
            provider.endpoints.pushed_authorization_request
        ):
            seen = "par: true, and the metadata has no pushed_authorization_request_endpoint"
            found.append(Finding(Status.FAIL, seen, "remove par: true", context.where("par")))
    found += _signed_request(context)
    if provider.signed_request:
        used.append("signed requests")
    if provider.dpop:
        used.append("DPoP")
        found += _dpop(context)
    if found or used:
        return found or passed(", ".join(used))
    return passed("neither side asks for pushed or signed requests or DPoP")


def _dpop(context: Context) -> Iterator[Finding]:
    # RFC 9449 5.1
    member = "dpop_signing_alg_values_supported"
    algorithms, where = announced(context, member), context.where("dpop")
    if algorithms is None:
        seen = f"{member} is missing: the provider may not support DPoP"
        yield Finding(Status.WARN, seen, "remove dpop: true unless the provider supports it", where)
    elif "ES256" not in algorithms:
        seen = f"{member} is {listed(algorithms)}; the portal signs DPoP proofs with ES256"
        yield Finding(Status.FAIL, seen, "remove dpop: true", where)


def _signed_request(context: Context) -> Iterator[Finding]:
    provider, document = context.provider, context.document()
    where = context.where("request_object")
    if not provider.signed_request:
        if document.get("require_signed_request_object") is True:
            seen = "the provider requires signed requests (require_signed_request_object)"
            yield Finding(Status.FAIL, seen, "write request_object: signed", where)
        return
    # OIDC Discovery 3: the default of request_parameter_supported is false
    if not provider.par and document.get("request_parameter_supported") is not True:
        seen = "request_parameter_supported is not true; the tenant file has request_object: signed"
        yield Finding(Status.WARN, seen, "remove request_object", where)
    member = "request_object_signing_alg_values_supported"
    yield from _any_of(context, member, (provider.client_signing_alg,), "client.signing_alg")


async def check_scopes(context: Context) -> list[Finding]:
    """The provider knows the requested scopes: by its metadata, and by the authorization endpoint."""
    requested = requested_scopes(context.provider)
    where = context.where("scopes")
    try:
        supported = announced(context, "scopes_supported")
    except NotPossible:
        supported = None
    missing = [scope for scope in requested if supported is not None and scope not in supported]
    named = listed(missing) if missing else "one of the requested scopes"
    for probe in context.facts.probes:
        if probe.error == "invalid_scope":
            said = f": {probe.text}" if probe.text else ""
            seen = f"the authorization endpoint refuses {named} (invalid_scope{said})"
            return [Finding(Status.FAIL, seen, _scope_advice(missing), where)]
    if missing:
        seen = f"scopes_supported does not list {named}"
        if _OFFLINE in missing:
            seen += "; without offline_access there may be no refresh token"
        return [Finding(Status.WARN, seen, _scope_advice(missing), where)]
    returned = any(probe.outcome is Outcome.RETURNED for probe in context.facts.probes)
    if supported is None and not returned:
        raise NotPossible("scopes_supported is missing, and the authorization endpoint did not say")
    return passed(" ".join(requested))


def _scope_advice(missing: Sequence[str]) -> str:
    remove = f"remove {listed(missing)} from scopes" if missing else "compare scopes with those of the client"
    return f"{remove}, or add it to the client at the provider"


def _any_of(context: Context, member: str, accepted: Collection[str], key: str) -> Iterator[Finding]:
    """Yield a failure if the provider announces none of the values that the tenant file accepts."""
    values = announced(context, member)
    if values is None:
        if not set(accepted) <= {"RS256", *SYMMETRIC}:
            seen = f"{member} is missing; the tenant file has {listed(sorted(accepted))}"
            yield Finding(Status.WARN, seen, "ask the provider whether it supports that", context.where(key))
        return
    if set(accepted).isdisjoint(values):
        seen = f"{member} is {listed(values)}; the tenant file has {listed(sorted(accepted))}"
        yield Finding(Status.FAIL, seen, f"use one of {listed(values)}", context.where(key))
