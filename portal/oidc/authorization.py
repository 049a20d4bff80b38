"""Builds authorization requests (OIDC Core 3.1.2, RFC 9700), without I/O.

`authorization_response` reads the response; `request_protection` signs and pushes requests.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from portal.oidc.api_target import ApiTarget
from portal.oidc.dpop import DpopKey
from portal.oidc.form_encoding import query_of
from portal.oidc.interaction import Interaction
from portal.oidc.provider import AuthorizationRequest, Provider, ProviderMetadata, ResponseMode
from portal.oidc.step_up import StepUp, claims_parameter
from portal.secret import Secret

Parameters = list[tuple[str, str]]

PROTECTED_PARAMETERS = frozenset(
    {
        "response_type",
        "response_mode",
        "client_id",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
        "redirect_uri",
        "scope",
        "state",
        "nonce",
        "code_challenge",
        "code_challenge_method",
        "code_verifier",
        "max_age",
        "request",
        "request_uri",
        "registration",
        "id_token_hint",
        "dpop_jkt",
    }
)
"""Parameters that `Provider.authorize_params` must not set."""

LONGEST_HINT = 4_096
"""Maximum length, in characters, of an ID token that is sent as a hint in a URL."""

_SILENT = "none"
_SELECT_ACCOUNT = "select_account"


@dataclass(frozen=True, slots=True)
class AuthorizationOptions:
    """Options of one login attempt, in addition to the provider registration.

    `prompt` is `none`, `login` or `select_account`; `interactive` overrides `none`, also of the registration.
    """

    prompt: str | None = None
    login_hint: str | None = None
    id_token_hint: Secret | None = None
    """The ID token of the login to renew; sent only with `prompt=none`."""
    interactive: bool = False
    select_account: bool = True
    """False: never send `select_account`, because the provider rejected it."""
    state_prefix: str = ""
    """The state begins with it, so that the caller recognizes the response."""
    target: ApiTarget | None = None
    """The API whose access token the login is for; None for a login of its own."""
    ui_locales: str | None = None
    """The languages of the user (OIDC Core 3.1.2.1), where the registration has none."""
    step_up: StepUp | None = None
    """What an API requires of the login, in addition to what the registration asks for."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An authorization request before it is signed, pushed or put into a URL."""

    parameters: Parameters = field(repr=False)
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    code_verifier: Secret
    redirect_uri: str
    dpop_key: DpopKey | None = None
    target: ApiTarget | None = None
    step_up: StepUp | None = None

    @property
    def silent(self) -> bool:
        """Whether the provider must not show any page to the user (`prompt=none`)."""
        return ("prompt", _SILENT) in self.parameters

    def sent_as(self, url: str, *, now: float) -> AuthorizationRequest:
        """Return the request that this URL sends. Parameters: now, seconds since the epoch, UTC."""
        return AuthorizationRequest(
            url=url,
            state=self.state,
            nonce=self.nonce,
            code_verifier=self.code_verifier,
            redirect_uri=self.redirect_uri,
            silent=self.silent,
            dpop_key=self.dpop_key,
            interaction=Interaction.of(self.parameters, requested_at=now, step_up=self.step_up),
            target=self.target,
            ui_locales=dict(self.parameters).get("ui_locales"),
        )


def draft(
    provider: Provider,
    *,
    redirect_uri: str,
    options: AuthorizationOptions | None = None,
    metadata: ProviderMetadata | None = None,
) -> Draft:
    """Draft an authorization request with fresh state, nonce and PKCE verifier, 256 bits each.

    Parameters: options take precedence over `provider.authorize_params`; metadata, of the provider, decides
    how a step-up is asked for.
    """
    random = secrets.token_bytes(96)
    state, nonce, code_verifier = (_base64url(random[start : start + 32]) for start in (0, 32, 64))
    options = options or AuthorizationOptions()
    state = options.state_prefix + state
    dpop_key = DpopKey.generate() if provider.dpop else None
    parameters = [
        ("response_type", "code"),
        ("client_id", provider.client_id),
        ("redirect_uri", redirect_uri),
        ("scope", " ".join(requested_scopes(provider, options.step_up))),
        ("state", state),
        ("nonce", nonce),
        # RFC 9700 2.1.1: also for confidential clients
        ("code_challenge", code_challenge(code_verifier)),
        ("code_challenge_method", "S256"),
        *_optional_parameters(provider, options, metadata),
    ]
    if dpop_key is not None:
        parameters.append(("dpop_jkt", dpop_key.thumbprint))  # RFC 9449 10
    reserved = {name for name, _ in parameters} | PROTECTED_PARAMETERS | {"prompt"}
    parameters += [(name, value) for name, value in provider.authorize_params if name not in reserved]
    if options.ui_locales and "ui_locales" not in dict(provider.authorize_params):
        parameters.append(("ui_locales", options.ui_locales))
    return Draft(
        parameters,
        state,
        nonce,
        Secret(code_verifier),
        redirect_uri,
        dpop_key,
        target=options.target,
        step_up=options.step_up,
    )


def fit_for_url(parameters: Parameters) -> Parameters:
    """Drop an `id_token_hint` that would make the URL too long for servers and browsers."""
    return [pair for pair in parameters if pair[0] != "id_token_hint" or len(pair[1]) <= LONGEST_HINT]


def request_url(metadata: ProviderMetadata, parameters: Sequence[tuple[str, str]]) -> str:
    """Return the URL that the browser is redirected to."""
    return _with_query(metadata.authorization_endpoint, parameters)


def for_api(provider: Provider, target: ApiTarget | None) -> Provider:
    """Return the registration as it is used for a login that gets the access token of one API.

    No refresh token is requested: the login that the access token is added to has one.
    """
    if target is None:
        return provider
    return replace(
        provider,
        scopes=("openid", *target.scopes),
        audience=target.audience,
        resources=() if target.resource is None else (target.resource,),
        api_resources=(),
        api_scopes=(),
    )


def requested_scopes(provider: Provider, step_up: StepUp | None = None) -> tuple[str, ...]:
    """Return the scopes to request: those of the registration and of a step-up, always with `openid`."""
    scopes = dict.fromkeys((*provider.scopes, *provider.api_scopes, *(step_up.scope if step_up else ())))
    return tuple(scopes) if "openid" in scopes else ("openid", *scopes)  # OIDC Core 3.1.2.1


def code_challenge(code_verifier: str) -> str:
    """Return the S256 challenge of a PKCE verifier (RFC 7636 4.2)."""
    return _base64url(hashlib.sha256(code_verifier.encode("ascii")).digest())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _optional_parameters(
    provider: Provider, options: AuthorizationOptions, metadata: ProviderMetadata | None
) -> Parameters:
    parameters: Parameters = []
    if provider.response_mode is not ResponseMode.QUERY:
        parameters.append(("response_mode", provider.response_mode.value))
    if provider.audience is not None:
        parameters.append(("audience", provider.audience))
    resources = dict.fromkeys((*provider.resources, *provider.api_resources))
    parameters += [("resource", resource) for resource in resources]  # RFC 8707 2.1
    parameters += _authentication_parameters(provider, options.step_up or StepUp.NOTHING, metadata)
    prompt = _prompt(provider, options)
    if prompt:
        parameters.append(("prompt", prompt))
    if options.login_hint is not None:
        parameters.append(("login_hint", options.login_hint))
    if prompt == _SILENT and options.id_token_hint is not None:
        parameters.append(("id_token_hint", options.id_token_hint.reveal()))
    return parameters


def _authentication_parameters(
    provider: Provider, step_up: StepUp, metadata: ProviderMetadata | None
) -> Parameters:
    """How the user must authenticate: what the registration and a step-up ask for, never less."""
    parameters: Parameters = []
    max_ages = [age for age in (provider.max_age, step_up.max_age) if age is not None]
    if max_ages:
        parameters.append(("max_age", str(min(max_ages))))
    claims, acr_values = provider.requested_claims, provider.acr_values
    if step_up.acr_values:
        acr_values = _preferred_first(step_up.acr_values, provider)
        if claims is not None or (metadata is not None and metadata.claims_parameter_supported):
            # acr_values beside an essential acr: the behaviour is unspecified (OIDC Core 5.5.1.1)
            claims, acr_values = claims_parameter(claims, acr_values), ()
    if acr_values:
        parameters.append(("acr_values", " ".join(acr_values)))
    if claims is not None:
        parameters.append(("claims", claims))  # OIDC Core 5.5
    return parameters


def _preferred_first(acr_values: Sequence[str], provider: Provider) -> tuple[str, ...]:
    """The values of a step-up: only those that the registration accepts, in the order that it prefers.

    If it accepts none, its own: a step-up never asks for less.
    """
    accepted = [acr for acr in acr_values if not provider.essential_acr or acr in provider.essential_acr]
    if provider.acr_values:
        return tuple(acr for acr in provider.acr_values if acr in accepted) or provider.acr_values
    return tuple(accepted) or tuple(acr_values)


def _prompt(provider: Provider, options: AuthorizationOptions) -> str:
    """Return `none` alone (OIDC Core 3.1.2.1), or the requested prompt together with the registered ones."""
    registered = dict(provider.authorize_params).get("prompt", "").split()
    if not options.select_account:
        registered = [value for value in registered if value != _SELECT_ACCOUNT]
    if options.prompt == _SILENT and not options.interactive:
        return _SILENT
    if options.prompt is None and not options.interactive:
        return " ".join(registered)
    requested = [options.prompt] if options.prompt else []
    return " ".join(dict.fromkeys(value for value in [*requested, *registered] if value != _SILENT))


def _with_query(endpoint: str, parameters: Sequence[tuple[str, str]]) -> str:
    """Add parameters to an endpoint; keep its own query (RFC 6749 3.1) except for the same names."""
    if "?" not in endpoint and "#" not in endpoint:
        return f"{endpoint}?{query_of(parameters)}"
    parts = urlsplit(endpoint)
    names = {name for name, _ in parameters} | PROTECTED_PARAMETERS
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in names]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query_of([*kept, *parameters]), ""))
