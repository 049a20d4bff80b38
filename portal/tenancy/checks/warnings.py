"""What works in a tenant file but is advised against; `portal tenant check` tells it."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

from portal.config.secret_references import is_reference
from portal.config.yaml_document import Document, KeyPath
from portal.errors import Problem
from portal.oidc.provider import AssertionAudience, ClientAuth, Provider
from portal.tenancy.presets import PRESETS
from portal.tenancy.schema.access import AccessFile, RuleFile
from portal.tenancy.schema.tenant import ProviderFile

_ENDS_SOON = 30 * 86_400.0
_OF_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ASSERTING = (ClientAuth.PRIVATE_KEY_JWT, ClientAuth.CLIENT_SECRET_JWT)
_BY_CERTIFICATE = (ClientAuth.TLS_CLIENT_AUTH, ClientAuth.SELF_SIGNED_TLS_CLIENT_AUTH)
_WITHOUT_SECRET = (ClientAuth.PRIVATE_KEY_JWT, *_BY_CERTIFICATE)

Found = Iterator[tuple[KeyPath, str]]
"""Which key it is about, below the provider, and what there is to say."""


def advice(
    document: Document,
    above: KeyPath,
    written: ProviderFile,
    provider: Provider,
    *,
    folder: Path,
    now: float,
    api_mtls: bool,
) -> list[Problem]:
    """What is advised against in one provider of a tenant file.

    Parameters: above, where in the document the provider is; written, what is there; folder, of the file;
    now, seconds since the epoch, UTC; api_mtls, whether the tenant's API is shown the certificate.
    """
    found = [
        *_of_secret(_text(document, (*above, "client", "secret")), written, provider),
        *_of_method(written, provider),
        *_of_certificate(provider, now),
        *_of_binding(provider, api_mtls),
        *_of_private_key(_text(document, (*above, "client", "private_key")), folder),
        *_without_effect(written, provider),
        *_of_access(written),
    ]
    return [Problem(document.place((*above, *keys)), message) for keys, message in found]


def _of_secret(text: str, written: ProviderFile, provider: Provider) -> Found:
    place = ("client", "secret")
    if text and not is_reference(text):
        yield place, "the client secret is in clear text; write ${NAME} or file:/path instead"
    algorithms = (*provider.id_token_algs, *(provider.userinfo_algs or ()))
    if provider.response_mode.signed:
        algorithms += provider.response_algs
    if (
        written.client.secret is not None
        and provider.client_auth in _WITHOUT_SECRET
        and not any(alg.startswith("HS") for alg in algorithms)
    ):
        yield place, f"client.secret has no effect with auth: {provider.client_auth.value}; remove it"


def _of_method(written: ProviderFile, provider: Provider) -> Found:
    preset = PRESETS[written.preset]
    if preset.takes_certificates and provider.signing_certificate is not None:
        return
    if provider.client_auth in _ASSERTING and not preset.takes_assertions:
        method = provider.client_auth.value
        instead = ", and private_key_jwt with signing_key: certificate" if preset.takes_certificates else ""
        yield (
            ("client", "auth"),
            f"auth: {method} is not known to work with {preset.title}; a client secret is{instead}",
        )
    elif provider.client_auth in _ASSERTING and provider.assertion_audience is AssertionAudience.ISSUER:
        wanted = preset.assertion_audience
        if wanted is not AssertionAudience.ISSUER:
            needs = "that needs signing_key: own and signing_alg: ES256 or EdDSA"
            yield (
                ("client", "auth"),
                f"{preset.title} wants assertion_audience: {wanted.value}; with private_key_jwt {needs}",
            )


def _of_certificate(provider: Provider, now: float) -> Found:
    held = provider.client_certificate or provider.signing_certificate
    if held is None:
        return
    from cryptography import x509  # only whoever has a certificate waits for it to load

    place = ("client", "certificate")
    try:
        ends = x509.load_pem_x509_certificate(held.chain.encode()).not_valid_after_utc
    except ValueError:
        yield place, "it cannot be told when the certificate ends"
        return
    left = ends.timestamp() - now
    day = ends.astimezone(UTC).strftime("%Y-%m-%d")
    if left <= 0:
        yield place, f"the certificate ended on {day}; providers refuse it, so replace it"
    elif left <= _ENDS_SOON:
        yield place, f"the certificate ends on {day}; replace it before"


def _of_binding(provider: Provider, api_mtls: bool) -> Found:
    if (
        provider.client_certificate is not None
        and not api_mtls
        and provider.client_auth not in _BY_CERTIFICATE
    ):
        yield (
            ("client", "certificate"),
            f"client.certificate has no use with auth: {provider.client_auth.value} unless api.mtls is true",
        )


def _of_private_key(text: str, folder: Path) -> Found:
    if not text.startswith("file:"):
        return
    path = folder / text.removeprefix("file:")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        yield ("client", "private_key"), f"{path} cannot be looked at: {error.strerror}"
        return
    if mode & _OF_OTHERS:
        yield ("client", "private_key"), f"others can read {path}; run: chmod 600 {path}"


def _without_effect(written: ProviderFile, provider: Provider) -> Found:
    if "signing_alg" in written.client.model_fields_set and not provider.needs_signing_key:
        yield (
            ("client", "signing_alg"),
            "client.signing_alg has no effect without auth: private_key_jwt or request_object: signed",
        )
    if written.client.signing_key is not None and not provider.needs_signing_key:
        yield (
            ("client", "signing_key"),
            "client.signing_key has no effect without auth: private_key_jwt or request_object: signed",
        )
    if "response_algs" in written.model_fields_set and not provider.response_mode.signed:
        yield (
            ("response_algs",),
            "response_algs has no effect without response_mode: query.jwt, form_post.jwt or jwt",
        )


def _of_access(written: ProviderFile) -> Found:
    if written.access is None:
        return
    yield from unverified_email(written.access)


def unverified_email(access: AccessFile) -> Found:
    """Rules on the e-mail address that an address which nobody verified satisfies."""
    listed: list[tuple[KeyPath, list[RuleFile]]] = [(("access", "require"), access.require or [])]
    for number, part in enumerate(access.paths or ()):
        listed.append((("access", "paths", number, "require"), part.require))
    for above, rules in listed:
        for index, rule in enumerate(rules):
            if rule.claim == ("email",) and rule.verified_by is None:
                yield (
                    (*above, index, "claim"),
                    "a rule on email without verified_by lets in whoever can write any address into their "
                    "account at the provider; add verified_by: email_verified",
                )


def _text(document: Document, path: KeyPath) -> str:
    holder: object = document.root
    for step in path:
        holder = holder.get(step) if isinstance(holder, dict) else None
    return holder if isinstance(holder, str) else ""
