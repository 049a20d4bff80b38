"""Reads a tenant file into a Tenant."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from portal.access.rules import AccessRules
from portal.config.field_types import is_slug
from portal.config.front_ends import INDEX, FrontEnd
from portal.config.load_context import SecretFiles
from portal.config.validation import validate
from portal.config.yaml_document import Document, KeyPath, parse_document, read_document
from portal.errors import ConfigurationError, Problem
from portal.oidc.issuer import IssuerTemplate
from portal.oidc.provider import ClientAuth, Endpoints, IdTokenEncryption, Provider, ResponseMode
from portal.tenancy.api_loading import api_warnings, load_api, present_certificates, with_api_requests
from portal.tenancy.checks.hints import find_hints
from portal.tenancy.checks.warnings import find_warnings, unverified_email_rules
from portal.tenancy.model import Api, Branding, ClaimNames, ForwardAuth, Link, SessionLimits, Tenant
from portal.tenancy.presets import OFFLINE_ACCESS, Preset, Presets, built_in
from portal.tenancy.public_issuers import missing_access_message, public_name
from portal.tenancy.schema.access import AccessFile, hosted_domain_rule
from portal.tenancy.schema.front_end import FrontEndFile
from portal.tenancy.schema.organisation import ClaimsFile
from portal.tenancy.schema.preset import TenantContext
from portal.tenancy.schema.provider import ProviderFile
from portal.tenancy.schema.tenant import (
    ONLY_PROVIDER,
    ManyProvidersTenantFile,
    OneProviderTenantFile,
    TenantBase,
    model_for,
)

SUFFIXES = (".yaml", ".yml")
_PLAIN_SCOPES = ("openid", "profile", "email")


class TenantFileRejected(ConfigurationError):
    """A tenant file cannot be used.

    `secret_files` are the files named in the part that could be read: a change of one may fix the file.
    """

    def __init__(self, problems: list[Problem], secret_files: tuple[Path, ...]) -> None:
        super().__init__(problems)
        self.secret_files = secret_files


@dataclass(frozen=True, slots=True)
class LoadedTenant:
    """A tenant, with the warnings and hints for its file."""

    tenant: Tenant
    warnings: tuple[Problem, ...] = ()
    """Settings that work but are not recommended."""
    hints: tuple[Problem, ...] = ()
    """Settings that may be missing."""
    secret_files: tuple[Path, ...] = ()
    """Files whose contents are part of the tenant."""
    places: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """The position of each of its `hosts`, `email_domains` and clients, by key and name."""
    presets: Mapping[str, Preset] = field(default_factory=dict)
    """The preset of each provider, by its id."""
    published_at: float = 0.0
    """When this revision was published, for a tenant of the database. Seconds, UTC."""


def read_tenant(
    path: Path,
    *,
    allow_private_networks: bool = False,
    environ: Mapping[str, str] | None = None,
    presets: Presets | None = None,
    secrets_optional: bool = False,
    advice: bool = True,
) -> LoadedTenant:
    """Read and check one tenant file; the slug is the file name without `.yaml`.

    Parameters: allow_private_networks, as in the portal's settings; environ, for `${NAME}` references
    (default: the environment of this process); presets, that the file can name (default: the built-in ones);
    secrets_optional, whether a client secret whose variable or file is missing is only a warning: for checks
    that need no secret; advice, whether to look for warnings and hints, which takes a quarter of the time.
    Raises: TenantFileRejected with every problem and its file, line and column.
    """
    context = TenantContext(
        SecretFiles(path.parent),
        environ=os.environ if environ is None else environ,
        allow_private_networks=allow_private_networks,
        presets=presets or built_in(),
        secrets_optional=secrets_optional,
    )
    try:
        return _load(slug_of(path), read_document(path), context, folder=path.parent, advice=advice)
    except ConfigurationError as error:
        raise TenantFileRejected(error.problems, context.secret_files.named) from None


def read_stored_tenant(
    slug: str,
    content: str,
    *,
    open_sealed: Callable[[str], str],
    presets: Presets | None = None,
    allow_private_networks: bool = False,
    advice: bool = True,
) -> LoadedTenant:
    """Read and check a tenant of the database, whose content has the form of a tenant file.

    It may name no file and no variable, and a private address only during development (THREATS A4).
    Parameters: open_sealed, opens a sealed secret of this tenant, raises VaultError; presets, that the
    content can name (default: the built-in ones); advice, as in `read_tenant`.
    Raises: ConfigurationError with every problem; places have the slug in place of a file.
    """
    nowhere = Path(slug)
    context = TenantContext(
        SecretFiles(nowhere),
        open_sealed=open_sealed,
        presets=presets or built_in(),
        allow_private_networks=allow_private_networks,
    )
    return _load(slug, parse_document(content.encode(), slug), context, folder=nowhere, advice=advice)


def _load(
    slug: str, document: Document, context: TenantContext, *, folder: Path, advice: bool
) -> LoadedTenant:
    file: TenantBase = validate(
        model_for(document.root),
        document.root,
        place=lambda at, key: document.place(at, key=key),
        context=context,
    )
    tenant = replace(_tenant(slug, file, document.digest), front_end=_front_end(file.front_end, folder))
    _check_access(tenant, file, document)
    places = {
        (key, name): document.place((key, index))
        for key, names in (("hosts", file.hosts), ("email_domains", file.email_domains))
        for index, name in enumerate(names)
    }
    presets: dict[str, Preset] = {}
    for provider in tenant.providers.values():
        provider_path, provider_file = _provider_file(file, provider.id)
        presets[provider.id] = provider_file.kind
        places["client", provider.registration] = document.place((*provider_path, "client"))
    loaded = LoadedTenant(tenant, secret_files=context.secret_files.named, places=places, presets=presets)
    return _with_advice(loaded, file, document, context, folder) if advice else loaded


def _with_advice(
    loaded: LoadedTenant, file: TenantBase, document: Document, context: TenantContext, folder: Path
) -> LoadedTenant:
    """Add the warnings and hints."""
    warnings: list[Problem] = []
    hints: list[Problem] = []
    mtls = present_certificates(file.api, file.apis)
    for provider in loaded.tenant.providers.values():
        provider_path, provider_file = _provider_file(file, provider.id)
        warnings += find_warnings(
            document,
            provider_path,
            provider_file,
            provider,
            folder=folder,
            now=time.time(),
            api_mtls=mtls,
        )
        hints += find_hints(document, provider_path, provider_file, provider, context.presets)
    for key, message in api_warnings(file.api, file.apis):
        warnings.append(Problem(document.place(key), message))
    if isinstance(file, ManyProvidersTenantFile) and file.access is not None:
        warnings += [
            Problem(document.place(at), message) for at, message in unverified_email_rules(file.access)
        ]
    warnings += _missing_front_end(loaded.tenant.front_end, document)
    return replace(loaded, warnings=tuple(warnings), hints=tuple(hints))


def slug_of(path: Path) -> str:
    """Return the slug in a tenant file's name; raise ConfigurationError if the name has none."""
    slug = path.name.removesuffix(path.suffix) if path.suffix in SUFFIXES else path.name
    if path.suffix not in SUFFIXES or not is_slug(slug):
        message = (
            "is not a valid name for a tenant file: use at most 63 lower-case letters, digits and hyphens, "
            "followed by .yaml, such as acme.yaml"
        )
        raise ConfigurationError([Problem(str(path), message)])
    return slug


def _tenant(slug: str, file: TenantBase, digest: str) -> Tenant:
    ids = file.providers if isinstance(file, ManyProvidersTenantFile) else (ONLY_PROVIDER,)
    mtls = present_certificates(file.api, file.apis)
    files = {id_: _provider_file(file, id_)[1] for id_ in ids}
    known = {id_: (_provider(slug, id_, one, mtls=mtls), one.kind) for id_, one in files.items()}
    api = load_api("", file.api, known) if file.api else None
    apis = {name: load_api(name, one, known) for name, one in file.apis.items()}
    every_api = (*((api,) if api else ()), *apis.values())
    providers = {id_: with_api_requests(one, kind, every_api) for id_, (one, kind) in known.items()}
    presets = [kind for _, kind in known.values()]
    return Tenant(
        slug=slug,
        name=file.name,
        providers=providers,
        revision=_revision(digest, providers.values(), every_api, presets),
        api=api,
        apis=apis,
        hosts=tuple(dict.fromkeys(file.hosts)),
        email_domains=tuple(dict.fromkeys(file.email_domains)),
        shared_email_domains=tuple(dict.fromkeys(file.shared_email_domains)),
        listed=file.listed,
        branding=Branding(file.branding.color, file.branding.logo_url),
        claims=_claim_names(file.claims),
        home_url=file.home_url,
        links=tuple(Link(one.title, one.url, one.description or "") for one in file.links),
        session=SessionLimits(file.session.idle, file.session.absolute),
        forward_auth=ForwardAuth(tuple(dict.fromkeys(file.forward_auth.claims)), file.forward_auth.token),
        access={id_: _access(file, id_) for id_ in ids},
        admins=tuple(one.account_rule() for one in file.admins),
    )


def _claim_names(file: ClaimsFile) -> ClaimNames:
    page = tuple(dict.fromkeys(file.page))
    return ClaimNames(file.name, file.email, file.roles, tuple(file.show), page)


def _front_end(file: FrontEndFile | None, folder: Path) -> FrontEnd | None:
    if file is None:
        return None
    csp = {directive: tuple(sources) for directive, sources in file.csp.items()}
    return FrontEnd(directory=folder / file.directory, csp=csp, source_maps=file.source_maps)


def _missing_front_end(front_end: FrontEnd | None, document: Document) -> Iterator[Problem]:
    if front_end is not None and front_end.directory and not (front_end.directory / INDEX).is_file():
        message = f"front_end.directory has no {INDEX}: until it does, the hosts of this tenant show an error"
        yield Problem(document.place(("front_end", "directory")), message)


def _access(file: TenantBase, provider: str) -> tuple[AccessRules, ...]:
    """Return the access rules for accounts of one provider: its own and those of the tenant."""
    provider_file = _provider_file(file, provider)[1]
    own = [one.rules() for one in _access_files(file, provider_file)]
    if provider_file.hosted_domain is not None:
        own.append(AccessRules(require=(hosted_domain_rule(provider_file.hosted_domain),)))
    return tuple(own)


def _access_files(file: TenantBase, provider_file: ProviderFile) -> list[AccessFile]:
    """Return each `access` for accounts of a provider: its own and that of the tenant."""
    of_tenant = file.access if isinstance(file, ManyProvidersTenantFile) else None
    return [one for one in (provider_file.access, of_tenant) if one is not None]


def _check_access(tenant: Tenant, file: TenantBase, document: Document) -> None:
    """Check that a tenant states who may sign in if its provider offers accounts to the public.

    Raises: ConfigurationError.
    """
    problems = []
    for provider in tenant.providers.values():
        provider_path, provider_file = _provider_file(file, provider.id)
        name = public_name(provider, provider_file.kind)
        stated = any(one.states_who_may_sign_in for one in _access_files(file, provider_file))
        if name is not None and provider_file.hosted_domain is None and not stated:
            place = document.place((*provider_path, "access" if provider_file.access else "preset"))
            problems.append(
                Problem(
                    place,
                    missing_access_message(name, hosted_domain="hosted_domain" in provider_file.kind.fields),
                )
            )
    if problems:
        raise ConfigurationError(problems)


def _provider_file(file: TenantBase, provider: str) -> tuple[KeyPath, ProviderFile]:
    """Return the key path of a provider in the file, and its part of the file."""
    if isinstance(file, ManyProvidersTenantFile):
        return ("providers", provider), file.providers[provider]
    return (), cast(OneProviderTenantFile, file)


def _provider(tenant: str, id_: str, file: ProviderFile, *, mtls: bool) -> Provider:
    preset, issuer = file.kind, file.determined_issuer
    scopes = tuple(dict.fromkeys(file.scopes or _PLAIN_SCOPES))
    auth = ClientAuth(file.client.auth or preset.client_auth)
    certificate = file.client.tls_certificate()
    signs = file.client.signing_key == "certificate"
    params = _authorize_params(file)
    secrets = [one.value for one in file.client.secret or ()]
    return Provider(
        tenant=tenant,
        id=id_,
        issuer=issuer,
        client_id=file.client.id,
        client_secret=secrets[0] if secrets else None,
        next_client_secret=secrets[1] if len(secrets) > 1 else None,
        secret_signer=file.client.signed_secret.signer() if file.client.signed_secret else None,
        client_auth=auth,
        scopes=scopes,
        step_up_scopes=tuple(dict.fromkeys(file.step_up_scopes)),
        audience=file.audience,
        resources=tuple(file.resources),
        authorize_params=tuple((name, value) for name, value in params.items() if name != "acr_values"),
        discovery=file.discovery,
        endpoints=Endpoints(**file.endpoints.model_dump()),
        id_token_algs=tuple(dict.fromkeys(file.id_token_algs)),
        max_age=None if file.max_age is None else int(file.max_age),
        acr_values=tuple(file.acr_values) or tuple(params.get("acr_values", "").split()),
        logout_template=file.logout.url or preset.logout_template(file.domain, issuer),
        ignores_end_session_endpoint=_logout_template_wins(preset, file),
        logout_id_token_hint=file.logout.id_token_hint,
        label=file.label,
        response_mode=ResponseMode(file.response_mode),
        response_algs=tuple(dict.fromkeys(file.response_algs)),
        par=file.par,
        signed_request=file.request_object == "signed",
        requested_claims=file.requested_claims.parameter(),
        essential_acr=file.requested_claims.essential_acr(),
        assertion_audience=file.client.audience(preset),
        client_key=file.client.has_client_key(preset),
        signing_certificate=certificate if signs else None,
        client_signing_alg=file.client.algorithm(preset),
        client_certificate=certificate if mtls or not signs or file.client.authenticates_by_tls else None,
        tls_authorities=file.tls.ca.reveal() if file.tls.ca else None,
        id_token_encryption=_id_token_encryption(preset, file),
        dpop=file.dpop,
        userinfo=bool(file.userinfo),
        userinfo_algs=tuple(dict.fromkeys(file.userinfo_algs)) if file.userinfo_algs else None,
        refresh_tokens=preset.refresh_tokens
        and (OFFLINE_ACCESS in scopes or OFFLINE_ACCESS not in preset.scopes),
        issuer_template=_issuer_template(preset, issuer, file.tenant_ids),
        translate_error=preset.error_translation,
        error_advice=preset.error_advice,
        frontchannel_without_issuer=preset.logout.frontchannel_without_issuer,
        global_token_revocation=file.global_token_revocation,
        expiries=tuple(file.client.expiries()),
    )


def _authorize_params(file: ProviderFile) -> dict[str, str]:
    """Return additional authorization parameters, possibly with `acr_values`."""
    return file.authorize_params | ({} if file.hosted_domain is None else {"hd": file.hosted_domain})


def _issuer_template(
    preset: Preset, issuer: str, tenant_ids: tuple[str, ...] | None
) -> IssuerTemplate | None:
    """Return the issuer template if several directories share the issuer of the file."""
    template = preset.issuer_template(issuer)
    if template is None:
        return None
    return IssuerTemplate(template, None if tenant_ids == () else frozenset(tenant_ids or ()))


def _id_token_encryption(preset: Preset, file: ProviderFile) -> IdTokenEncryption | None:
    registered = file.id_token_encryption
    if registered is None:
        return None
    logout_tokens = registered.logout_tokens
    if logout_tokens is None:
        logout_tokens = preset.logout.encrypts_tokens
    return IdTokenEncryption(registered.alg, registered.enc, logout_tokens)


def _logout_template_wins(preset: Preset, file: ProviderFile) -> bool:
    """The file overrides the preset, which overrides the provider's metadata."""
    return file.logout.url is not None or (
        preset.logout.overrides_metadata and file.endpoints.end_session is None
    )


def _revision(
    digest: str, providers: Iterable[Provider], apis: Iterable[Api], presets: Iterable[Preset]
) -> str:
    fingerprint = hashlib.sha256(digest.encode())
    elsewhere = [text for provider in providers for text in _read_from_elsewhere(provider)]
    elsewhere += [preset.digest for preset in presets]
    elsewhere += [api.tls_authorities or "" for api in apis]
    for text in elsewhere:
        fingerprint.update(hashlib.sha256(text.encode()).digest())
    return fingerprint.hexdigest()


def _read_from_elsewhere(provider: Provider) -> tuple[str, ...]:
    """Contents of other files and the environment: secret, certificate, key, authorities."""
    secrets = [secret.reveal() for secret in provider.client_secrets] or [""]
    signer = provider.secret_signer
    signing_key = signer.private_key.reveal() if signer else ""
    certificate = provider.client_certificate or provider.signing_certificate
    pair = (certificate.chain, certificate.private_key.reveal()) if certificate else ("", "")
    return (*secrets, signing_key, *pair, provider.tls_authorities or "")
