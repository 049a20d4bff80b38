"""Warnings of `portal tenant check` about settings that work but are not recommended."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from portal.config.claim_rules import RuleFile
from portal.config.secret_references import is_reference
from portal.config.yaml_document import Document, KeyPath
from portal.errors import Problem
from portal.oidc.provider import AssertionAudience, ClientAuth, Provider
from portal.secret import UnsetSecret
from portal.tenancy.checks.preset_warnings import api_warnings
from portal.tenancy.schema.access import AccessFile
from portal.tenancy.schema.client_secret import MOST_SECRETS
from portal.tenancy.schema.provider import ProviderFile
from portal.tenancy.secret_notices import provider_notices

_CERTIFICATE = ("client", "certificate")
_SECRET = ("client", "secret")
_GROUP_AND_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ASSERTING = (ClientAuth.PRIVATE_KEY_JWT, ClientAuth.CLIENT_SECRET_JWT)
_BY_CERTIFICATE = (ClientAuth.TLS_CLIENT_AUTH, ClientAuth.SELF_SIGNED_TLS_CLIENT_AUTH)
_WITHOUT_SECRET = (ClientAuth.PRIVATE_KEY_JWT, *_BY_CERTIFICATE)

Found = Iterator[tuple[KeyPath, str]]
"""The path of the key relative to the provider, and the message."""


def find_warnings(
    document: Document,
    provider_path: KeyPath,
    provider_file: ProviderFile,
    provider: Provider,
    *,
    folder: Path,
    now: float,
    api_mtls: bool,
) -> list[Problem]:
    """Return the warnings for one provider of a tenant file.

    Parameters: provider_path, the key path of the provider in the document; provider_file, its part of the
    file; folder, of the file; now, seconds since the epoch, UTC; api_mtls, whether calls of the tenant's API
    present the certificate.
    """
    found = [
        *_secret_warnings(document, provider_path, provider),
        *_unused_secret_warnings(provider_file, provider),
        *_auth_method_warnings(provider_file, provider),
        *_expiry_warnings(provider, now),
        *_unused_certificate_warnings(provider, api_mtls),
        *_private_key_warnings(_text(document, (*provider_path, "client", "private_key")), folder),
        *_unused_key_warnings(provider_file, provider),
        *_access_warnings(provider_file),
    ]
    if "api" in document.root:
        found += [((key,), message) for key, message in api_warnings(provider_file, provider)]
    return [Problem(document.place((*provider_path, *keys)), message) for keys, message in found]


def _secret_warnings(document: Document, provider_path: KeyPath, provider: Provider) -> Found:
    for path, text in _secret_texts(document, provider_path):
        if text and not is_reference(text):
            yield path, "the client secret is in plain text; write ${NAME} or file:/path instead"
    for secret in provider.client_secrets:
        if isinstance(secret, UnsetSecret):
            yield _SECRET, f"needs {secret.source}, which {secret.state} here; the portal needs it"


def _secret_texts(document: Document, provider_path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Each text of `client.secret`: it may be a text, a mapping, or a list of mappings."""
    inner: tuple[KeyPath, ...] = ((), ("value",), *((index, "value") for index in range(MOST_SECRETS)))
    for path in ((*_SECRET, *keys) for keys in inner):
        yield path, _text(document, (*provider_path, *path))


def _unused_secret_warnings(provider_file: ProviderFile, provider: Provider) -> Found:
    algorithms = (*provider.id_token_algs, *(provider.userinfo_algs or ()))
    if provider.response_mode.signed:
        algorithms += provider.response_algs
    if (
        provider_file.client.secret is not None
        and provider.client_auth in _WITHOUT_SECRET
        and not any(alg.startswith("HS") for alg in algorithms)
    ):
        yield _SECRET, f"client.secret has no effect with auth: {provider.client_auth.value}; remove it"


def _auth_method_warnings(provider_file: ProviderFile, provider: Provider) -> Found:
    preset = provider_file.kind
    assertions = preset.assertions
    if assertions.certificates_only and provider.signing_certificate is not None:
        return
    if provider.client_auth in _ASSERTING and not assertions.accepted:
        method = provider.client_auth.value
        alternative = (
            ", or private_key_jwt with signing_key: certificate" if assertions.certificates_only else ""
        )
        yield (
            ("client", "auth"),
            f"auth: {method} is not known to work with {preset.title}; use a client secret{alternative}",
        )
    elif provider.client_auth in _ASSERTING and provider.assertion_audience is AssertionAudience.ISSUER:
        required = assertions.audience
        if required is not AssertionAudience.ISSUER:
            needs = "this needs signing_key: own and signing_alg: ES256 or EdDSA"
            yield (
                ("client", "auth"),
                f"{preset.title} requires assertion_audience: {required.value}; with private_key_jwt {needs}",
            )


def _expiry_warnings(provider: Provider, now: float) -> Found:
    has_certificate = provider.client_certificate or provider.signing_certificate
    if has_certificate and _CERTIFICATE not in {one.path for one in provider.expiries}:
        yield _CERTIFICATE, "the expiry date of the certificate cannot be read"
    for notice in provider_notices(provider, now):
        yield notice.path, notice.text


def _unused_certificate_warnings(provider: Provider, api_mtls: bool) -> Found:
    if (
        provider.client_certificate is not None
        and not api_mtls
        and provider.client_auth not in _BY_CERTIFICATE
    ):
        yield (
            ("client", "certificate"),
            f"client.certificate has no effect with auth: {provider.client_auth.value} without api.mtls",
        )


def _private_key_warnings(text: str, folder: Path) -> Found:
    if not text.startswith("file:"):
        return
    path = folder / text.removeprefix("file:")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        yield ("client", "private_key"), f"{path} cannot be accessed: {error.strerror}"
        return
    if mode & _GROUP_AND_OTHERS:
        yield ("client", "private_key"), f"other users can access {path}; run: chmod 600 {path}"


def _unused_key_warnings(provider_file: ProviderFile, provider: Provider) -> Found:
    if "signing_alg" in provider_file.client.model_fields_set and not provider.needs_signing_key:
        yield (
            ("client", "signing_alg"),
            "client.signing_alg has no effect without auth: private_key_jwt or request_object: signed",
        )
    if provider_file.client.signing_key is not None and not provider.needs_signing_key:
        yield (
            ("client", "signing_key"),
            "client.signing_key has no effect without auth: private_key_jwt or request_object: signed",
        )
    if "response_algs" in provider_file.model_fields_set and not provider.response_mode.signed:
        yield (
            ("response_algs",),
            "response_algs has no effect without response_mode: query.jwt, form_post.jwt or jwt",
        )


def _access_warnings(provider_file: ProviderFile) -> Found:
    if provider_file.access is None:
        return
    yield from unverified_email_rules(provider_file.access)


def unverified_email_rules(access: AccessFile) -> Found:
    """Return a warning for each rule that an unverified e-mail address can meet."""
    listed: list[tuple[KeyPath, list[RuleFile]]] = [(("access", "require"), access.require or [])]
    for number, part in enumerate(access.paths or ()):
        listed.append((("access", "paths", number, "require"), part.require))
    for parent, rules in listed:
        for index, rule in enumerate(rules):
            if rule.claim == ("email",) and rule.verified_by is None:
                yield (
                    (*parent, index, "claim"),
                    "a rule on email without verified_by accepts users who can set an arbitrary address in "
                    "their account at the provider; add verified_by: email_verified",
                )


def _text(document: Document, path: KeyPath) -> str:
    value: object = document.root
    for step in path:
        if isinstance(value, list) and isinstance(step, int):
            value = value[step] if step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""
