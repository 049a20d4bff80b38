"""The APIs of a checked tenant file, and what access tokens they need at each provider."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from portal.oidc.api_target import ApiTarget, ApiTokenMethod
from portal.oidc.provider import Provider
from portal.tenancy.api_headers import normalized_name
from portal.tenancy.model import Api, ApiAccess
from portal.tenancy.presets import Preset
from portal.tenancy.schema.api import ApiFile, NamedApiFile

Providers = Mapping[str, tuple[Provider, Preset]]
"""The providers of a tenant by id, each with its preset."""


def load_api(name: str, file: ApiFile, providers: Providers) -> Api:
    """Return an API. Parameters: name, its key under `apis`, empty for the default API."""
    access = ApiAccess(file.access)
    return Api(
        base_url=file.base_url,
        name=name,
        example_paths=tuple(file.example_paths),
        mtls=file.mtls,
        tls_authorities=file.tls.ca.reveal() if file.tls.ca else None,
        timeout=file.timeout,
        idle_timeout=file.idle_timeout,
        access=access,
        targets=_targets(name, file, access, providers),
        max_body=file.max_body,
        request_headers=frozenset(map(normalized_name, file.request_headers)),
        response_headers=frozenset(map(normalized_name, file.response_headers)),
    )


def with_api_requests(provider: Provider, preset: Preset, apis: tuple[Api, ...]) -> Provider:
    """Return a registration that has the audiences of all APIs, and requests those of the refresh token.

    RFC 8707 2.2 and RFC 6749 6: a refresh token can only be used for what was granted at the login. Auth0 and
    Microsoft Entra, whose presets say so, decide it when the refresh token is used.
    """
    provider = replace(provider, api_audiences=tuple(dict.fromkeys(_audiences(provider, apis))))
    if _known_method(preset) in {ApiTokenMethod.REFRESH_AUDIENCE, ApiTokenMethod.REFRESH_SCOPE}:
        return provider
    targets = [
        target for api in apis if api.access is ApiAccess.USER and (target := api.targets.get(provider.id))
    ]
    by_resource = [one for one in targets if ApiTokenMethod.REFRESH_RESOURCE in one.methods]
    granted = [one for one in targets if any(method.needs_refresh_token for method in one.methods)]
    resources = dict.fromkeys(one.expected_audience for one in by_resource if one.expected_audience)
    scopes = dict.fromkeys(scope for one in granted for scope in one.scopes)
    if not resources and not scopes:
        return provider
    return replace(
        provider,
        api_resources=tuple(one for one in resources if one not in provider.resources),
        api_scopes=tuple(one for one in scopes if one not in provider.scopes),
    )


def present_certificates(api: ApiFile | None, apis: Mapping[str, ApiFile]) -> bool:
    """Whether calls of any API present a client certificate."""
    return any(one.mtls for one in (api, *apis.values()) if one is not None)


def api_warnings(
    api: ApiFile | None, apis: Mapping[str, ApiFile]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the key and the message for each key of an API that only documents it."""
    every = [(("api",), api), *((("apis", name), one) for name, one in apis.items())]
    for path, one in every:
        if one is None or one.access != "anonymous":
            continue
        for key in ("audience", "resource"):
            if getattr(one, key) is not None:
                yield (*path, key), f"{key} has no effect with access: anonymous, since no token is sent"


def _audiences(provider: Provider, apis: tuple[Api, ...]) -> Iterator[str]:
    """What access tokens of users at a provider, or of the portal itself, are for."""
    for api in apis:
        if api.access is ApiAccess.ANONYMOUS:
            continue
        stated = {one.expected_audience for one in api.targets.values()} - {None}
        yield from (one for one in stated if one)
        target = api.targets.get(provider.id)
        if api.access is ApiAccess.USER and not stated and (target is None or not target.methods):
            yield from _of_login(provider)


def _of_login(provider: Provider) -> tuple[str, ...]:
    """What the access token of a login is for, as far as the tenant file says it."""
    return tuple(one for one in (provider.audience, *provider.resources[:1]) if one is not None)


def _targets(name: str, file: ApiFile, access: ApiAccess, providers: Providers) -> dict[str, ApiTarget]:
    if access is ApiAccess.ANONYMOUS:
        return {}
    target = ApiTarget(name, file.audience, file.resource, tuple(dict.fromkeys(file.scopes)))
    if access is ApiAccess.CLIENT:
        return {next(iter(providers)): target}
    found = {
        id_: replace(
            target,
            scopes=_scopes(target, preset),
            methods=_methods(file, provider, preset),
            step_up_scopes=_step_up_scopes(file, provider),
        )
        for id_, (provider, preset) in providers.items()
    }
    is_shared = not any(one.methods for one in found.values())
    return {} if is_shared and target.expected_audience is None else found


def _methods(file: ApiFile, provider: Provider, preset: Preset) -> tuple[ApiTokenMethod, ...]:
    """How to request the access token, in this order; none: the login's own is for the API."""
    if file.token == "shared" or (file.token == "auto" and _is_own(file, provider)):  # noqa: S105
        return ()
    known = _known_method(preset)
    if file.token == "refresh":  # noqa: S105
        by_refresh = known if known is not None and known.needs_refresh_token else _by_refresh_token(file)
        return (by_refresh,)
    if file.token != "auto":  # noqa: S105
        return (ApiTokenMethod(file.token),)
    if known is not None:
        return tuple(dict.fromkeys((known, ApiTokenMethod.LOGIN)))
    return (_by_refresh_token(file), ApiTokenMethod.EXCHANGE, ApiTokenMethod.LOGIN)


def _is_own(file: ApiFile, provider: Provider) -> bool:
    """Whether the access token of the login is for this API."""
    expected = file.audience or file.resource
    if isinstance(file, NamedApiFile) and file.step_up_scopes:
        return False
    return set(file.scopes) <= set(provider.scopes) and (expected is None or expected in _of_login(provider))


def _step_up_scopes(file: ApiFile, provider: Provider) -> tuple[str, ...]:
    """The scopes that a step-up may add: an API with a name has its own, the default API the provider's."""
    scopes = (
        file.step_up_scopes if isinstance(file, NamedApiFile) else provider.scopes + provider.step_up_scopes
    )
    return tuple(dict.fromkeys(scopes))


def _by_refresh_token(file: ApiFile) -> ApiTokenMethod:
    if file.resource is not None:
        return ApiTokenMethod.REFRESH_RESOURCE
    return ApiTokenMethod.REFRESH_SCOPE if file.audience is None else ApiTokenMethod.REFRESH_AUDIENCE


def _known_method(preset: Preset) -> ApiTokenMethod | None:
    """How this kind of provider issues access tokens for further APIs, if its preset knows."""
    return ApiTokenMethod(preset.api.tokens) if preset.api is not None and preset.api.tokens else None


def _scopes(target: ApiTarget, preset: Preset) -> tuple[str, ...]:
    """The scopes of an API. Microsoft Entra has one for everything that is granted."""
    wanted = target.expected_audience
    by_scope = _known_method(preset) is ApiTokenMethod.REFRESH_SCOPE
    return (f"{wanted}/.default",) if by_scope and wanted and not target.scopes else target.scopes
